"""Audit, first choice: the model. A preset, or weights that someone uploads, checked before anything runs."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from core.errors import UserError
from core.images.dataset import DataChoice
from core.jobs.uploads import keep_upload, sweep_uploads
from core.models.catalogue import CATALOGUE, check_spec
from core.models.intake import NeedsConversion, Understood, take_in_weights
from core.models.presets import PRESETS, preset_summary, preset_weights
from core.models.spec import ModelSpec
from core.names import safe_name
from pages import _shared

SHOWN_LAYERS = 200
FOLLOW = "images_follow"  # in the session: another victim was picked on the page, whose own images shall stand there


@dataclass(frozen=True)
class ChosenModel:
    """A model that may be attacked; weights() gives its safetensors bytes, None where the preset draws them."""

    spec: ModelSpec
    name: str
    weights: Callable[[], bytes | None]
    trained_on: DataChoice | None = None  # what it was trained on, where it was trained here


@dataclass(frozen=True)
class UploadedWeights:
    """A file on disk and, once it was checked, what was understood of it. The weights lie in the store."""

    path: Path
    name: str
    bytes: int
    asked: str = ""  # JSON of the spec that it was checked against
    understood: Understood | None = None
    weights_sha: str = ""


def choose() -> ChosenModel | None:
    """Draw the choice; None until there is a usable model."""
    st.subheader("1  Model", anchor=False)
    source = st.segmented_control(
        "Source",
        ["preset", "trained", "upload"],
        default="preset",
        required=True,
        key="from",
        bind="query-params",
        on_change=follow,
        label_visibility="collapsed",
    )
    if source == "trained":
        from pages import _audit_trained  # it makes a ChosenModel

        return _audit_trained.choose()
    return _preset() if source == "preset" else _upload()


def follow() -> None:
    """Callback of a widget that picks a victim."""
    st.session_state[FOLLOW] = True


def _preset() -> ChosenModel:
    name = st.selectbox("Preset", list(PRESETS), key="model", bind="query-params")
    name = name if name in PRESETS else next(iter(PRESETS))
    spec = PRESETS[name]
    st.caption(f"{_shared.plain(preset_summary(name))} {spec_line(spec)}")
    return ChosenModel(spec, name, lambda: preset_weights(name))


def spec_line(spec: ModelSpec) -> str:
    """Size, channels and classes of a model in one phrase."""
    title = CATALOGUE[spec.architecture].title if spec.architecture in CATALOGUE else spec.architecture
    size = f"{spec.width}×{spec.height} pixels, {spec.channels} channels, {spec.num_classes} classes"
    return f"{_shared.plain(title)}, {size}."


def _upload() -> ChosenModel | None:
    _receive()
    held: UploadedWeights | None = st.session_state.get("weights")
    if held is None:
        st.caption("A .safetensors file, or a .pt or .pth state dict. It is checked in a process of its own.")
        return None
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"{_shared.plain(held.name)}, {held.bytes / 1e6:.1f} MB, on disk")
        st.button("Remove", icon=":material/close:", key="weights_remove", on_click=_forget)
    try:
        spec = _describe()
        check_spec(spec)
    except UserError as error:
        st.error(_shared.plain(str(error)), icon=":material/error:")
        return None
    if st.button("Check this file", key="weights_check", icon=":material/fact_check:"):
        _check(held, spec)
    return _understood(spec)


def _receive() -> None:
    """Take an upload from the browser's hands to the disk, and free the memory that it lay in."""
    turn = st.session_state.setdefault("weights_turn", 0)
    if st.session_state.get("weights") is not None:
        return
    file = st.file_uploader("Weights", type=["safetensors", "pt", "pth"], key=f"weights_file_{turn}")
    if file is None:
        return
    settings = _shared.settings()
    sweep_uploads(settings)
    with _shared.user_errors():
        path = keep_upload(settings, file)
    st.session_state["weights"] = UploadedWeights(path, safe_name(file.name), path.stat().st_size)
    st.session_state["weights_turn"] = turn + 1  # a new widget: the old one's bytes are let go
    st.rerun()


def missing() -> str:
    """What an upload still lacks before it can be attacked."""
    if st.session_state.get("from") == "trained":
        return "train a victim on the Models page, or choose another model"
    held: UploadedWeights | None = st.session_state.get("weights")
    if held is None:
        return "upload a weights file"
    if held.understood is None:
        return "the weights file has not passed its check; press Check this file, or remove it and upload another"
    return "the weights file was checked with other settings; press Check this file again"


def _forget() -> None:
    held: UploadedWeights | None = st.session_state.pop("weights", None)
    if held is not None:
        held.path.unlink(missing_ok=True)


def _describe() -> ModelSpec:
    """What the file is said to be."""
    usable = [name for name, entry in CATALOGUE.items() if not entry.refused]
    with st.grid(3, min_column_width=130):
        architecture = st.selectbox("Architecture", usable, key="arch", bind="query-params")
        classes = st.number_input("Classes", min_value=2, value=10, key="classes", bind="query-params")
        channels = st.selectbox("Channels", [3, 1], key="channels", bind="query-params")
        size = st.number_input("Input size, pixels", min_value=8, value=32, key="size", bind="query-params")
        mean = st.text_input("Mean of each channel", value="0", help="0, or one number a channel, such as 0.5 0.5 0.5")
        std = st.text_input("Standard deviation", value="1", help="1, or one number a channel")
    refused = [name for name, entry in CATALOGUE.items() if entry.refused]
    if refused:
        with st.popover(f"{len(refused)} architectures that cannot be attacked"):
            st.table([{"name": n, "why": CATALOGUE[n].refused} for n in refused], alt="Refused architectures")
    return ModelSpec(
        architecture=str(architecture),
        num_classes=int(classes),
        channels=int(channels),
        height=int(size),
        width=int(size),
        mean=_numbers(mean, int(channels), "mean"),
        std=_numbers(std, int(channels), "standard deviation"),
    )


def _numbers(text: str, channels: int, what: str) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in text.replace(",", " ").split())
    except ValueError as error:
        raise UserError(f"The {what} takes numbers such as 0.5 0.5 0.5, not {text[:40]!r}.") from error
    return values * channels if len(values) == 1 else values


def _check(held: UploadedWeights, spec: ModelSpec) -> None:
    """Run the intake on the file; keep what it understood."""
    store = _shared.get_store()
    with st.spinner("Reading the file in a process of its own, then one dry forward"):
        try:
            found = take_in_weights(held.path, held.name, spec)
        except NeedsConversion as error:
            st.session_state["weights_refused"] = (error.sentence, error.lines)
            return
        except UserError as error:
            st.session_state["weights_refused"] = (str(error), "")
            return
    st.session_state.pop("weights_refused", None)
    sha = store.artifacts.put_bytes(found.safetensors, ".safetensors")
    st.session_state["weights"] = UploadedWeights(
        held.path, held.name, held.bytes, spec.to_json(), _without_bytes(found), sha
    )


def _without_bytes(found: Understood) -> Understood:
    """The record without its weights: they are in the store, and a session should not hold them too."""
    from dataclasses import replace

    return replace(found, safetensors=b"")


def _understood(spec: ModelSpec) -> ChosenModel | None:
    held: UploadedWeights = st.session_state["weights"]
    refused = st.session_state.pop("weights_refused", None)
    if refused is not None:
        st.error(_shared.plain(refused[0]), icon=":material/error:")
        if refused[1]:
            st.code(
                refused[1] if isinstance(refused[1], str) else "\n".join(refused[1]), language="python", wrap_lines=True
            )
        return None
    found = held.understood
    if found is None or held.asked != spec.to_json():
        st.caption("Check the file to see what it holds; nothing runs before that.")
        return None
    st.markdown(
        f":material/check: {len(found.layers)} tensors, {_shared.count(found.parameters)} parameters, "
        f"{found.classes} classes. {_shared.plain(found.forward)}"
    )
    for note in found.notes:
        st.caption(_shared.plain(note))
    with st.expander("Layers"):
        rows = [
            {"name": layer.name, "shape": "×".join(map(str, layer.shape)), "numbers": layer.numbers}
            for layer in found.layers[:SHOWN_LAYERS]
        ]
        st.dataframe(rows, hide_index=True, alt="Tensors of the uploaded weights")
    artifacts = _shared.get_store().artifacts
    return ChosenModel(found.spec, found.name, lambda: artifacts.read_bytes(held.weights_sha))

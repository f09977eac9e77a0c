"""Audit, second choice: the images and their labels."""

from dataclasses import dataclass

import streamlit as st

from core.errors import UserError
from core.images.intake import take_in_image
from core.images.load import load_images, prepare
from core.images.picture import Picture, Prepared
from core.images.samples import SAMPLES
from core.jobs.compose import draw_labels, relabel
from core.models.spec import ModelSpec
from core.storage.artifacts import encode_png
from pages import _shared
from pages._audit_model import ChosenModel

MOST_UPLOADS = 64
MOST_BY_HAND = 64
SHOWN = 8


@dataclass(frozen=True)
class ChosenImages:
    """Originals, ready for the model."""

    dataset: str
    prepared: tuple[Prepared, ...]


@dataclass(frozen=True)
class UploadedImage:
    """A picture that passed the intake; its pixels lie in the store."""

    name: str
    sha: str
    width: int
    height: int


@st.cache_data(show_spinner=False, max_entries=6)
def _bundled(name: str, spec: str, limit: int, seed: int) -> tuple[Prepared, ...]:
    return tuple(load_images(name, spec=ModelSpec.from_json(spec), limit=limit, seed=seed))


def choose(model: ChosenModel | None) -> ChosenImages | None:
    """Draw the choice; None until there are images (and a model to prepare them for)."""
    st.subheader("2  Images", anchor=False)
    source = st.segmented_control(
        "Source of images",
        [*SAMPLES, "upload"],
        default=next(iter(SAMPLES)),
        required=True,
        key="images",
        bind="query-params",
        label_visibility="collapsed",
    )
    try:
        found = _uploads(model) if source == "upload" else _samples(str(source), model)
    except UserError as error:
        st.error(_shared.plain(str(error)), icon=":material/error:")
        return None
    if found is None or model is None:
        return None
    try:
        labelled = _labels(found, model.spec)
    except UserError as error:
        st.error(_shared.plain(str(error)), icon=":material/error:")
        return None
    _preview(labelled.prepared, model.spec)
    return labelled


def _samples(name: str, model: ChosenModel | None) -> ChosenImages | None:
    sample = SAMPLES[name]
    st.caption(_shared.plain(sample.summary))
    limit = st.number_input(
        f"How many of {sample.count}", 1, sample.count, min(8, sample.count), key="count", bind="query-params"
    )
    if model is None:
        return None
    return ChosenImages(name, _bundled(name, model.spec.to_json(), int(limit), 0))


def _uploads(model: ChosenModel | None) -> ChosenImages | None:
    _receive()
    held: list[UploadedImage] = st.session_state.get("pictures", [])
    for sentence in st.session_state.pop("pictures_refused", []):
        st.error(_shared.plain(sentence), icon=":material/error:")
    if not held:
        st.caption("PNG, JPEG or WebP. Each is decoded, turned upright and stripped of its metadata.")
        return None
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"{len(held)} image{'' if len(held) == 1 else 's'} taken in")
        st.button("Remove all", icon=":material/close:", key="pictures_remove", on_click=_forget)
        with st.popover("Remove one"):
            for image in held:
                name = _shared.plain(image.name)
                st.button(name, icon=":material/close:", key=f"drop_{image.name}", on_click=_drop, args=(image.name,))
    if model is None:
        return None
    artifacts = _shared.get_store().artifacts
    pictures = [Picture(image.name, artifacts.read_png(image.sha)) for image in held]
    return ChosenImages("upload", tuple(prepare(pictures, spec=model.spec, seed=0)))


def _receive() -> None:
    """Take uploads in one by one, keep their pixels in the store, and free the memory that they lay in."""
    turn = st.session_state.setdefault("pictures_turn", 0)
    # No `type`: a file that the browser refuses reaches no script, so an older refusal would stay on screen.
    files = st.file_uploader("Images", accept_multiple_files=True, key=f"pictures_file_{turn}")
    if not files:
        return
    store = _shared.get_store()
    held: list[UploadedImage] = list(st.session_state.get("pictures", []))
    refused: list[str] = []
    for file in files:
        if len(held) >= MOST_UPLOADS:
            refused.append(f"The page takes {MOST_UPLOADS} images; use a folder on the command line for more.")
            break
        try:
            taken = take_in_image(file.getvalue(), file.name)
        except UserError as error:
            refused.append(str(error))  # it names the file
            continue
        name = _unique(taken.name, {image.name for image in held})
        sha = store.artifacts.put_bytes(encode_png(taken.pixels), ".png")
        held.append(UploadedImage(name, sha, taken.width, taken.height))
    st.session_state["pictures"] = held
    st.session_state["pictures_refused"] = refused
    st.session_state["pictures_turn"] = turn + 1  # a new widget: the old one's bytes are let go
    st.rerun()


def _unique(name: str, taken: set[str]) -> str:
    if name not in taken:
        return name
    return next(f"{name}-{n}" for n in range(2, len(taken) + 3) if f"{name}-{n}" not in taken)


def missing() -> str:
    """What the choice of images still lacks, as far as the session tells; "" where nothing does."""
    if st.session_state.get("images") == "upload" and not st.session_state.get("pictures"):
        return "upload at least one image"
    return ""


def _drop(name: str) -> None:
    held: list[UploadedImage] = st.session_state.get("pictures", [])
    st.session_state["pictures"] = [image for image in held if image.name != name]


def _forget() -> None:
    st.session_state.pop("pictures", None)


def _labels(found: ChosenImages, spec: ModelSpec) -> ChosenImages:
    """Labels by the data set, drawn, or by hand."""
    ways = ["drawn", "by hand"] if found.dataset == "upload" else ["data set", "drawn", "by hand"]
    way = st.segmented_control(
        "Labels",
        ways,
        default=ways[0],
        required=True,
        key="labels",
        bind="query-params",
        help="The class given to the victim with each image. Drawn: by a seed and the image's name.",
    )
    if way == "drawn":
        seed = st.number_input("Seed of the labels", 0, 2**31 - 1, 0, key="label_seed", bind="query-params")
        return ChosenImages(found.dataset, draw_labels(found.prepared, spec, int(seed)))
    if way == "by hand":
        return ChosenImages(found.dataset, _by_hand(found.prepared, spec))
    if any(image.label_source == "drawn" for image in found.prepared):
        st.caption("The data set's classes do not fit this model: labels are drawn.")
    return found


def _by_hand(prepared: tuple[Prepared, ...], spec: ModelSpec) -> tuple[Prepared, ...]:
    if len(prepared) > MOST_BY_HAND:
        raise UserError(
            f"The page takes {MOST_BY_HAND} labels by hand, not {len(prepared)}; choose fewer images, or give a "
            "table of labels on the command line."
        )
    rows = [{"image": _thumbnail(p), "name": p.name, "label": p.label} for p in prepared]
    edited = st.data_editor(
        rows,
        hide_index=True,
        key=f"hand_{hash(tuple(p.name for p in prepared))}_{spec.num_classes}",
        disabled=["image", "name"],
        column_config={
            "image": st.column_config.ImageColumn("image", width="small"),
            "label": st.column_config.NumberColumn("label", min_value=0, max_value=spec.num_classes - 1, step=1),
        },
        alt="Labels by hand",
    )
    found = []
    for image, row in zip(prepared, edited, strict=True):
        if row["label"] is None:
            raise UserError(f"{image.name} has no label; give one from 0 to {spec.num_classes - 1}.")
        found.append(relabel(image, int(row["label"]), spec))
    return tuple(found)


def label_text(image: Prepared, spec: ModelSpec) -> str:
    """A label with the model's name for it, as in "1 face", and that it was drawn where it was."""
    parts = [str(image.label)]
    if image.label < len(spec.class_names):
        parts.append(spec.class_names[image.label])
    elif image.label_source in ("dataset", "folder") and image.class_name:  # elsewhere it may name another class
        parts.append(image.class_name)
    return " ".join(parts) + (", drawn" if image.label_source == "drawn" else "")


def _preview(prepared: tuple[Prepared, ...], spec: ModelSpec) -> None:
    """The first few originals, as the victim will see them."""
    labelled = [(image, label_text(image, spec)) for image in prepared[:SHOWN]]
    width = 84 if max(len(said) for _, said in labelled) <= 12 else 120  # so that a caption is not cut off
    figures = [
        _shared.figure(_thumbnail(image), f"Original {image.name}, label {said}", width=width, caption=said)
        for image, said in labelled
    ]
    st.html(_shared.pictures_html(figures))
    more = len(prepared) - SHOWN
    st.caption(f"As the victim sees them, with their labels{f'; {more} more' if more > 0 else ''}.")


def _thumbnail(image: Prepared) -> str:
    return _shared.data_url(encode_png(image.original), 96)

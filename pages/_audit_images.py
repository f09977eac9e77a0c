"""Audit, second choice: the images and their labels."""

from dataclasses import dataclass, replace

import streamlit as st

from core.errors import UserError
from core.images.dataset import DataChoice
from core.images.datasets import DATASETS
from core.images.load import load_images
from core.images.picture import Prepared
from core.images.samples import SAMPLES
from core.images.sampling import load_choice
from core.jobs.compose import MOST_IMAGES, draw_labels, relabel
from core.models.spec import ModelSpec
from core.report.seen import seen_words
from core.storage.artifacts import encode_png
from pages import _audit_uploads, _data_choice, _shared
from pages._audit_model import FOLLOW, ChosenModel
from pages._links import obey

DATA_SET, UPLOAD = "data set", "upload"
IN_ORDER = "in order"  # the first ones of a bundled set
PREFIX = "from_"  # of the data choice's keys
MOST_BY_HAND = 64
SHOWN = 8


@dataclass(frozen=True)
class ChosenImages:
    """Originals, ready for the model."""

    dataset: str
    prepared: tuple[Prepared, ...]
    choice: DataChoice | None = None  # how they were taken of a data set; None for uploads


@st.cache_data(show_spinner=False, max_entries=6)
def _bundled(name: str, spec: str, limit: int, seed: int) -> tuple[Prepared, ...]:
    return tuple(load_images(name, spec=ModelSpec.from_json(spec), limit=limit, seed=seed, settings=_shared.settings()))


def choose(model: ChosenModel | None) -> ChosenImages | None:
    """Draw the choice; None until there are images (and a model to prepare them for)."""
    st.subheader("2  Images", anchor=False)
    usual = usual_source(model)
    if st.session_state.pop(FOLLOW, False):
        follow(model)
    obey(images=usual)
    source = st.segmented_control(
        "Source of images",
        [*SAMPLES, DATA_SET, UPLOAD],
        default=usual,
        required=True,
        key="images",
        bind="query-params",
        label_visibility="collapsed",
    )
    try:
        found = _images(str(source), model)
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
    _seen(labelled, model)
    return labelled


def _images(source: str, model: ChosenModel | None) -> ChosenImages | None:
    if source == UPLOAD:
        taken = _audit_uploads.uploads(model)
        return None if taken is None else ChosenImages(UPLOAD, taken)
    return _of_data_set(model) if source == DATA_SET else _samples(source, model)


def published() -> list[str]:
    """Names of the sets that do not come with SemSight."""
    return [name for name in DATASETS if name not in SAMPLES]


def usual_source(model: ChosenModel | None) -> str:
    """Where images come from until someone says otherwise: what the victim was trained on, or the first bundled set."""
    own = own_data(model)
    if not own:
        return next(iter(SAMPLES))
    return own if own in SAMPLES else DATA_SET


def own_data(model: ChosenModel | None) -> str:
    """The data set that the victim was trained on; "" where it was trained elsewhere."""
    return "" if model is None or model.trained_on is None else model.trained_on.dataset


def follow(model: ChosenModel | None) -> None:
    """After another victim was picked on the page: its own data set stands there."""
    own = own_data(model)
    if not own:
        return
    st.session_state["images"] = usual_source(model)
    if own not in SAMPLES:
        for key, value in _data_choice.link(PREFIX, own).items():
            st.session_state[key] = value


def _like(model: ChosenModel | None, dataset: str) -> DataChoice | None:
    """What the victim was trained on, where it is this data set."""
    return model.trained_on if model is not None and own_data(model) == dataset else None


def _of_data_set(model: ChosenModel | None) -> ChosenImages | None:
    """A data set that is there, a folder or a Parquet file: what is drawn of it, or a fixed list."""
    own = own_data(model)
    found = _data_choice.source(PREFIX, names=published(), own="" if own in SAMPLES else own)
    if found is None:
        return None
    choice = _data_choice.chosen(PREFIX, found, part=True, count=SHOWN, like=_like(model, found.name))
    return None if choice is None else _taken(found, choice, model)


def _taken(found: _data_choice.Opened, choice: DataChoice, model: ChosenModel | None) -> ChosenImages | None:
    """The choice's images for the model; UserError for a choice that cannot be met, or is too large for one attack."""
    places = _data_choice.places(found, choice)
    if len(places) > MOST_IMAGES:
        raise UserError(
            f"An attack takes at most {MOST_IMAGES:,} images, and this choice holds {len(places):,}; ask for fewer."
        )
    if model is None:
        return None
    prepared = _drawn(str(_shared.settings().datasets), found.dataset.fingerprint, choice, model.spec.to_json())
    return ChosenImages(found.name, prepared, choice)


@st.cache_resource(show_spinner="Decoding the images", max_entries=4)
def _drawn(folder: str, fingerprint: str, choice: DataChoice, spec: str) -> tuple[Prepared, ...]:
    """A resource, not data: its copy at each rerun would cost more than all else of the page."""
    return tuple(load_choice(_shared.settings(), choice, spec=ModelSpec.from_json(spec)))


def _samples(name: str, model: ChosenModel | None) -> ChosenImages | None:
    """A bundled set: in its own order, drawn, or by a list; drawn of the held-out part where the victim knows it."""
    sample = SAMPLES[name]
    st.caption(_shared.plain(sample.summary))
    found = _data_choice.opened(name)
    if found is None:
        return None
    like = _like(model, name)
    ways = [_data_choice.DRAWN, _data_choice.LISTED]
    ways.insert(0 if like is None else 1, IN_ORDER)
    prefix = "pick_" if like is None else "own_"  # two widgets, as they start at two values
    choice = _data_choice.chosen(
        prefix, found, part=True, count=SHOWN, like=like, ways=ways, count_key=f"{prefix}count"
    )
    if choice is not None:
        return _taken(found, choice, model)
    if st.session_state.get(f"{prefix}by") == _data_choice.LISTED:
        return None
    limit = st.number_input(
        f"How many of {sample.count}", 1, sample.count, min(SHOWN, sample.count), key="count", bind="query-params"
    )
    if model is None:
        return None
    prepared = _bundled(name, model.spec.to_json(), int(limit), 0)
    return ChosenImages(name, prepared, DataChoice(name, names=tuple(image.name for image in prepared)))


def missing(model: bool = True) -> str:
    """What the choice of images still lacks, as far as the session tells; "" where nothing does."""
    if st.session_state.get("images") == UPLOAD and not st.session_state.get("pictures"):
        return "upload at least one image"
    if st.session_state.get("images") == DATA_SET and model:
        return "choose a data set that is here, and what of it"
    if model and _data_choice.LISTED in (st.session_state.get("pick_by"), st.session_state.get("own_by")):
        return "give a list of images"
    return ""


def _labels(found: ChosenImages, spec: ModelSpec) -> ChosenImages:
    """Labels by the data set, drawn, or by hand."""
    ways = ["drawn", "by hand"] if found.dataset == UPLOAD else ["data set", "drawn", "by hand"]
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
        return replace(found, prepared=draw_labels(found.prepared, spec, int(seed)))
    if way == "by hand":
        return replace(found, prepared=_by_hand(found.prepared, spec))
    drawn = sum(image.label_source == "drawn" for image in found.prepared)
    if drawn:
        which = "the labels" if drawn == len(found.prepared) else f"{drawn} of {len(found.prepared)} labels"
        st.warning(
            f"The classes of {_shared.plain(found.dataset)} do not fit this victim, which tells {_classes_of(spec)} "
            f"apart: {which} are drawn by chance. Take images of its own classes, or give labels by hand.",
            icon=":material/warning:",
        )
    return found


def _classes_of(spec: ModelSpec) -> str:
    names = spec.class_names[:3]
    if not names:
        return f"{_shared.count(spec.num_classes)} classes"
    more = ", …" if spec.num_classes > len(names) else ""
    return f"{_shared.count(spec.num_classes)} classes ({_shared.plain(', '.join(names))}{more})"


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


def _seen(found: ChosenImages, model: ChosenModel) -> None:
    """Whether the victim was trained on these very images: what it has seen, it may give away more, or less."""
    if model.trained_on is None:
        return
    said = seen_words(_shared.settings(), model.trained_on, found.choice)
    if said:
        st.caption(f":material/visibility: {_shared.plain(said)}")


def _thumbnail(image: Prepared) -> str:
    return _shared.data_url(encode_png(image.original), 96)

"""Which images: a data set, a folder or a Parquet file, and what of it. For the training form, samples and audits."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import streamlit as st

from core.errors import UserError
from core.images.allowed import allowed_roots, roots_words
from core.images.dataset import TEST, TRAIN, DataChoice, DataSet
from core.images.datasets import DATASETS, is_here, open_dataset
from core.images.sampling import choose, read_list
from core.storage.artifacts import encode_png
from pages import _shared
from pages._links import obey

FOLDER, PARQUET = "folder", "parquet"
FILES = {FOLDER: "a folder of class folders", PARQUET: "a Parquet file of images"}
VARIANTS = {
    "celeba": ("Attribute", "identity", "Empty: the classes are people. An attribute such as Smiling: yes or no."),
    "lfw-people": ("Images a person at least", "20", "People with fewer images are left out."),
}
HELD_OUT = "held out"
DRAWN, LISTED = "drawn", "a list"
PART_WORDS = {"training part": TRAIN, HELD_OUT: TEST}
MOST_LISTED = 400  # classes that fit a list to pick from; more are named by hand
MOST_LIST_BYTES = 4 << 20
STRIP = 10  # pictures that a choice shows


@dataclass(frozen=True)
class Opened:
    """A data set that is there, under the name by which it is asked for."""

    name: str
    dataset: DataSet


def source(prefix: str, label: str = "Data set", names: Sequence[str] | None = None, own: str = "") -> Opened | None:
    """Pick a data set, a folder or a file and open it; None, with the reason said, where that cannot be.

    prefix: of the widgets' keys, which are in the link. names: the data sets offered; all where it is None. own: the
    data set that stands there until another one is picked.
    """
    offered = offers(names, own)
    obey(**{f"{prefix}data": offered[0]})
    if own:
        _remember(link(prefix, own), but=f"{prefix}data")
    name = str(st.selectbox(label, offered, key=f"{prefix}data", bind="query-params"))
    if name in FILES:
        path = st.text_input(
            "Path on the server",
            key=f"{prefix}path",
            bind="query-params",
            placeholder="/data/faces" if name == FOLDER else "/data/train-00000.parquet",
            help=path_help(name),
        ).strip()
        if not path:
            st.caption(f"Give the path of {FILES[name]}.")
            return None
        name = f"{name}:{path}"
    elif not is_here(name, _shared.settings()):
        _not_there(name)
        return None
    else:
        record = DATASETS[name]
        st.caption(f"**{_shared.plain(record.title)}**: {_shared.plain(record.summary)}")
        name = variant(prefix, name)
    return opened(name)


def offers(names: Sequence[str] | None, own: str = "") -> list[str]:
    """What is offered, in order: the victim's own, those that are on this machine, the others, and files."""
    every = [*(bundled_first() if names is None else names), *FILES]
    first = own.partition(":")[0]
    settings = _shared.settings()
    rank = {name: 0 if name == first else 1 if name in FILES or is_here(name, settings) else 2 for name in every}
    files_last = {name: (name in FILES and rank[name] > 0) for name in every}
    return sorted(every, key=lambda name: (files_last[name], rank[name]))


def _remember(wanted: dict[str, str], but: str) -> None:
    """Where neither link nor session says otherwise, have widgets that start empty start at these values."""
    for key, value in wanted.items():
        if key != but and key not in st.session_state and key not in st.query_params:
            st.session_state[key] = value


def bundled_first() -> list[str]:
    """Names of all sets, such that a first visit finds one that is here."""
    return sorted(DATASETS, key=lambda name: not DATASETS[name].bundled)


def variant(prefix: str, name: str) -> str:
    """The name with what it may be given behind a colon: an attribute, or how many images a person has at least."""
    if name not in VARIANTS:
        return name
    label, hint, about = VARIANTS[name]
    text = st.text_input(label, key=f"{prefix}variant_{name}", bind="query-params", placeholder=hint, help=about)
    return f"{name}:{text.strip()}" if text.strip() else name


def opened(name: str) -> Opened | None:
    """The data set of this name; None, with the reason said, where it cannot be opened."""
    try:
        return Opened(name, open_cached(name))
    except UserError as error:
        st.error(_shared.plain(str(error)), icon=":material/error:")
        return None


def open_cached(name: str) -> DataSet:
    """The opened data set, kept for a while: its index alone may take a second. Raises UserError."""
    return _open(str(allowed_roots(_shared.settings())), name)


@st.cache_resource(show_spinner="Reading the data set's index", max_entries=8, ttl=300)
def _open(roots: str, name: str) -> DataSet:
    return open_dataset(name, _shared.settings())


def link(prefix: str, name: str) -> dict[str, str]:
    """The query parameters with which `source` and `variant` draw this data set."""
    base, _, rest = name.partition(":")
    if base in FILES:
        return {f"{prefix}data": base, f"{prefix}path": rest}
    return {f"{prefix}data": base} | ({f"{prefix}variant_{base}": rest} if rest else {})


def path_help(name: str) -> str:
    """What such a path leads to, and where it may lie."""
    about = "A column of images and a column of labels, as Hugging Face writes them."
    if name == FOLDER:
        about = "It holds one folder for each class, or train and test (or val) folders that hold those."
    roots = _shared.plain(roots_words(_shared.settings()))
    return f"{about} It lies below {roots}; SEMSIGHT\\_FOLDERS allows more folders."


def _not_there(name: str) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f":material/download: {_shared.plain(DATASETS[name].title)} is not on this machine.")
        st.page_link("pages/datasets.py", label="Get it", query_params={"set": name})


def chosen(
    prefix: str,
    found: Opened,
    *,
    part: bool,
    count: int | None,
    like: DataChoice | None = None,
    ways: Sequence[str] = (DRAWN, LISTED),
    count_key: str = "",
) -> DataChoice | None:
    """A draw or a fixed list, as the person likes; None while there is no list yet. Raises UserError.

    part: whether to ask for the part; else it is the training part. count: images where nobody says how many, or as
    many as there are; None: every image. like: what the victim was trained on, whose seed, split and classes count
    until others are given. ways: the first one stands there at first; each is DRAWN, LISTED or the caller's own, which
    gives None. All but a list is in the link.
    """
    taken = TRAIN
    with st.container(horizontal=True, vertical_alignment="top", gap="medium"):
        way = st.segmented_control(
            "Chosen by", list(ways), default=ways[0], required=True, key=f"{prefix}by", bind="query-params"
        )
        if part and way == DRAWN:
            taken = _part(prefix)
    if way == LISTED:
        return by_list(prefix, found)
    return _drawn(prefix, found, taken, count, like, count_key or f"{prefix}count") if way == DRAWN else None


def _part(prefix: str) -> str:
    """Training part or held out: as published, or by split seed 0 where nobody publishes a split."""
    picked = st.segmented_control(
        "Part",
        list(PART_WORDS),
        default=HELD_OUT,
        required=True,
        key=f"{prefix}part",
        bind="query-params",
        help="Victims are trained on the training part; what is held out, they have never seen.",
    )
    return PART_WORDS[str(picked)]


def _drawn(
    prefix: str, found: Opened, part: str, count: int | None, like: DataChoice | None, count_key: str
) -> DataChoice:
    """Classes, count, images of each class and the seed."""
    usual = like or DataChoice(found.name)
    classes = _classes(prefix, found.dataset.classes, usual.classes)
    each = st.session_state.get(f"{prefix}each")
    there = available(found, part, classes, int(each) if isinstance(each, int | float) and each >= 1 else None)
    first = None if count is None else max(1, min(count, there))
    with st.grid(3, min_column_width=130):
        total = st.number_input(
            "Images in all",
            1,
            None,
            None,
            key=count_key,
            bind="query-params",
            placeholder="every one" if first is None else f"{first} of {_shared.count(there)}",
        )
        each = st.number_input(
            "Of each class", 1, None, None, key=f"{prefix}each", bind="query-params", placeholder="as they come"
        )
        seed = st.number_input(
            "Seed of the draw",
            0,
            2**31 - 1,
            None,
            key=f"{prefix}draw",
            bind="query-params",
            placeholder=str(usual.seed),
            help="The same seed draws the same images, for ever."
            + (f" Empty: {usual.seed}, as the victim's training." if like is not None else ""),
        )
    return replace(
        usual,  # its split with it, so that what is held out is what the victim has not seen
        dataset=found.name,
        part=part,
        count=first if total is None else int(total),
        per_class=None if each is None else int(each),
        classes=classes,
        names=(),
        seed=usual.seed if seed is None else int(seed),
        fingerprint="",
    )


def available(found: Opened, part: str, classes: tuple[str, ...], each: int | None = None) -> int:
    """How many images a draw may take: of this part and these classes, at most `each` of one class."""
    held = _held_by_class(found.name, found.dataset.fingerprint, part, found.dataset)
    wanted = [number for name, number in held.items() if not classes or name in classes]
    return sum(number if each is None else min(number, each) for number in wanted)


@st.cache_data(show_spinner=False, max_entries=32)
def _held_by_class(name: str, fingerprint: str, part: str, _dataset: DataSet) -> dict[str, int]:
    """Images of each class in a part; without a published split, any seed gives parts of the same sizes."""
    numbers = Counter(entry.label for entry in _dataset.entries if entry.part == part)
    return {title: numbers[label] for label, title in enumerate(_dataset.classes)}


def _classes(prefix: str, names: Sequence[str], usual: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The classes to keep; none named: the usual ones, or else all of them."""
    every = f"the victim's {len(usual)}" if usual else f"all {_shared.count(len(names))}"
    if len(names) <= MOST_LISTED:
        picked = st.multiselect("Classes", list(names), key=f"{prefix}only", bind="query-params", placeholder=every)
        return tuple(picked) or usual
    text = st.text_input(
        "Classes, by name, with commas between them", key=f"{prefix}named", bind="query-params", placeholder=every
    )
    return tuple(part.strip() for part in text.split(",") if part.strip()) or usual


def by_list(prefix: str, found: Opened) -> DataChoice | None:
    """A fixed list from a file, as the Data sets page writes it; None until there is one."""
    held = st.session_state.get(f"{prefix}list")
    file = st.file_uploader("List of images (CSV)", key=f"{prefix}list_file", max_upload_size=4)
    if file is not None:
        held = (file.name, file.getvalue()[:MOST_LIST_BYTES])
        st.session_state[f"{prefix}list"] = held
    if held is None:
        st.caption("A list as the Data sets page writes it: one image a row, by name. A link cannot hold it.")
        return None
    return replace(read_list(held[1], found.dataset), dataset=found.name)


def places(found: Opened, choice: DataChoice) -> tuple[int, ...]:
    """The entries that the choice takes, by their places; UserError where it cannot be met."""
    return _places(str(_shared.settings().datasets), found.dataset.fingerprint, choice, found.dataset)


@st.cache_data(show_spinner=False, max_entries=32)
def _places(folder: str, fingerprint: str, choice: DataChoice, _dataset: DataSet) -> tuple[int, ...]:
    return tuple(choose(_dataset, choice))


def held_out(choice: DataChoice) -> DataChoice:
    """What a training on the choice looks at for its accuracy: the held-out part of the same classes."""
    return replace(choice, part=TEST, count=None, per_class=None, names=())


def strip(found: Opened, taken: Sequence[int], most: int = STRIP) -> list[str]:
    """HTML of the first pictures, crisp, with their classes under them; a broken one raises UserError by name."""
    return [
        _shared.figure(url, f"{name}, class {label}", 84, label)
        for name, label, url in _thumbnails(found.name, found.dataset.fingerprint, tuple(taken[:most]), found.dataset)
    ]


@st.cache_data(show_spinner=False, max_entries=64)
def _thumbnails(name: str, fingerprint: str, taken: tuple[int, ...], _dataset: DataSet) -> list[tuple[str, str, str]]:
    return [
        (picture.name, picture.class_name, _shared.data_url(encode_png(picture.pixels), 128))
        for picture in _dataset.pictures(taken)
    ]

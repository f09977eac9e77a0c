"""One data set closely: classes with their counts, pictures, and a sample to share as a list."""

from collections import Counter

import streamlit as st

from core.errors import UserError
from core.images.dataset import TEST, TRAIN, DataChoice, DataSet
from core.images.datasets import DATASETS, DataRecord, difference, is_here
from core.images.sampling import write_list
from core.names import safe_name
from pages import _data_choice, _datasets_cards, _shared

PREFIX = "sample_"  # of the sample's keys
SHOWN = 12


def named(name: str) -> None:
    """The set of ?set=, which may not be there yet."""
    record = DATASETS.get(name.partition(":")[0])
    if record is not None and not usable(record):
        with st.container(border=True):
            _datasets_cards.card(record)
        running = (record.name,) if _datasets_cards.fetching(record.name) else ()
        st.session_state["sets_running"] = running
        if running:
            _datasets_cards.watch()
        return
    full = _data_choice.variant("", name) if record is not None else name
    found = _data_choice.opened(full)
    if found is not None:
        show(found)


def usable(record: DataRecord) -> bool:
    """Whether it is here and opens; a file that differs from the publisher's may not."""
    if not is_here(record.name, _shared.settings()):
        return False
    if _datasets_cards.state_of(record) != _datasets_cards.DIFFERS:
        return True
    try:
        _data_choice.open_cached(record.name)
    except UserError:  # the card says it, and the way out
        return False
    return True


def show(found: _data_choice.Opened) -> None:
    """Everything of one opened set."""
    dataset, record = found.dataset, DATASETS.get(found.name.partition(":")[0])
    st.subheader(_shared.plain(dataset.title), anchor=False)
    if record is not None:
        st.markdown(f":material/gavel: {_shared.plain(record.licence)}")
        st.caption(f"{_shared.plain(record.summary)} Split: {_shared.plain(record.split)}.")
        if said := difference(record.name, _shared.settings()):
            st.warning(_shared.plain(said), icon=":material/difference:")
    else:
        st.markdown(":material/gavel: Your own files: their licence is yours to know.")
    with st.container(horizontal=True):
        _datasets_cards.use_links(found.name)
    for note in getattr(dataset, "notes", ()):
        st.info(_shared.plain(note), icon=":material/info:")
    left, right = st.columns([2, 3], gap="medium")
    with left:
        counts(found.name, dataset)
    with right:
        sample(found)


@st.cache_data(show_spinner=False, max_entries=16)
def class_counts(name: str, fingerprint: str, _dataset: DataSet) -> list[dict[str, object]]:
    """Images of each class, in both parts."""
    counted = Counter((entry.label, entry.part) for entry in _dataset.entries)
    return [
        {"class": title, "training": counted[label, TRAIN], "held out": counted[label, TEST]}
        for label, title in enumerate(_dataset.classes)
    ]


def counts(name: str, dataset: DataSet) -> None:
    """The classes as a table, and the totals."""
    rows = class_counts(name, dataset.fingerprint, dataset)
    train, held = (sum(int(str(row[part])) for row in rows) for part in ("training", "held out"))
    drawn = "" if dataset.published_split else ", drawn by seed 0"
    st.markdown(
        f"**{_shared.count(len(rows))} classes**, {_shared.count(train)} images to train on, "
        f"{_shared.count(held)} held out{drawn}"
    )
    st.dataframe(
        rows, hide_index=True, height="content" if len(rows) <= 12 else 460, alt="Images of each class and part"
    )


def sample(found: _data_choice.Opened) -> None:
    """A drawn sample: its pictures, and its list as a file that gives others the very same images."""
    st.markdown("**A sample to look at, or to share as a fixed list**")
    try:
        choice = _data_choice.chosen(PREFIX, found, part=True, count=SHOWN)
        if choice is None:
            return
        places = _data_choice.places(found, choice)
        pictures = _data_choice.strip(found, places, SHOWN)
    except UserError as error:
        st.error(_shared.plain(str(error)), icon=":material/error:")
        return
    st.html(_shared.pictures_html(pictures))
    share(found, choice, places)


def share(found: _data_choice.Opened, choice: DataChoice, places: tuple[int, ...]) -> None:
    """The list as a file."""
    more = len(places) - SHOWN
    with st.container(horizontal=True, vertical_alignment="center"):
        st.download_button(
            "Download this list (CSV)",
            lambda: write_list(found.dataset, choice),
            file_name=f"{safe_name(found.dataset.title)}-{len(places)}.csv",
            mime="text/csv",
            icon=":material/download:",
            on_click="ignore",
            key="sample_csv",
        )
        said = f"{_shared.count(len(places))} images" + (f", the first {SHOWN} shown" if more > 0 else "")
        st.caption(f"{said}. Whoever has the list takes the very same images, here, on the Audit page and in a script.")

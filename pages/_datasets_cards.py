"""The Data sets page's cards: what each set is, its licence first, where it stands, and how to get it."""

import streamlit as st

from core.errors import UserError
from core.images.datasets import (
    DATASETS,
    DataRecord,
    difference,
    how_to_place,
    is_here,
    missing_files,
    set_aside,
)
from core.jobs import fetch_data
from core.storage.space import size_words
from pages import _data_choice, _shared, _training_watch

PAGE = "pages/datasets.py"
POLL = 1.0  # seconds, only while something is fetched
HERE, DIFFERS, PARTLY, MISSING = "here", "differs", "partly", "missing"
BADGES = {
    HERE: ":green-badge[:material/check: on this machine]",
    DIFFERS: ":orange-badge[:material/difference: differs from the publisher's]",
    PARTLY: ":orange-badge[:material/hourglass_bottom: partly here]",
    MISSING: ":gray-badge[:material/cloud: not here]",
}


def state_of(record: DataRecord) -> str:
    """Whether all of its files, some or none are in place, and whether one has another size than published."""
    if difference(record.name, _shared.settings()):
        return DIFFERS
    missing = missing_files(record.name, _shared.settings())
    if not missing:
        return HERE
    return PARTLY if len(missing) < len(record.files) or begun(record) else MISSING


def cards() -> None:
    """One card a data set, those that are there first."""
    order = {HERE: 0, DIFFERS: 1, PARTLY: 2, MISSING: 3}
    records = sorted(DATASETS.values(), key=lambda one: order[state_of(one)])
    with st.grid(2, min_column_width=340):
        for record in records:
            with st.container(border=True, key=f"set_{record.name}"):
                card(record)
    running = tuple(name for name in DATASETS if fetch_data.fetched(_shared.settings(), name).running)
    st.session_state["sets_running"] = running
    if running:
        watch()


def card(record: DataRecord) -> None:
    """Licence, what it is, and what can be done."""
    state = state_of(record)
    st.markdown(f"**{_shared.plain(record.title)}** {BADGES[state]}")
    st.markdown(f":material/gavel: {_shared.plain(record.licence)}")
    st.caption(f"{_shared.plain(record.summary)} {facts(record)}")
    if state == HERE:
        links(record.name)
    elif state == DIFFERS:
        differs(record)
    elif record.by_hand:
        st.markdown(f"It cannot be downloaded from here: {_shared.plain(record.by_hand)}.")
        with st.container(horizontal=True, vertical_alignment="center"):
            publisher(record)
            placing(record)
    else:
        download(record)


def differs(record: DataRecord) -> None:
    """What is there instead of the publisher's, whether it opens, and the way out."""
    name, settings = record.name, _shared.settings()
    said = difference(name, settings)
    if is_here(name, settings):
        try:
            found = _data_choice.open_cached(name)
            said += (
                f" What is there holds {_shared.count(len(found.entries))} images of "
                f"{_shared.count(len(found.classes))} classes."
            )
        except UserError as error:
            said += f" It does not open: {error}"
            found = None
        if found is not None:
            links(name)
    st.warning(_shared.plain(said), icon=":material/difference:")
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Put it aside",
            key=f"aside_{name}",
            icon=":material/drive_file_move:",
            on_click=put_aside,
            args=(name,),
            help="Renames the file in its folder, so that the publisher's can be fetched. Nothing is deleted.",
        )
        publisher(record)
        placing(record)


def put_aside(name: str) -> None:
    """Callback of a button."""
    try:
        moved = set_aside(name, _shared.settings())
    except UserError as error:
        st.toast(_shared.plain(str(error)), icon=":material/error:")
        return
    st.toast(_shared.plain("Renamed to " + ", ".join(path.name for path in moved) + "."), icon=":material/check:")


def facts(record: DataRecord) -> str:
    """Numbers of one set in a line."""
    parts = [f"{_shared.count(record.classes)} classes"]
    if record.bytes:
        parts.append(size_words(record.bytes) + (" in all" if record.by_hand else " to download"))
    return _shared.plain(" · ".join([*parts, f"split: {record.split}"]))


def links(name: str) -> None:
    """What to do with a set that is there."""
    with st.container(horizontal=True):
        st.page_link(PAGE, label="Look at it", icon=":material/image_search:", query_params={"set": name})
        use_links(name)


def use_links(name: str) -> None:
    """To the form that trains on it, and to the audit that attacks it."""
    st.page_link(
        "pages/models.py",
        label="Train on it",
        icon=":material/model_training:",
        query_params={"view": _training_watch.VIEW, **_data_choice.link("train_", name)},
    )
    st.page_link(_shared.AUDIT_PAGE, label="Attack it", icon=":material/biotech:", query_params=attack_link(name))


def attack_link(name: str) -> dict[str, str]:
    """The Audit page with this set chosen."""
    if name in DATASETS and DATASETS[name].bundled:
        return {"images": name}
    return {"images": "data set", **_data_choice.link("from_", name)}


def fetching(name: str) -> bool:
    """Whether a download of it runs."""
    return bool(fetch_data.fetched(_shared.settings(), name).running)


def download(record: DataRecord) -> None:
    """The licence's box, then the button; while it runs, how far it is."""
    name = record.name
    now = fetch_data.fetched(_shared.settings(), name)
    if now.running:
        st.fragment(progress, run_every=POLL)(name)
        return
    if now.problem:
        st.error(_shared.plain(now.problem), icon=":material/error:")
    accepted = bool(st.session_state.get(f"accepted_{name}"))  # a widget that is not drawn meanwhile forgets
    read = st.checkbox("I have read the licence and its publisher's terms", accepted, key=f"read_{name}")
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Go on with the download" if begun(record) else "Download",
            key=f"get_{name}",
            icon=":material/download:",
            disabled=not read,
            on_click=start,
            args=(name,),
            help=None if read else "Tick the box first.",
        )
        publisher(record)
        placing(record)


def publisher(record: DataRecord) -> None:
    """Its publisher's page."""
    if record.homepage:
        st.link_button("Publisher", record.homepage, icon=":material/open_in_new:", type="tertiary")


def begun(record: DataRecord) -> bool:
    """Whether a part of it has come, from which a download goes on."""
    folder = _shared.settings().datasets / record.name
    return any((folder / f"{file.name}.part").is_file() for file in record.files)


def placing(record: DataRecord) -> None:
    """How to place the files by hand."""
    with st.popover("By hand", icon=":material/folder_open:", type="tertiary"):
        st.markdown(_shared.plain(how_to_place(record.name, _shared.settings())))
        rows = [
            {"file": file.name, "size": size_words(file.bytes), "checksum": file.checksum}
            for file in missing_files(record.name, _shared.settings()) or record.files
        ]
        st.dataframe(rows, hide_index=True, alt=f"Files of {record.title}: name, size and checksum")


def start(name: str) -> None:
    """Callback of a button."""
    st.session_state[f"accepted_{name}"] = True
    try:
        fetch_data.start(_shared.settings(), name)
    except (UserError, OSError) as error:
        st.toast(_shared.plain(str(error)), icon=":material/error:")


def stop(name: str) -> None:
    """Callback of a button: what came so far is kept."""
    try:
        fetch_data.cancel(_shared.settings(), name)
    except (UserError, OSError) as error:
        st.toast(_shared.plain(str(error)), icon=":material/error:")


def progress(name: str) -> None:
    """How far a download is, and the button that stops it."""
    now = fetch_data.fetched(_shared.settings(), name)
    st.progress(now.share or 0.0, f"Fetching: {now.words}" if now.running else "done")
    st.button("Cancel", key=f"stop_{name}", icon=":material/close:", on_click=stop, args=(name,))


@st.fragment(run_every=POLL)
def watch() -> None:
    """Redraw the page when a download has ended."""
    now = tuple(name for name in DATASETS if fetch_data.fetched(_shared.settings(), name).running)
    if now != st.session_state.get("sets_running"):
        st.rerun()

"""The Metrics page's weights: found or missing, and a button that has a file fetched in the background."""

from collections.abc import Sequence
from html import escape

import streamlit as st

from core.errors import UserError
from core.jobs import fetch
from core.report.guide import WeightsNote
from pages import _shared

POLL = 1.0  # seconds, only while something is fetched


def start(name: str) -> None:
    """Callback of a button."""
    try:
        fetch.start(_shared.settings(), name)
    except (UserError, OSError) as error:
        st.toast(_shared.plain(str(error)), icon=":material/error:")


def panel(notes: Sequence[WeightsNote]) -> None:
    """A row for each file of weights."""
    running = False
    for note in notes:
        state = fetch.fetched(_shared.settings(), note.name)
        running = running or state.running
        with st.container(border=True, key=f"weights_{note.name}"):
            row(note, state)
    if running:
        watch(tuple(note.name for note in notes))


def row(note: WeightsNote, state: fetch.Fetch) -> None:
    """One file: what it is, where it stands, and what can be done."""
    left, right = st.columns([5, 1], vertical_alignment="center")
    left.html(words(note))
    if note.button and not state.running:
        right.button(
            note.button,
            key=f"fetch_{note.name}",
            icon=":material/download:",
            on_click=start,
            args=(note.name,),
            help=f"{note.size}, {note.licence}, from {note.address}",
            width="stretch",
        )
    if state.running:
        st.fragment(progress, run_every=POLL)(note.name)
    elif state.problem and note.reason:
        st.error(_shared.plain(state.problem), icon=":material/error:")


def words(note: WeightsNote) -> str:
    """Name, state in words and a sign, size and licence, who uses it."""
    state = f"<b>✓ found</b> {escape(note.found)}" if note.found else f"<b>✕ missing</b> {escape(note.reason)}"
    kind = "found" if note.found else "missing"
    users = f"used by {note.used_by}" if note.used_by else "used by no metric of this version"
    about = f"{note.size} · {note.licence}"
    return (
        f'<div class="weights {kind}"><b>{escape(note.name)}</b> <span>{escape(about)}</span>'
        f"<div>{state}</div><small>{escape(users)}</small></div>"
    )


def progress(name: str) -> None:
    """How far a download is."""
    state = fetch.fetched(_shared.settings(), name)
    st.progress(state.share or 0.0, f"Fetching {name}: {state.words}" if state.running else "done")


@st.fragment(run_every=POLL)
def watch(names: tuple[str, ...]) -> None:
    """Redraw the page when a download has ended."""
    now = tuple(name for name in names if fetch.fetched(_shared.settings(), name).running)
    before = st.session_state.setdefault("weights_running", now)
    if now != before:
        st.session_state["weights_running"] = now
        st.rerun()

"""Which run the Reconstructions page shows, and which other one beside it. Both are in the link."""

import streamlit as st

from core.errors import UserError
from core.report.beside import Sharing, sharing
from core.report.runs import Run, changes, run, runs
from pages import _shared
from pages._controls import to_first_page

LISTED = 100


def chosen_run() -> Run | None:
    """The run of ?run=, else the newest with results, else the newest; None in an empty store.

    UserError for a link to nothing.
    """
    store = _shared.get_store()
    wanted = _shared.query_number("run")
    if wanted is not None:
        return run(store, wanted)
    newest = runs(store, limit=1, results=True) or runs(store, limit=1)
    return newest[0] if newest else None


def open_run() -> None:
    """Callback of the run picker; without a choice the page goes back to the newest run."""
    for name in ("run", "reconstruction", "beside"):
        st.query_params.pop(name, None)
    if st.session_state["run_choice"] is not None:
        st.query_params["run"] = str(st.session_state["run_choice"])
    to_first_page()


def pick_run(current: Run | None) -> None:
    """The list of runs; choosing one changes the link."""
    listed = {found.id: found for found in runs(_shared.get_store(), limit=LISTED)}
    if current is not None:
        listed.setdefault(current.id, current)
        st.session_state["run_choice"] = current.id
    st.selectbox(
        "Run",
        list(listed),
        index=None,
        format_func=lambda i: f"{i} · {listed[i].title} · {listed[i].state}",
        key="run_choice",
        on_change=open_run,
        placeholder="choose a run",
    )


@st.cache_data(show_spinner=False, max_entries=64)
def _sharing(where: str, run_id: int, counters: tuple[int, ...]) -> tuple[Sharing, ...]:
    return sharing(_shared.get_store(), run_id)


def open_beside() -> None:
    """Callback of the list of runs to compare with."""
    chosen = st.session_state["beside_choice"]
    if chosen is None:
        st.query_params.pop("beside", None)
    else:
        st.query_params["beside"] = str(chosen)
    to_first_page()


def pick_beside(run_id: int) -> Sharing | None:
    """The run beside this one, from those that share originals; None without one. A link to another is said so."""
    store = _shared.get_store()
    where = f"{store.settings.home} {store.settings.database_url}"
    offered = {one.run: one for one in _sharing(where, run_id, changes(store, ("reconstructions", "jobs")))}
    wanted: int | None = None
    try:
        wanted = _shared.query_number("beside")
        if wanted is not None and wanted not in offered:
            raise UserError(f"Run {wanted} shares no original with run {run_id}; choose one from the list.")
    except UserError as error:
        st.info(_shared.plain(str(error)), icon=":material/info:")
        wanted = None
    if not offered:
        return None
    st.session_state["beside_choice"] = wanted
    st.selectbox(
        "Beside",
        list(offered),
        index=None,
        format_func=lambda i: f"{i} · {offered[i].title} · {_shared.count(offered[i].common)} originals in common",
        key="beside_choice",
        on_change=open_beside,
        placeholder="another run of the same originals",
    )
    return offered.get(wanted) if wanted is not None else None

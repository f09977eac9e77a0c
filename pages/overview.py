"""Overview: what is in the store, what runs now, the demo, and the newest verdicts."""

import streamlit as st

from core.errors import UserError
from core.jobs.compose import demo_request, submit_attack
from core.report.runs import Run, StoreCounts, counts, runs
from core.report.views import image_pairs
from pages import _disk, _progress, _shared, _verdict

RECENT = 6


def run_demo(anew: bool = False) -> None:
    """Button callback: queue the demo and have a runner live."""
    store = _shared.get_store()
    try:
        submitted = submit_attack(store, demo_request(), anew=anew)
    except UserError as error:
        st.toast(_shared.plain(str(error)), icon=":material/error:")
        return
    _shared.wake_runner()
    st.session_state["demo"] = (submitted.job_id, submitted.already, submitted.state)


def demo_panel() -> None:
    """The one button, and what became of the last press."""
    st.button("Run the demo", type="primary", icon=":material/play_arrow:", on_click=run_demo, key="run_demo")
    st.caption("8 faces, LeNet, DLG with one image an update, seed 0. About a minute on 2 CPU cores.")
    asked = st.session_state.get("demo")
    if asked is None:
        return
    job, already, state = asked
    if already and state == "done":
        st.markdown("This very run is in the store already: nothing was computed again.")
        with st.container(horizontal=True):
            st.page_link(_shared.RUN_PAGE, label="Open it", query_params={"run": str(job)})
            st.button("Run it anew", on_click=run_demo, args=(True,), key="demo_anew")


def numbers(found: StoreCounts) -> None:
    """The store in four numbers."""
    with st.grid(4, min_column_width=140):
        st.metric("Runs", _shared.count(found.runs), border=True)
        st.metric("Originals", _shared.count(found.originals), border=True)
        st.metric("Reconstructions", _shared.count(found.reconstructions), border=True)
        people = f"{found.annotators} annotator{'' if found.annotators == 1 else 's'}"
        st.metric("Answers", _shared.count(found.answers), border=True, help=f"by {people}")


def active_panel() -> None:
    """What runs now. Leaves the polling to its fragment; a run that ended redraws the page."""
    found = [run for run in runs(_shared.get_store(), limit=30) if run.live]
    ids = [run.id for run in found]
    if st.session_state.get("overview_live") not in (None, ids):
        st.session_state["overview_live"] = ids
        st.rerun()
    st.session_state["overview_live"] = ids
    st.subheader("Running now", anchor=False)
    if not found:
        st.caption("Nothing is running.")
    for run in found[:RECENT]:
        with st.container(border=True):
            with st.container(horizontal=True, vertical_alignment="center"):
                st.markdown(f"**{_shared.plain(run.title)}** {_progress.status_line(run)}")
                st.page_link(_shared.AUDIT_PAGE, label="Watch", query_params={"run": str(run.id)})
            _progress.progress_bar(run)


def recent_verdicts() -> None:
    """The newest ended runs with results and their verdicts; then those that ended without any."""
    with_results = runs(_shared.get_store(), limit=RECENT, active=False, results=True)
    without = runs(_shared.get_store(), limit=RECENT // 2, active=False, results=False)
    for title, found in (("Recent verdicts", with_results), ("Ended without results", without)):
        if found:
            st.subheader(title, anchor=False)
            verdict_cards(found)


def verdict_cards(found: list[Run]) -> None:
    """One card a run: its verdict, or how it ended."""
    for run in found:
        with st.container(border=True):
            if run.state == "done":
                judged = _verdict.verdict_of(run.id)
                images = image_pairs(_shared.get_store(), [e.reconstruction for e in judged.verdict.worst])
                left, right = st.columns([3, 2], gap="medium", vertical_alignment="center")
                left.html(_verdict.verdict_html(judged))
                if images:
                    right.html(_verdict.thumbs_html(judged.verdict, images))
            else:
                st.markdown(_progress.status_line(run))
                _progress.error_line(run)
            with st.container(horizontal=True, vertical_alignment="center"):
                st.page_link(
                    _shared.RUN_PAGE,
                    label=f"Run {run.id}: {_shared.plain(run.title)}",
                    query_params={"run": str(run.id)},
                )
                st.caption(_shared.when(run.finished))


_shared.header("Overview", "How much of the training images a shared update gives away, as a person sees it.")
with _shared.user_errors():
    stored = counts(_shared.get_store())
    if stored.runs == 0:
        _shared.empty_state(
            "**Nothing here yet.** Run the demo to see the whole way once: it attacks a small model, reconstructs the "
            "faces that it was given and scores them. Then open *Reconstructions* to judge what you recognise, or "
            "*Audit* to attack a model of your own."
        )
    demo_panel()
    numbers(stored)
    busy = any(run.live for run in runs(_shared.get_store(), limit=30))
    st.fragment(active_panel, run_every=_progress.POLL_SECONDS if busy else 10)()
    recent_verdicts()
    _disk.panel()

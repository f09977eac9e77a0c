"""Overview: what is in the store, what runs now, the demo, and the newest verdicts."""

import streamlit as st

from core.errors import UserError
from core.jobs.compose import demo_request, submit_attack
from core.report.campaigns import CampaignRow
from core.report.recent import live_campaigns, recent
from core.report.runs import Run, StoreCounts, counts, runs
from pages import _disk, _overview_cards, _progress, _shared

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


def at_work() -> tuple[list[CampaignRow], list[Run]]:
    """Campaigns and runs that are queued, running, paused or being scored."""
    store = _shared.get_store()
    return live_campaigns(store), [run for run in runs(store, limit=30) if run.live]


def active_panel() -> None:
    """What runs now. Leaves the polling to its fragment; what ended redraws the page."""
    campaigns, found = at_work()
    ids = ([row.id for row in campaigns], [run.id for run in found])
    if st.session_state.get("overview_live") not in (None, ids):
        st.session_state["overview_live"] = ids
        st.rerun()
    st.session_state["overview_live"] = ids
    st.subheader("Running now", anchor=False)
    if not campaigns and not found:
        st.caption("Nothing is running.")
    within: set[int] = set()
    for row in campaigns[:RECENT]:
        mine = [run for run in found if run.parent == row.id]
        within |= {run.id for run in mine}
        _overview_cards.campaign_at_work(row, mine)
    for run in [run for run in found if run.id not in within][:RECENT]:
        _overview_cards.run_at_work(run)


def recent_verdicts() -> None:
    """What ended lately with results, a campaign as one; then runs that ended without any."""
    store = _shared.get_store()
    without = runs(store, limit=RECENT // 2, active=False, results=False, alone=True)
    for title, found in (("Recent verdicts", recent(store, RECENT)), ("Ended without results", without)):
        if found:
            st.subheader(title, anchor=False)
            for one in found:
                _overview_cards.ended(one)


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
    _disk.panel()
    busy = any(at_work())
    st.fragment(active_panel, run_every=_progress.POLL_SECONDS if busy else 10)()
    recent_verdicts()

"""A campaign while it runs, and what came of it."""

import streamlit as st

from core.errors import UserError
from core.jobs.campaigns import ask_campaign
from core.report.campaigns import CampaignRow, CampaignView, SettingRow, campaign, campaigns, elapsed
from core.report.runs import changes
from pages import _shared

PAGE = "pages/campaigns.py"
POLL_SECONDS = 2.0
SHOWN = 100  # settings in the list at once
LISTED = 20  # campaigns in the history
COMPUTING = ("training", "attacking", "scoring")
ICONS = {
    "waiting": ":gray-badge[:material/schedule: waiting]",
    "training": ":primary-badge[:material/model_training: training]",
    "attacking": ":primary-badge[:material/biotech: attacking]",
    "scoring": ":primary-badge[:material/straighten: scoring]",
    "paused": ":orange-badge[:material/pause: paused]",
    "done": ":green-badge[:material/check: done]",
    "failed": ":red-badge[:material/error: failed]",
}


def ask(campaign_id: int, wanted: str) -> None:
    """Button callback: run, pause or cancel; a refusal becomes a toast."""
    try:
        ask_campaign(_shared.get_store(), campaign_id, wanted)  # type: ignore[arg-type]
    except UserError as error:
        st.toast(_shared.plain(str(error)), icon=":material/error:")
        return
    _shared.wake_runner()


def panel(view: CampaignView) -> None:
    """Bar, buttons and settings; redrawn by itself while it lives, and only when something changed."""
    st.session_state["campaign_live"] = view.row.live
    st.fragment(_panel, run_every=POLL_SECONDS if view.row.live else None)(view.row.id)


def results(view: CampaignView) -> None:
    """The table of settings as far as there are any."""
    if not any(one.run is not None for one in view.settings):
        return
    from pages import _settings_table

    st.subheader("Results", anchor=False)
    _settings_table.draw(_shared.get_store(), campaign=view.row.id, page=PAGE, title="Campaigns")


def history() -> None:
    """All campaigns, newest first; redrawn by itself while one of them lives."""
    st.subheader("Campaigns in this store", anchor=False)
    found = _listed()
    if not found:
        st.caption("None yet. The mini study above takes minutes and uses pictures that come with SemSight.")
        return
    st.session_state["campaigns_live"] = live = any(row.live for row in found)
    st.fragment(_history, run_every=POLL_SECONDS if live else None)()


def _history() -> None:
    found = _listed()
    if st.session_state.get("campaigns_live") and not any(row.live for row in found):
        st.rerun()
    for row in found:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(
                f"{_shared.state_badge(row.state)} Campaign {row.id}: {_shared.plain(row.title)}", width="stretch"
            )
            st.caption(f"{row.ended} of {row.settings} settings ended, {_shared.when(row.created)}")
            st.page_link(PAGE, label="Open", query_params={"campaign": str(row.id)})


def _listed() -> list[CampaignRow]:
    """The newest campaigns; read anew only where the store changed since they were read."""
    store = _shared.get_store()
    now = (str(store.settings.home), changes(store, ("jobs", "scores")))
    kept = st.session_state.get("campaigns_listed")
    if kept is None or kept[0] != now:
        kept = (now, campaigns(store, limit=LISTED))
        st.session_state["campaigns_listed"] = kept
    rows: list[CampaignRow] = kept[1]
    return rows


def _panel(campaign_id: int) -> None:
    view = _view(campaign_id)
    if st.session_state.get("campaign_live") and not view.row.live:
        st.rerun()
    if view.row.live:
        _shared.keep_runner()
    row = view.row
    with st.container(border=True, key="campaign_panel"):
        st.markdown(f"**Campaign {row.id}: {_shared.plain(row.title)}** {_shared.state_badge(row.state)}")
        st.progress(view.share, text=_bar(view))
        if row.error:
            (st.error if row.state == "failed" else st.warning)(_shared.plain(row.error), icon=":material/error:")
        _buttons(view)
        with st.expander(f"Settings: {_counts(view)}", expanded=row.live or len(view.settings) <= 20):
            for one in view.settings[:SHOWN]:
                _setting(one, halted=row.state == "paused")
            if len(view.settings) > SHOWN:
                st.caption(f"… and {_shared.count(len(view.settings) - SHOWN)} more; the table below has them all.")


def _view(campaign_id: int) -> CampaignView:
    """The view of now; read anew only where the store changed since it was read."""
    store = _shared.get_store()
    now = changes(store, ("jobs", "scores"))
    kept = st.session_state.get("campaign_view")
    if kept is None or kept[0] != (campaign_id, now):
        kept = ((campaign_id, now), campaign(store, campaign_id))
        st.session_state["campaign_view"] = kept
    view: CampaignView = kept[1]
    return view


def _bar(view: CampaignView) -> str:
    ended = sum(one.state in ("done", "failed") for one in view.settings)
    text = f"{100 * view.share:.0f} %, {ended} of {len(view.settings)} settings ended"
    if view.row.state == "paused":
        still = sum(one.state in COMPUTING for one in view.settings)
        return f"{text}; paused" + (f", {still} of them still at work" if still else "")
    if view.row.live and not _shared.runner_lives():
        return f"{text}; the runner is being started{'' if view.row.started is None else ' again'}"
    if view.row.state == "queued":
        return f"{text}; waiting for the runner"
    if not view.row.live:
        return f"{text}; took {_shared.seconds(elapsed(view.row))}"
    if view.left is None:
        return f"{text}; the time left is known after the first one"
    return f"{text}, about {_shared.seconds(view.left)} left"


def _counts(view: CampaignView) -> str:
    halted = view.row.state == "paused"
    return ", ".join(f"{number} {_still(state, halted)}" for state, number in view.counts.items())


def _still(state: str, halted: bool) -> str:
    """A setting's state; in a paused campaign what is computed says that it has not stopped yet."""
    return f"still {state}" if halted and state in COMPUTING else state


def _badge(state: str, halted: bool) -> str:
    return ICONS[state].replace(f" {state}]", f" {_still(state, halted)}]")


def _buttons(view: CampaignView) -> None:
    row = view.row
    if not row.live:
        return
    with st.container(horizontal=True):
        if row.state == "paused":
            st.button("Resume", key="campaign_run", icon=":material/play_arrow:", on_click=ask, args=(row.id, "run"))
        else:
            if view.counts.get("paused"):  # a job of it, as the runner does on a full disk
                st.button(
                    "Resume", key="campaign_run", icon=":material/play_arrow:", on_click=ask, args=(row.id, "run")
                )
            st.button("Pause", key="campaign_pause", icon=":material/pause:", on_click=ask, args=(row.id, "pause"))
        st.button("Cancel", key="campaign_cancel", icon=":material/close:", on_click=ask, args=(row.id, "cancel"))


def _setting(one: SettingRow, halted: bool) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"{_badge(one.state, halted)} {one.position + 1}. {_shared.plain(one.title)}", width="stretch")
        if one.state in ("training", "attacking"):
            st.caption(f"{100 * one.share:.0f} %")
        if one.run is not None:
            page = _shared.RUN_PAGE if one.state in ("done", "scoring") else _shared.AUDIT_PAGE
            st.page_link(page, label=f"Run {one.run}", query_params={"run": str(one.run)})
    if one.why:
        icon = "pause" if one.state == "paused" else "error"
        st.caption(f":material/{icon}: {_shared.plain(one.why)}")

"""Campaigns: a grid of settings, defined on one page or in one TOML text, launched, watched and read as one."""

import streamlit as st

from core.campaigns.grid import count
from core.campaigns.plan import ASK_ABOVE, Campaign
from core.campaigns.presets import PRESETS
from core.campaigns.toml import read_toml, write_toml
from core.errors import UserError
from core.jobs.campaigns import submit_campaign
from core.report.campaigns import campaign as view_of
from core.report.campaigns import campaigns
from pages import _campaign_form, _campaign_plan, _campaign_watch, _links, _shared

PAGE = "pages/campaigns.py"
TEXT, CHOICE, UPLOAD = "campaign_toml", "campaign_preset", "campaign_file"
OWN = "own"
LISTED = 20


def launch(plan: Campaign, anew: bool = False) -> None:
    """Button callback: store the campaign and show it."""
    confirm = bool(st.session_state.get("campaign_meant"))
    try:
        submitted = submit_campaign(_shared.get_store(), plan, confirm=confirm, anew=anew)
    except UserError as error:
        st.session_state["campaign_refused"] = str(error)
        return
    st.session_state["campaign_asked"] = (plan, submitted.job_id, submitted.already, submitted.state)
    st.query_params["campaign"] = str(submitted.job_id)
    _shared.wake_runner()


def take_preset() -> None:
    """Callback: the preset's text comes into the field; one's own text stays until another preset is chosen."""
    chosen = st.session_state[CHOICE]
    if chosen in PRESETS:
        st.session_state[TEXT] = write_toml(PRESETS[chosen].campaign)


def take_file() -> None:
    """Callback: an uploaded file's text comes into the field."""
    file = st.session_state.get(UPLOAD)
    if file is None:
        return
    try:
        st.session_state[TEXT] = file.getvalue().decode("utf-8")
    except UnicodeDecodeError:
        st.session_state["campaign_refused"] = "This file is not UTF-8 text, as TOML is; save it so."


def composer() -> None:
    """Where a plan comes from, its text, what it asks for, and the launch."""
    st.subheader("A new campaign", anchor=False)
    if TEXT not in st.session_state:
        st.session_state[TEXT] = write_toml(PRESETS["mini"].campaign)
    st.segmented_control(
        "Start from",
        list(PRESETS),
        default="mini",
        required=True,
        format_func=lambda name: PRESETS[name].title,
        key=CHOICE,
        on_change=take_preset,
    )
    chosen = st.session_state.get(CHOICE)
    if chosen in PRESETS:
        st.caption(_shared.plain(PRESETS[chosen].summary))
    with st.expander("Build a grid from lists", icon=":material/grid_on:"):
        _campaign_form.form(TEXT)
    with st.expander("The plan as text (TOML)", icon=":material/edit_note:"):
        st.caption("Change anything here; docs/campaigns.md explains every key.")
        st.text_area("Plan", key=TEXT, height=360, label_visibility="collapsed")
        st.file_uploader("Or take a TOML file", type=[".toml"], key=UPLOAD, on_change=take_file, max_upload_size=1)
    refused = st.session_state.pop("campaign_refused", None)
    if refused:
        st.error(_shared.plain(refused), icon=":material/error:")
    try:
        plan = read_toml(str(st.session_state.get(TEXT) or ""))
        number = count(plan)
        found = _campaign_plan.resolved(plan)
    except UserError as error:
        st.error(_shared.plain(str(error)), icon=":material/error:")
        st.button("Launch", type="primary", disabled=True, key="campaign_launch")
        return
    _campaign_plan.words(plan, number)
    _campaign_plan.time(plan, found)
    many = number > ASK_ABOVE
    if many:
        st.checkbox(f"I mean it: {_shared.count(number)} settings, each a run of its own", key="campaign_meant")
    st.button(
        "Launch",
        type="primary",
        icon=":material/play_arrow:",
        key="campaign_launch",
        on_click=launch,
        args=(plan,),
        disabled=many and not st.session_state.get("campaign_meant"),
    )


def watched(wanted: int) -> None:
    """The campaign of ?campaign=: its bar and settings, then its results."""
    view = view_of(_shared.get_store(), wanted)
    st.page_link(PAGE, label="Define another campaign", icon=":material/add:")
    already_there(wanted)
    _campaign_watch.panel(view)
    _campaign_watch.results(view)


def already_there(campaign_id: int) -> None:
    """Say when the same campaign had been asked before; offer to try again what failed."""
    plan, asked, already, state = st.session_state.get("campaign_asked", (None, None, False, ""))
    if asked != campaign_id or not already:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(f"This very campaign is in the store already ({state}): nothing was queued.")
        if state == "done":
            st.button("Try again what failed", key="campaign_anew", on_click=launch, args=(plan, True))


def history() -> None:
    """All campaigns, newest first."""
    found = campaigns(_shared.get_store(), limit=LISTED)
    st.subheader("Campaigns in this store", anchor=False)
    if not found:
        st.caption("None yet. The mini study above takes minutes and uses pictures that come with SemSight.")
    for row in found:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(
                f"{_shared.state_badge(row.state)} Campaign {row.id}: {_shared.plain(row.title)}", width="stretch"
            )
            st.caption(f"{row.ended} of {row.settings} settings ended, {_shared.when(row.created)}")
            st.page_link(PAGE, label="Open", query_params={"campaign": str(row.id)})


_shared.header(
    "Campaigns",
    "Train, attack and score a grid of settings as one: which of them leaks least, to a person's eye?",
)
with _shared.user_errors():
    with _links.link_errors(PAGE, "Campaigns"):
        asked = _shared.query_number("campaign")
        if asked is not None:
            watched(asked)
    if asked is None:
        composer()
    history()

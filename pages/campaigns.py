"""Campaigns: a grid of settings, defined on one page or in one TOML text, launched, watched and read as one."""

from functools import cache

import streamlit as st

from core.campaigns.grid import count
from core.campaigns.plan import ASK_ABOVE, Campaign
from core.campaigns.presets import PRESETS
from core.campaigns.toml import read_toml, write_toml
from core.errors import UserError
from core.jobs.campaigns import submit_campaign
from core.report.campaigns import CampaignView
from core.report.campaigns import campaign as view_of
from pages import _campaign_form, _campaign_plan, _campaign_watch, _links, _shared

PAGE = _campaign_watch.PAGE
TEXT, CHOICE, UPLOAD = "campaign_toml", "campaign_preset", "campaign_file"
# In the session, of no widget: Streamlit forgets a widget's value once a page is drawn without it.
KEPT, OWN_TEXT = "campaign_kept", "campaign_own"
OWN = "own"
FIRST = "mini"


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


@cache
def preset_text(name: str) -> str:
    """The preset as TOML."""
    return write_toml(PRESETS[name].campaign)


def take_preset() -> None:
    """Callback: the preset's text comes into the field, or again the plan of one's own."""
    chosen = st.session_state[CHOICE]
    if chosen == OWN:
        st.session_state[TEXT] = st.session_state.get(OWN_TEXT, st.session_state[TEXT])
    elif chosen in PRESETS:
        st.session_state[TEXT] = preset_text(chosen)


def keep_text() -> None:
    """What is written stays in the session, whatever page is opened; one's own plan also behind a preset."""
    text = st.session_state[KEPT] = str(st.session_state.get(TEXT) or "")
    known = next((name for name in PRESETS if preset_text(name).strip() == text.strip()), OWN)
    if known == OWN:
        st.session_state[OWN_TEXT] = text
    st.session_state[CHOICE] = known


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
        st.session_state[TEXT] = st.session_state.get(KEPT, preset_text(FIRST))
    keep_text()
    st.segmented_control(
        "Start from",
        [*PRESETS, *([OWN] if OWN_TEXT in st.session_state else [])],
        required=True,
        format_func=lambda name: PRESETS[name].title if name in PRESETS else "Own plan",
        key=CHOICE,
        on_change=take_preset,
    )
    chosen = st.session_state[CHOICE]
    st.caption(_shared.plain(PRESETS[chosen].summary if chosen in PRESETS else "Your own plan, as its text says."))
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


def watched(view: CampaignView) -> None:
    """The campaign of ?campaign=: its bar and settings, then its results."""
    st.page_link(PAGE, label="Define another campaign", icon=":material/add:")
    already_there(view.row.id)
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


def asked() -> CampaignView | None:
    """The campaign of ?campaign=; None without one, and behind a sentence where there is none of that number."""
    with _links.link_errors(PAGE, "Campaigns", stop=False):
        wanted = _shared.query_number("campaign")
        return None if wanted is None else view_of(_shared.get_store(), wanted)
    return None


_shared.header(
    "Campaigns",
    "Train, attack and score a grid of settings as one: which of them leaks least, to a person's eye?",
)
with _shared.user_errors():
    found = asked()
    if found is not None:
        watched(found)
    else:
        composer()
    _campaign_watch.history()

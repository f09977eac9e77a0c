"""A plan before it is launched: what it asks for in words, its time and its disk."""

from itertools import islice

import streamlit as st

from core.campaigns.grid import count, settings_of
from core.campaigns.plan import ASK_ABOVE, Campaign
from core.campaigns.resolve import Resolved, resolve
from core.jobs.campaign_requests import check_campaign
from core.report.campaign_estimate import estimate_campaign
from core.report.campaign_words import size_line, time_line
from pages import _shared

ASKED_AGAIN = 2.0  # seconds, while the pace of the attacks is measured
SHOWN = 40  # settings listed before a launch


@st.cache_data(show_spinner="Looking at the data sets", ttl=60, max_entries=16)
def _resolved(plan_text: str, _plan: Campaign, home: str) -> dict[str, Resolved]:
    if count(_plan) > ASK_ABOVE:  # each of many settings is checked when it is launched
        return resolve(_plan, _shared.settings())
    return check_campaign(_shared.get_store(), _plan)


def resolved(plan: Campaign) -> dict[str, Resolved]:
    """The plan's data sets, opened; UserError for what cannot run."""
    return _resolved(repr(plan), plan, str(_shared.settings().home))


def words(plan: Campaign, number: int) -> None:
    """The grid as a sentence, and its settings behind it."""
    trained = [victim for victim in plan.victims if victim.trained]
    parts = [
        _list("data set", [one.name for one in plan.data]),
        _list("victim", [one.name for one in plan.victims]),
        _list("recipe", [one.name for one in plan.recipes]) if trained else "",
        _list("threat model", [one.name for one in plan.threats]),
        _list("attack", [one.name for one in plan.attacks]),
    ]
    st.markdown(f"**{_shared.plain(plan.name)}**: {' × '.join(part for part in parts if part)}")
    with st.expander(f"Its {_shared.count(number)} setting{'' if number == 1 else 's'}"):
        for one in islice(settings_of(plan), SHOWN):
            st.caption(f"{one.position + 1}. {_shared.plain(one.title)}")
        if number > SHOWN:
            st.caption(f"… and {_shared.count(number - SHOWN)} more.")


def time(plan: Campaign, found: dict[str, Resolved]) -> None:
    """Counts, time and disk; asked again by itself while something is measured."""
    estimate = estimate_campaign(_shared.get_store(), plan, found)
    st.session_state["campaign_measuring"] = estimate.measuring
    st.fragment(_time, run_every=ASKED_AGAIN if estimate.measuring else None)(plan, found)


def _time(plan: Campaign, found: dict[str, Resolved]) -> None:
    estimate = estimate_campaign(_shared.get_store(), plan, found)
    if st.session_state.get("campaign_measuring") and not estimate.measuring:
        st.rerun()
    st.markdown(_shared.plain(size_line(estimate)))
    st.markdown(_shared.plain(time_line(estimate)), help=_shared.plain("; ".join(estimate.basis)))
    if estimate.measuring:
        st.caption("The pace of the attacks is being measured; the time becomes closer.")
    for note in estimate.notes:
        st.caption(_shared.plain(note))
    if estimate.warning:
        st.warning(_shared.plain(estimate.warning), icon=":material/hard_drive:")


def _list(word: str, names: list[str]) -> str:
    shown = ", ".join(_shared.plain(name) for name in names[:6]) + (", …" if len(names) > 6 else "")
    return f"{len(names)} {word}{'' if len(names) == 1 else 's'} ({shown})"

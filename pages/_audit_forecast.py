"""Audit, before the launch: what speaks against the run, and how long it will take. Both may still be measured."""

from collections.abc import Callable

import streamlit as st

from core.attacks import ATTACKS
from core.jobs.compose import AttackRequest
from core.jobs.foresight import Foresight, foresee
from core.jobs.outlook import outlook
from core.report.estimate import TimeEstimate, estimate_request
from pages import _audit_attack, _shared

ASK_AGAIN = 1.0  # seconds; only while something is measured


def warnings(request: AttackRequest) -> None:
    """Reasons why the run may be hopeless, in sentences; none of them forbids it."""
    for sentence in outlook(request):
        st.warning(_shared.plain(sentence), icon=":material/warning:")
    _follow("measuring_update", _foresee(request).measuring, _foretell, request)


def time(request: AttackRequest) -> None:
    """The time it will take, and what that rests on."""
    _follow("measuring_pace", _estimate(request).measuring, _tell_time, request)


def _follow(name: str, measuring: bool, draw: Callable[[AttackRequest], None], request: AttackRequest) -> None:
    """Draw as a fragment that runs again each second while it measures, and no longer."""
    st.session_state[name] = measuring
    st.fragment(draw, run_every=ASK_AGAIN if measuring else None)(request)


def _foretell(request: AttackRequest) -> None:
    found = _foresee(request)
    _rest("measuring_update", found.measuring)
    for sentence in found.sentences:
        st.warning(_shared.plain(sentence), icon=":material/warning:")
    parts = ["Measuring what the first update gives away."] if found.measuring else []
    if found.norm is not None:
        parts.append(f"The norm of what is shared is about {_shared.number(found.norm)}.")
    if found.kept is not None and request.threat.defences:
        parts.append(f"Its cosine with the undefended update is about {_shared.number(found.kept)}.")
    if parts:
        st.caption(_shared.plain(" ".join(parts)))


def _tell_time(request: AttackRequest) -> None:
    guess = _estimate(request)
    _rest("measuring_pace", guess.measuring)
    with st.container(horizontal=True, vertical_alignment="center"):
        about = f"About **{_shared.seconds(guess.seconds)}**"
        about += ", roughly" if guess.guess else f", at most {_shared.seconds(guess.at_most)}"
        st.markdown(f"{about}; measuring…" if guess.measuring else about)
        count = len(request.prepared)
        st.caption(_shared.plain(f"{ATTACKS[request.attack].title}, {count} images; {guess.basis}."))


def _rest(name: str, measuring: bool) -> None:
    """Once it is measured, run the page again: its fragments then stop asking."""
    if st.session_state.get(name) and not measuring:
        st.session_state[name] = False
        st.rerun()


def _foresee(request: AttackRequest) -> Foresight:
    return foresee(_shared.settings(), request)


def _estimate(request: AttackRequest) -> TimeEstimate:
    return estimate_request(
        _shared.get_store(),
        spec=request.spec,
        attack=request.attack,
        config=_audit_attack.complete(request.attack, request.config),
        threat=request.threat,
        images=len(request.prepared),
        controls=request.controls,
        device=request.device,
    )

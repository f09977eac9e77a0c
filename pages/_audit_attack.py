"""Audit, fifth choice: the attack, by family, with every knob of it."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import streamlit as st

from core.attacks import ATTACKS, configure
from core.attacks.base import Attack
from core.leakage.threat import ThreatModel
from core.models.spec import ModelSpec
from core.report import threat_words
from pages import _shared
from pages._audit_knobs import changed_line, knobs
from pages._audit_threat import assign_update, unfit

DEVICES = ("auto", "cpu", "cuda")
FAMILIES = {
    "gradient inversion": "Search for images whose update is the shared one.",
    "analytic": "Read the images off the update by a formula, without a search.",
    "model only": "Make images of a class from the model alone, without any update.",
    "malicious server": "The server sends a changed model, so that the update gives the images away.",
}


def settle() -> None:
    """Before the widgets: an attack and an update that a link names alone bring their counterpart with them."""
    asked = st.session_state.get("attack") or st.query_params.get("attack")
    update = st.session_state.get("update") or st.query_params.get("update")
    attack = ATTACKS.get(str(asked))
    if attack is not None and update is None and "gradients" not in attack.updates:
        assign_update(attack.updates[0])
    if asked is None and update == "none":
        st.session_state["attack"] = next(
            (name for name, one in ATTACKS.items() if one.model_only), next(iter(ATTACKS))
        )


def choose_attack(threat: ThreatModel, spec: ModelSpec | None) -> tuple[str, dict[str, Any] | None, int, int, str]:
    """Draw the attack and its knobs: (name, what differs from the preset or None if a knob is wrong, seed, controls,
    device)."""
    st.subheader("5  Attack", anchor=False)
    attack = _pick(threat)
    why = unfit(threat).get(attack.name)
    if why is not None:
        st.error(_shared.plain(why), icon=":material/error:")
    _about(attack)
    _others(unfit(threat, spec), attack)
    with st.expander("Every setting, with its default", icon=":material/tune:"):
        config = knobs(attack.config, f"knob_{attack.name}", check=lambda found: configure(attack.name, found))
    changed_line(config)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        seed = st.number_input("Seed", 0, 2**31 - 1, 0, key="seed", bind="query-params", width=140)
        controls = st.number_input(
            "Controls",
            0,
            8,
            2,
            key="controls",
            bind="query-params",
            width=140,
            help="Updates that are attacked again as controls: with another update, with the prior alone, and in the "
            "undefended easy case, as far as the attack has them. Without controls a verdict is inconclusive.",
        )
        device = st.selectbox("Device", DEVICES, key="device", bind="query-params", width=140)
    return attack.name, config, int(seed), int(controls), str(device)


def complete(attack: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Every field of the attack's config, changed where `config` says so."""
    return asdict(configure(attack, dict(config)))


def _pick(threat: ThreatModel) -> Attack:
    """The family, which follows the attack, and the attack among its family."""
    asked = str(st.session_state.get("attack") or st.query_params.get("attack") or "")
    current = ATTACKS.get(asked, next(iter(ATTACKS.values())))
    st.session_state["family"] = current.family
    st.segmented_control(
        "Kind of attack",
        [family for family in FAMILIES if any(attack.family == family for attack in ATTACKS.values())],
        key="family",
        required=True,
        on_change=_family_chosen,
        args=(threat,),
        label_visibility="collapsed",
    )
    st.caption(FAMILIES[current.family])
    names = [name for name, attack in ATTACKS.items() if attack.family == current.family]
    name = st.selectbox("Attack", names, key="attack", bind="query-params", on_change=_attack_chosen)
    return ATTACKS.get(str(name), current)


def _family_chosen(threat: ThreatModel) -> None:
    """Callback: the first attack of the family that takes what is shared, else its first one."""
    family = st.session_state["family"]
    names = [name for name, attack in ATTACKS.items() if attack.family == family]
    reasons = unfit(threat)
    if names:
        st.session_state["attack"] = next((name for name in names if name not in reasons), names[0])
        _attack_chosen()


def _attack_chosen() -> None:
    """Callback: an attack that cannot take what is shared brings along what it needs."""
    attack = ATTACKS.get(str(st.session_state.get("attack")))
    if attack is not None and st.session_state.get("update", "gradients") not in attack.updates:
        assign_update(attack.updates[0])


def _about(attack: Attack) -> None:
    if attack.family == "malicious server":
        st.markdown(
            ":orange-badge[:material/warning: changes what the server sends] An honest server would not do this: it "
            "says what could leak, not what does."
        )
    st.caption(
        f"**{_shared.plain(attack.title)}.** {_shared.plain(attack.summary)} Source: {_shared.plain(attack.source)}"
    )
    st.caption(_shared.plain(threat_words.needs(attack)))


def _others(reasons: Mapping[str, str], attack: Attack) -> None:
    """The attacks that cannot work here, each with its reason."""
    others = {name: why for name, why in reasons.items() if name != attack.name}
    if others:
        with st.popover(f"{len(others)} of {len(ATTACKS)} attacks do not fit these choices", type="tertiary"):
            st.table([{"attack": name, "why": why} for name, why in others.items()], alt="Attacks that do not fit")

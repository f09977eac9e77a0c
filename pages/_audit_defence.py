"""Audit, fourth choice: the defences, in their order, and whether the attacker is told of them."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import streamlit as st

from core.errors import UserError
from core.leakage.defences import DEFENCES, check_defences, configure_defence
from core.leakage.defences.base import Defence
from core.leakage.defences.text import read_defence, write_defence
from core.leakage.threat import ChosenDefence, ThreatModel
from core.models.spec import ModelSpec
from pages import _shared
from pages._audit_knobs import changed_line, knobs

LINK = "defence"  # query parameter, once for each defence in order: NAME or NAME:key=value,key=value
HELD, LINKED, TURN = "defences", "defences_linked", "defences_turn"  # in the session
MOST = 8
PLACES = {"victim's training": "the training", "input": "the input", "update": "the update"}


@dataclass(frozen=True)
class Slot:
    """A defence in the list. id: its widgets' own, so that they follow it when the order changes."""

    id: int
    name: str
    settings: dict[str, Any]


def choose_defences(threat: ThreatModel, spec: ModelSpec | None) -> tuple[ThreatModel, bool]:
    """Draw the list: (the threat model with its defences in order, whether they and their settings hold together)."""
    _read_link()
    held: list[Slot] = st.session_state[HELD]
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.subheader("4  Defences", anchor=False, width="content")
        _offer(len(held) < MOST and threat.update != "none")
    for sentence in st.session_state.pop("defences_refused", []):
        st.error(_shared.plain(sentence), icon=":material/error:")
    if not held:
        nothing = "Nothing is shared, so there is nothing to defend."
        st.caption(nothing if threat.update == "none" else "None: the update is shared as it is.")
        return threat, True
    drawn = [_draw(place, slot, len(held)) for place, slot in enumerate(held)]
    told = st.toggle(
        "The attacker is told",
        value=True,
        key="adaptive",
        bind="query-params",
        help="An adaptive attacker knows which defences are in use and with which settings. Hiding them is no defence "
        "to rely on, so audits tell by default.",
    )
    found = [slot for slot in drawn if slot is not None]
    if len(found) < len(drawn):
        return threat, False
    st.session_state[HELD] = found
    chosen = tuple(ChosenDefence(slot.name, slot.settings) for slot in found)
    _write_link(chosen)
    defended = replace(threat, defences=chosen, adaptive=bool(told))
    try:
        check_defences(defended, spec)
    except UserError as error:
        st.error(_shared.plain(str(error)), icon=":material/error:")
        return defended, False
    return defended, True


def _read_link() -> None:
    """Take the list from the link when this session has not seen that link yet."""
    asked = st.query_params.get_all(LINK)
    if HELD in st.session_state and (not asked or asked == st.session_state.get(LINKED)):
        _write_link(tuple(ChosenDefence(slot.name, slot.settings) for slot in st.session_state[HELD]))
        return
    slots, refused = [], []
    for text in asked[:MOST]:
        try:
            chosen = read_defence(text)
            slots.append(Slot(_turn(), chosen.name, chosen.settings))
        except UserError as error:
            refused.append(str(error))
    st.session_state[HELD], st.session_state[LINKED] = slots, asked
    st.session_state["defences_refused"] = refused


def _write_link(chosen: tuple[ChosenDefence, ...]) -> None:
    texts = [write_defence(one) for one in chosen]
    st.session_state[LINKED] = texts
    if texts == st.query_params.get_all(LINK):
        return
    if texts:
        st.query_params[LINK] = texts
    else:
        del st.query_params[LINK]


def _turn() -> int:
    st.session_state[TURN] = st.session_state.get(TURN, 0) + 1
    return int(st.session_state[TURN])


def _offer(open_to_more: bool) -> None:
    """Every defence, by the place where it acts."""
    with st.popover("Add a defence", icon=":material/add:", disabled=not open_to_more, key="defence_menu"):
        for place, words in PLACES.items():
            here = [defence for defence in DEFENCES.values() if defence.place == place]
            if here:
                st.markdown(f"**On {words}**")
            for defence in here:
                with st.container(gap="xxsmall"):
                    st.button(
                        _shared.plain(defence.title),
                        key=f"add_{defence.name}",
                        type="tertiary",
                        icon=":material/add:",
                        on_click=_add,
                        args=(defence.name,),
                    )
                    st.caption(_shared.plain(defence.summary))


def _draw(place: int, slot: Slot, count: int) -> Slot | None:
    """One defence of the list, with its knobs; None when a setting is refused."""
    defence = DEFENCES[slot.name]
    with st.container(border=True, gap="small"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{place + 1}  {_shared.plain(defence.title)}**", width="stretch")
            if place > 0:
                _button("Earlier", "arrow_upward", slot, _move, -1)
            if place < count - 1:
                _button("Later", "arrow_downward", slot, _move, 1)
            _button("Remove", "close", slot, _remove)
        about = f"{_shared.plain(defence.summary)} Source: {_shared.plain(defence.source)}"
        st.caption(f":gray-badge[on {PLACES[defence.place]}] {about}")
        return _settings(defence, slot)


def _button(word: str, icon: str, slot: Slot, ask: Callable[..., None], *more: int) -> None:
    st.button(
        word,
        key=f"defence_{word.lower()}_{slot.id}",
        icon=f":material/{icon}:",
        type="tertiary",
        on_click=ask,
        args=(slot.id, *more),
    )


def _settings(defence: Defence, slot: Slot) -> Slot | None:
    def check(found: dict[str, Any]) -> None:
        configure_defence(slot.name, found)

    with st.expander("Its settings", icon=":material/tune:"):
        values = knobs(defence.config, f"defence_{slot.id}", start=slot.settings, check=check)
        if defence.adaptation:
            st.caption(f"Told of it, the attack: {_shared.plain(defence.adaptation)}")
    changed_line(values)
    if values is None:
        return None
    config = configure_defence(slot.name, values)
    _epsilon(slot.name, config)
    return Slot(slot.id, slot.name, asdict(config))


def _epsilon(name: str, config: Any) -> None:
    """What DP-SGD guarantees at these settings."""
    if name != "dp-sgd":
        return
    from core.leakage.defences.clipping import epsilon

    value = epsilon(config)
    if math.isinf(value):
        st.caption("Without noise there is no guarantee: ε is infinite.")
    else:
        st.caption(f"This step is (ε, δ)-differentially private with **ε = {value:.3g}** at δ = {config.delta:g}.")


def _add(name: str) -> None:
    held: list[Slot] = st.session_state[HELD]
    st.session_state[HELD] = [*held, Slot(_turn(), name, asdict(DEFENCES[name].config))]


def _remove(slot: int) -> None:
    st.session_state[HELD] = [one for one in st.session_state[HELD] if one.id != slot]


def _move(slot: int, step: int) -> None:
    """Exchange a defence with its neighbour."""
    held: list[Slot] = list(st.session_state[HELD])
    here = next((place for place, one in enumerate(held) if one.id == slot), None)
    if here is not None and 0 <= here + step < len(held):
        held[here], held[here + step] = held[here + step], held[here]
    st.session_state[HELD] = held

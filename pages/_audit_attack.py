"""Audit, third and fourth choice: the threat model, and the attack with every knob."""

from collections.abc import Mapping
from dataclasses import Field, asdict, fields
from typing import Any

import streamlit as st

from core.attacks import ATTACKS, configure
from core.errors import UserError
from core.leakage.threat import ThreatModel
from core.models.catalogue import CATALOGUE
from pages import _shared
from pages._audit_model import ChosenModel

DEVICES = ("auto", "cpu", "cuda")


def choose_threat(model: ChosenModel | None) -> ThreatModel:
    """Draw what the client shares and what the attacker is told."""
    st.subheader("3  Threat model", anchor=False)
    batch = st.select_slider(
        "Images in one update",
        list(range(1, 9)),
        value=1,
        key="batch",
        bind="query-params",
        help="The client averages the gradient over these. More images hide each other.",
    )
    with st.container(horizontal=True):
        mode = st.segmented_control(
            "BatchNorm in the victim's step",
            ["eval", "train"],
            default="eval",
            required=True,
            key="bn",
            bind="query-params",
            help="eval: running statistics. train: statistics of the batch itself.",
        )
        labels = st.segmented_control(
            "Labels",
            ["known", "inferred"],
            default="known",
            required=True,
            key="known",
            bind="query-params",
            help="known: the attacker is told the labels. inferred: it recovers them from the update.",
        )
    if model is not None:
        entry = CATALOGUE.get(model.spec.architecture)
        if entry is not None and not entry.batchnorm:
            st.caption("This model has no BatchNorm: both modes are the same.")
    return ThreatModel(
        int(batch), "train" if mode == "train" else "eval", "inferred" if labels == "inferred" else "known"
    )


def choose_attack() -> tuple[str, dict[str, Any] | None, int, int, str]:
    """Draw the attack and its knobs: (name, what differs from the preset or None if a knob is wrong, seed, controls,
    device)."""
    st.subheader("4  Attack", anchor=False)
    names = list(ATTACKS)
    name = st.selectbox(
        "Preset of settings",
        names,
        key="attack",
        bind="query-params",
    )
    name = name if name in ATTACKS else names[0]
    attack = ATTACKS[name]
    st.caption(
        f"**{_shared.plain(attack.title)}.** {_shared.plain(attack.summary)} Source: {_shared.plain(attack.source)}"
    )
    with st.expander("Every setting, with its default", icon=":material/tune:"):
        config = _knobs(name)
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
            help="Targets that are attacked again with another image's gradient, and with the prior alone. Without "
            "controls a verdict is inconclusive.",
        )
        device = st.selectbox("Device", DEVICES, key="device", bind="query-params", width=140)
    return name, config, int(seed), int(controls), str(device)


def complete(attack: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Every field of the attack's config, changed where `config` says so."""
    return asdict(configure(attack, dict(config)))


def _knobs(name: str) -> dict[str, Any] | None:
    """One widget for each field of the config; None when a value is refused."""
    preset = ATTACKS[name].config
    values: dict[str, Any] = {}
    with st.grid(2, min_column_width=210):
        for field in fields(preset):
            value = _knob(name, field, getattr(preset, field.name))
            if value != getattr(preset, field.name):
                values[field.name] = value
    try:
        configure(name, dict(values))
    except UserError as error:
        st.error(_shared.plain(str(error)), icon=":material/error:")
        return None
    if values:
        changed = ", ".join(f"{key} = {value}" for key, value in values.items())
        st.caption(f"Changed: {_shared.plain(changed)}")
    return values


def _knob(name: str, field: Field[Any], default: Any) -> Any:
    about = field.metadata
    unit = f", {about['unit']}" if about.get("unit") else ""
    label = f"{field.name.replace('_', ' ')} (default {default:g}{unit})" if _is_number(default) else ""
    label = label or f"{field.name.replace('_', ' ')} (default {default}{unit})"
    meaning = _shared.plain(str(about.get("help", "")))
    key = f"knob_{name}_{field.name}"
    with st.container(gap="xxsmall"):
        value = _widget(label, default, about, key)
        st.caption(meaning)
    return value


def _widget(label: str, default: Any, about: Mapping[str, Any], key: str) -> Any:
    if about.get("choices"):
        choices = list(about["choices"])
        return st.selectbox(label, choices, index=choices.index(default), key=key)
    if isinstance(default, bool):
        return st.toggle(label, value=default, key=key)
    if isinstance(default, int):
        return int(
            st.number_input(label, _limit(about, "minimum", int), _limit(about, "maximum", int), default, key=key)
        )
    if isinstance(default, float):
        return float(
            st.number_input(
                label,
                _limit(about, "minimum", float),
                _limit(about, "maximum", float),
                default,
                step=_step(default),
                format="%g",
                key=key,
            )
        )
    return st.text_input(label, str(default), key=key)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _limit(about: Mapping[str, Any], which: str, kind: type[int] | type[float]) -> Any:
    return None if about.get(which) is None else kind(about[which])


def _step(default: float) -> float:
    """A step of the default's own size: a tenth of it, or a thousandth from zero."""
    return abs(default) / 10 if default else 0.001

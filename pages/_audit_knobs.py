"""A config of an attack, a defence or a training as widgets, each with its meaning, unit and default beside it."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import Field, fields
from typing import Any

import streamlit as st

from core.errors import UserError
from core.knobs import changed
from pages import _shared

TITLES = {
    "dp_noise": "Noise multiplier of DP-SGD",
    "dp_norm": "Clipping norm of DP-SGD",
    "dp_delta": "δ of DP-SGD",
    "keep_epochs": "Epochs to keep",
    "policies": "ATS policies",
}
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def knobs(
    preset: Any,
    key: str | Callable[[str], str],
    *,
    start: Mapping[str, Any] | None = None,
    check: Callable[[dict[str, Any]], object] | None = None,
    only: Collection[str] | None = None,
    columns: int = 2,
) -> dict[str, Any] | None:
    """One widget for each field of `preset`: what differs from it, or None when a value is refused, which is then said.

    key: of the widgets, `KEY_FIELD` or what it makes of the field's name; they are in the link, unless `start` holds
    their values: then the caller keeps them. check: called with what differs; raises UserError. only: these fields.
    """
    values: dict[str, Any] = {}
    name = key if callable(key) else lambda field: f"{key}_{field}"
    with st.grid(columns, min_column_width=210):
        for field in fields(preset):
            if only is not None and field.name not in only:
                continue
            default = getattr(preset, field.name)
            value = _knob(name(field.name), field, default, None if start is None else start)
            if value != default:
                values[field.name] = value
    try:
        (check or (lambda found: changed(preset, found)))(dict(values))
    except UserError as error:
        st.error(_shared.plain(str(error)), icon=":material/error:")
        return None
    return values


def changed_line(values: Mapping[str, Any] | None) -> None:
    """What differs from the preset, in one line; nothing where nothing does."""
    if values:
        st.caption(_shared.plain("Changed: " + ", ".join(f"{name} = {value}" for name, value in values.items())))


def _knob(key: str, field: Field[Any], default: Any, start: Mapping[str, Any] | None) -> Any:
    about = field.metadata
    unit = f", {about['unit']}" if about.get("unit") else ""
    label = f"{title_of(field.name)} (default {_shown(default)}{unit})"
    if start is not None and key not in st.session_state:
        st.session_state[key] = start.get(field.name, default)
    kept: dict[str, Any] = {"key": key, "bind": "query-params" if start is None else None}
    with st.container(gap="xxsmall"):
        value = _widget(label, default, about, kept, fixed=start is None)
        st.caption(_shared.plain(str(about.get("help", ""))))
    return value


def title_of(name: str) -> str:
    """A field's name as people read it."""
    return TITLES.get(name) or name.replace("_", " ").capitalize()


def _shown(default: Any) -> str:
    if isinstance(default, bool):
        return "on" if default else "off"
    if isinstance(default, float) and 0 < abs(default) < 1e-3:
        mantissa, exponent = f"{default:e}".split("e")
        return f"{float(mantissa):g}·10{str(int(exponent)).translate(SUPERSCRIPTS)}"
    return (f"{default:g}" if isinstance(default, int | float) else str(default)) or "empty"


def _widget(label: str, default: Any, about: Mapping[str, Any], kept: dict[str, Any], *, fixed: bool) -> Any:
    """fixed: the widget starts at the default; else at what the session holds under its key."""
    if about.get("choices"):
        choices = list(about["choices"])
        return st.selectbox(label, choices, **({"index": choices.index(default)} if fixed else {}), **kept)
    if isinstance(default, bool):
        return st.toggle(label, **({"value": default} if fixed else {}), **kept)
    if isinstance(default, int | float):
        kind = type(default)
        limits = [None if about.get(name) is None else kind(about[name]) for name in ("minimum", "maximum")]
        look = {"step": _step(default), "format": "%g"} if kind is float else {"step": 1}
        start = {"value": default} if fixed else {}
        return kind(st.number_input(label, limits[0], limits[1], **start, **look, **kept))
    return st.text_input(label, **({"value": str(default)} if fixed else {}), **kept)


def _step(default: float) -> float:
    """A step of the default's own size: a tenth of it, or a thousandth from zero."""
    return abs(default) / 10 if default else 0.001

"""Every knob of an attack or a defence with its meaning and its limits, and the check of what a user sets. No torch."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping
from typing import Any, get_type_hints

from core.errors import UserError

YES, NO = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def knob(
    default: Any,
    help: str,
    *,
    unit: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] | None = None,
) -> Any:
    """A field of a config: what it means, in which unit, and which values it takes (None: open)."""
    metadata = {"help": help, "unit": unit, "minimum": minimum, "maximum": maximum, "choices": choices}
    return dataclasses.field(default=default, metadata=metadata)


def changed(config: Any, overrides: Mapping[str, object]) -> Any:
    """`config` with some fields replaced, given as values or as text; raise UserError for what a field cannot take."""
    fields = {field.name: field for field in dataclasses.fields(config)}
    kinds = get_type_hints(type(config))
    values: dict[str, Any] = {}
    for name, value in overrides.items():
        if name not in fields:
            near = difflib.get_close_matches(str(name), fields, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(sorted(fields))}."
            raise UserError(f"There is no setting called {str(name)[:60]!r}; {hint}")
        values[name] = _value(name, value, kinds[name], fields[name].metadata)
    return dataclasses.replace(config, **values)


def _value(name: str, value: object, kind: type, limits: Mapping[str, Any]) -> Any:
    if kind is bool:
        return _truth(name, value)
    if kind is str:
        text = str(value).strip()
        if limits["choices"] is not None and text not in limits["choices"]:
            raise UserError(f"{name} must be one of {', '.join(limits['choices'])}, not {text[:60]!r}.")
        return text
    number = _number(name, value, kind)
    low, high = limits["minimum"], limits["maximum"]
    if (low is not None and number < low) or (high is not None and number > high):
        span = f"from {low:g} to {high:g}" if None not in (low, high) else f"at least {low:g}"
        span = f"at most {high:g}" if low is None else span
        raise UserError(f"{name} must be {span}, not {number:g}.")
    return number


def _number(name: str, value: object, kind: type) -> float:
    wanted = "a whole number" if kind is int else "a number"
    problem = UserError(f"{name} must be {wanted}, not {str(value)[:60]!r}.")
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise problem
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise problem from None
    if not math.isfinite(number) or (kind is int and not number.is_integer()):
        raise problem
    return int(number) if kind is int else number


def _truth(name: str, value: object) -> bool:
    text = str(value).strip().lower()
    if text not in YES + NO:
        raise UserError(f"{name} must be true or false, not {text[:60]!r}.")
    return text in YES

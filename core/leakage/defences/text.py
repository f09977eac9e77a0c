"""A chosen defence as people write it, on the command line and in a link: NAME[:key=value,key=value]. No torch."""

from __future__ import annotations

from dataclasses import asdict, fields

from core.errors import UserError
from core.leakage.defences import DEFENCES, configure_defence
from core.leakage.threat import ChosenDefence
from core.registry import look_up


def read_defence(text: str) -> ChosenDefence:
    """The defence that `text` names, with every field of its config. Raises UserError for what nobody can mean."""
    name, _, rest = text.strip().partition(":")
    settings: dict[str, str] = {}
    for pair in rest.split(",") if rest else ():
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise UserError(f"A defence is written NAME or NAME:key=value,key=value, not {text[:80]!r}.")
        if key.strip() in settings:
            raise UserError(f"The defence {name[:40]!r} has {key.strip()[:40]!r} twice; give it one value.")
        settings[key.strip()] = value.strip()
    return ChosenDefence(name.strip(), asdict(configure_defence(name.strip(), settings)))


def write_defence(chosen: ChosenDefence) -> str:
    """The text that `read_defence` turns into `chosen` again; settings at their default are left out."""
    preset = look_up(DEFENCES, chosen.name, "defence").config
    names = [field.name for field in fields(preset)]
    changed = [name for name in names if name in chosen.settings and chosen.settings[name] != getattr(preset, name)]
    pairs = [f"{name}={_text(chosen.settings[name])}" for name in changed]
    return f"{chosen.name}:{','.join(pairs)}" if pairs else chosen.name


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)

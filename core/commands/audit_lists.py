"""`audit --list-attacks` and `--list-defences`: what there is, with every setting, its default and its meaning."""

import shutil
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from core.attacks import ATTACKS
from core.leakage.defences import DEFENCES
from core.registry import look_up
from core.report.threat_words import needs

NARROWEST, WIDEST = 80, 120  # columns of text
LONG = 28  # characters of choices that a column holds


def attack_lines(name: str = "") -> Iterator[str]:
    """Every attack by family, or the one called `name`. Raises UserError for an unknown one."""
    chosen = [look_up(ATTACKS, name, "attack")] if name else list(ATTACKS.values())
    for family in dict.fromkeys(attack.family for attack in chosen):
        yield family.upper()
        for attack in (one for one in chosen if one.family == family):
            marked = " Changes what the server sends: an honest server would not." if attack.prepare else ""
            yield from _entry(attack.name, attack.title, attack.summary + marked, attack.source, attack.config)
            yield from _wrapped(needs(attack), "  ")
            yield ""


def defence_lines(name: str = "") -> Iterator[str]:
    """Every defence by place, or the one called `name`. Raises UserError for an unknown one."""
    chosen = [look_up(DEFENCES, name, "defence")] if name else list(DEFENCES.values())
    for place in dict.fromkeys(defence.place for defence in chosen):
        yield f"ON THE {place.upper()}"
        for defence in (one for one in chosen if one.place == place):
            yield from _entry(defence.name, defence.title, defence.summary, defence.source, defence.config)
            if defence.adaptation:
                yield from _wrapped(f"Told of it, the attack: {defence.adaptation}", "  ")
            yield ""


def _entry(name: str, title: str, summary: str, source: str, config: Any) -> Iterator[str]:
    yield f"{name}: {title}"
    yield from _wrapped(f"{summary} Source: {source}", "  ")
    rows = [_setting(field.name, getattr(config, field.name), field.metadata) for field in fields(config)]
    if not rows:
        yield "  It has no settings."
        return
    rows = [("setting", "default", "allowed", "meaning"), *rows]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        start = "    " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)) + "  "
        yield from _wrapped(row[3], " " * len(start), start)


def _setting(name: str, default: Any, about: Mapping[str, Any]) -> tuple[str, str, str, str]:
    shown = f"{default:g}" if isinstance(default, float) else str(default)
    shown = shown.lower() if isinstance(default, bool) else shown
    unit = f" {about['unit']}" if about.get("unit") else ""
    allowed, meaning = _allowed(default, about), str(about["help"])
    if len(allowed) > LONG:
        allowed, meaning = f"one of {len(about['choices'])}", f"{meaning} One of: {allowed}."
    return name, shown + unit, allowed, meaning


def _allowed(default: Any, about: Mapping[str, Any]) -> str:
    if about.get("choices"):
        return ", ".join(about["choices"])
    if isinstance(default, bool):
        return "true, false"
    low, high = about.get("minimum"), about.get("maximum")
    if low is None and high is None:
        return "text" if isinstance(default, str) else "any number"
    if high is None:
        return f"{low:g} or more"
    return f"{high:g} or less" if low is None else f"{low:g} to {high:g}"


def _wrapped(text: str, indent: str, first: str | None = None) -> list[str]:
    width = min(WIDEST, max(NARROWEST, shutil.get_terminal_size((100, 24)).columns))
    start = indent if first is None else first
    return textwrap.wrap(text, width, initial_indent=start, subsequent_indent=indent, break_on_hyphens=False)

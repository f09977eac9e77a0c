"""What settings are called beside each other: by what varies among them, in a campaign's own words where it has some.

Pure. A title names the victim and the parts that tell the rows apart; what all have in common is said once, above.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from core.report.settings_records import PARTS
from core.report.settings_words import attack_words, threat_words

if TYPE_CHECKING:
    from core.report.settings_plan import Asked, Planned

Given = Mapping[int, tuple[int, Mapping[str, str]]]


@dataclass
class _Row:
    """A row while it is named. other: what tells it from rows with the same parts, nearest word first."""

    parts: dict[str, str]
    other: tuple[tuple[str, str], ...]
    model: str


def campaign_parts(text: str) -> dict[str, str]:
    """The stored parts of a campaign's setting, by PARTS; the epoch stands with its recipe."""
    found = {name: str(value) for name, value in json.loads(text).items() if value is not None}
    recipe = found.get("recipe", "") + (f" · epoch {found['epoch']}" if "epoch" in found else "")
    return {name: found.get(name, "") for name in PARTS} | {"recipe": recipe}


def victim_name(name: str, facts: Mapping[str, Any]) -> str:
    """A trained model's name without what its training adds and other columns say: data set, recipe and epochs."""
    recipe = str(facts.get("recipe_words") or "")
    if not recipe or "dataset" not in facts:
        return name
    short = name.split(f" · {facts['dataset']} · ")[0]
    return short.removesuffix(f", {recipe}") or name


def named(rows: Sequence[Planned], given: Given) -> list[dict[str, Any]]:
    """Title and parts of every row; given: (campaign, its parts) by run, for rows that have none of their own."""
    found = _rows(rows, given)
    _tell_apart(found)
    asked = [row.asked.values if row.asked else {} for row in rows]
    told = attack_words([(one.parts, values) for one, values in zip(found, asked, strict=True)])
    parts = [{**one.parts, "attack": words} for one, words in zip(found, told, strict=True)]
    varied = {name for name in PARTS if len({one.get(name) for one in parts}) > 1 or name == "victim"}
    shown = varied if len(rows) > 1 else set(PARTS)
    return [{"parts": p, "title": row.title or _title(p, shown)} for row, p in zip(rows, parts, strict=True)]


def _rows(rows: Sequence[Planned], given: Given) -> list[_Row]:
    """The rows before they are told apart.

    A run that no campaign asked for takes a campaign's words for what both did, so that one table speaks one language.
    """
    known = [next((given[run.id] for run in reversed(row.runs) if run.id in given), None) for row in rows]
    words: dict[tuple[str, str], str] = {}
    for row, found in zip(rows, known, strict=True):
        if found is not None and row.asked:
            words |= {(name, key): found[1][name] for name, key in _keys(row.asked).items()}
    return [_row(row, found, words) for row, found in zip(rows, known, strict=True)]


def _keys(asked: Asked) -> dict[str, str]:
    """What must be equal for two runs' parts to be the same."""
    chosen = [asked.values["attack"], asked.values["config"]]
    return {
        "data": asked.dataset,
        "victim": asked.model,
        "recipe": asked.model,
        "threat": json.dumps(asked.values["threat"], sort_keys=True),
        "attack": json.dumps(chosen, sort_keys=True),
    }


def _row(row: Planned, known: tuple[int, Mapping[str, str]] | None, words: Mapping[tuple[str, str], str]) -> _Row:
    if row.parts or not row.asked:
        return _Row(dict(row.parts), (), "")
    victim, spec = row.victim, row.asked.values["model"]
    number = ("victim", "" if victim.model is None else f"model {victim.model}")
    if known is not None:
        campaign, parts = known
        return _Row(dict(parts), (("recipe", f"campaign {campaign}"), number), row.asked.model)
    own = {
        "data": row.asked.dataset,
        "victim": victim.name or str(spec["architecture"]),
        "recipe": victim.recipe_name or victim.recipe or str(spec.get("origin", "")),
        "threat": threat_words(row.asked.values["threat"]),
        "attack": str(row.asked.values["attack"]),
    }
    parts = {name: words.get((name, key)) or own[name] for name, key in _keys(row.asked).items()}
    return _Row(parts, (("recipe", victim.recipe if victim.recipe_name else ""), number), row.asked.model)


def _tell_apart(rows: Sequence[_Row]) -> None:
    """Where victims that are not the same are called the same, add in brackets what tells them apart."""
    for step in range(2):
        alike: dict[tuple[str, ...], list[_Row]] = {}
        for row in rows:
            alike.setdefault(tuple(row.parts.values()), []).append(row)
        for same in alike.values():
            if len({row.model for row in same}) < 2:
                continue
            for row in same:
                name, word = row.other[step] if row.other else ("", "")
                if word and word != row.parts[name]:
                    row.parts[name] = f"{row.parts[name]} ({word})" if row.parts[name] else word


def _title(parts: Mapping[str, str], shown: set[str]) -> str:
    """The parts that tell a setting from the others; all of them of one alone."""
    return " · ".join(value for name, value in parts.items() if value and name in shown)

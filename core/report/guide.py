"""What the Metrics page says of every metric: its record in words, whether it works here, and what to do if not."""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import pandas as pd

from core.metrics.registry import METRICS, library_of, missing_here
from core.models.weights import WEIGHTS, FoundWeights, find_weights
from core.report.names import short_name
from core.settings import Settings
from core.tables import write_csv

KINDS = {
    "pair": "compares two pictures",
    "set": "compares two sets of pictures",
    "diagnostic": "the attack's fit, never leakage",
}


@dataclass(frozen=True)
class Note:
    """One metric in words. problem: why it cannot be computed on this machine, "" where it can; remedy: what to do.

    condition: what it needs beside the two pictures, such as the victim; "" for most.
    """

    name: str
    short: str
    title: str
    kind: str  # one of KINDS
    arrow: str  # ↑ or ↓, the end that means more leakage; "" for a diagnostic
    direction: str  # in words
    range: str  # with the unit
    unit: str
    sees: str
    misses: str
    minimum: str  # size
    input: str  # size
    needs: str  # weights and packages
    library: str
    version: str
    source: str
    problem: str
    brief: str  # the problem in a few words
    remedy: str
    condition: str

    @property
    def available(self) -> bool:
        """Whether this machine can compute it."""
        return not self.problem


def notes(settings: Settings) -> tuple[Note, ...]:
    """Every metric of pairs, every diagnostic and every metric of sets, in the registries' order."""
    records = [*METRICS.values(), *set_metrics().values()]
    return tuple(_note(record, replace(settings, torch_cache=None)) for record in records)


def set_metrics() -> Mapping[str, Any]:
    """The registry of metrics of sets; empty where this version has none."""
    if importlib.util.find_spec("core.metrics.sets") is None:
        return {}
    found: Mapping[str, Any] = importlib.import_module("core.metrics.sets").SET_METRICS
    return found


def filtered(found: Iterable[Note], kind: str = "", state: str = "") -> tuple[Note, ...]:
    """Of one kind ("" for all) and in one state: "available", "missing" here, or with "weights" of its own."""
    return tuple(note for note in found if kind in ("", note.kind) and state in ("", *_states(note)))


def _states(note: Note) -> tuple[str, ...]:
    return ("available" if note.available else "missing", *(["weights"] if note.needs else []))


def guide_csv(found: Iterable[Note]) -> bytes:
    """The notes as a table, a column for each field."""
    names = [field.name for field in fields(Note) if field.name != "brief"]
    return write_csv(pd.DataFrame([[getattr(note, name) for name in names] for note in found], columns=names))


def _note(record: Any, settings: Settings) -> Note:
    diagnostic = bool(getattr(record, "diagnostic", False))
    higher = record.direction == "higher"
    end = "a closer fit" if diagnostic else "more leakage"
    needs, packages = tuple(getattr(record, "needs", ())), tuple(getattr(record, "packages", ()))
    problem = missing_here(record, settings)
    missing = [name for name in needs if not isinstance(find_weights(name, settings), FoundWeights)]
    lacks = getattr(record, "lacks", None)
    size = getattr(record, "input_size", None)
    minimum = getattr(record, "minimum_size", None)
    return Note(
        name=record.name,
        short=short_name(record.name),
        title=record.title,
        kind="diagnostic" if diagnostic else getattr(record, "kind", "set"),
        arrow="" if diagnostic else "↑" if higher else "↓",
        direction=f"{'higher' if higher else 'lower'} means {end}",
        range=_range(record),
        unit=getattr(record, "unit", ""),
        sees=record.sees,
        misses=record.misses,
        minimum="" if minimum is None else f"{minimum} px",
        input=f"resized to {size} px" if size else "native size",
        needs=", ".join((*needs, *packages)),
        library=library_of(record),
        version=record.version,
        source=record.source,
        problem=problem,
        brief=_brief(missing, problem),
        remedy=_remedy(missing) if problem else "",
        condition=lacks(settings, None) if lacks is not None and not problem else "",
    )


def _range(record: Any) -> str:
    low, high = getattr(record, "bounds", (-math.inf, math.inf))
    return " ".join(part for part in (f"{_end(low)} … {_end(high)}", getattr(record, "unit", "")) if part)


def _end(value: float) -> str:
    if math.isinf(value):
        return "∞" if value > 0 else "\u2212∞"
    return f"{value:g}".replace("-", "\u2212")


def _brief(missing: Sequence[str], problem: str) -> str:
    if not problem or not missing:
        return problem
    return f"its weights {' and '.join(missing)} are missing."


def _remedy(missing: Sequence[str]) -> str:
    """What to do about missing weights; a missing package's reason says it itself."""
    if not missing:
        return ""
    folder = f"put {' and '.join(f'{name}.safetensors' for name in missing)} into the weights folder (SEMSIGHT_WEIGHTS)"
    if any(not WEIGHTS[name].sha256 for name in missing):
        return f"By hand: {folder}; Weights below says from where."
    return f"Download them under Weights below, or run python -m core doctor --download, or {folder}."


@dataclass(frozen=True)
class WeightsNote:
    """One file of weights as the page lists it."""

    name: str
    title: str
    used_by: str  # metrics, by their short names
    found: str  # file name and the sha256's first digits; "" where it is missing
    reason: str  # why it is missing, in a sentence; "" where it is found
    button: str  # what a button may offer: "Download", "Take in", or "" (found, or by hand only)
    size: str
    licence: str
    address: str


def weights_notes(settings: Settings) -> tuple[WeightsNote, ...]:
    """Every file of weights: found or missing, and what can be done. Loads no torch and changes no file."""
    return tuple(_weights_note(name, settings) for name in WEIGHTS)


def _weights_note(name: str, settings: Settings) -> WeightsNote:
    record = WEIGHTS[name]
    users = [
        short_name(m.name) for m in (*METRICS.values(), *set_metrics().values()) if name in getattr(m, "needs", ())
    ]
    found = find_weights(name, replace(settings, torch_cache=None))  # a file in torch's cache would be converted here
    here = isinstance(found, FoundWeights)
    cached = record.cached and settings.torch_cache is not None and (settings.torch_cache / record.file).is_file()
    reason, button = "" if isinstance(found, FoundWeights) else found.reason, ""
    if not here and record.sha256:
        button = "Download"
        if cached and not (settings.weights / f"{name}.safetensors").exists():
            reason, button = f"{record.title}: {record.file} lies in torch's cache and was not taken in yet.", "Take in"
    return WeightsNote(
        name=name,
        title=record.title,
        used_by=", ".join(users),
        found=f"{found.path.name}, sha256 {found.sha256[:12]}…" if isinstance(found, FoundWeights) else "",
        reason=reason,
        button=button,
        size=f"{record.mebibytes} MiB",
        licence=record.licence,
        address=record.url,
    )

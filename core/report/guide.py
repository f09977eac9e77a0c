"""What the Metrics page says of every metric: its record in words, whether it works here, and what to do if not."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace

import pandas as pd

from core.metrics.base import Metric
from core.metrics.registry import METRICS, library_of, missing_here
from core.metrics.sets import SET_METRICS, SetMetric, missing_for_set
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
    minimum: str  # size, or number of pictures
    input: str  # size, or features
    needs: str  # weights and packages
    library: str
    version: str
    source: str
    problem: str
    brief: str  # the problem in a few words
    remedy: str
    condition: str
    cached: bool  # what is missing lies in torch's cache and is taken in by the first who computes with it

    @property
    def available(self) -> bool:
        """Whether this machine can compute it."""
        return not self.problem

    @property
    def worth_asking(self) -> bool:
        """Whether a process that may load torch could compute it."""
        return self.available or self.cached


def notes(settings: Settings) -> tuple[Note, ...]:
    """Every metric of pairs, every diagnostic and every metric of sets, in the registries' order."""
    here = replace(
        settings, torch_cache=None
    )  # a file of torch's cache would be converted, with torch, in this process
    pairs = [_pair_note(metric, here, settings) for metric in METRICS.values()]
    return tuple(pairs + [_set_note(metric, here) for metric in SET_METRICS.values()])


def filtered(found: Iterable[Note], kind: str = "", state: str = "") -> tuple[Note, ...]:
    """Of one kind ("" for all) and in one state: "available", "missing" here, or with "weights" of its own."""
    return tuple(note for note in found if kind in ("", note.kind) and state in ("", *_states(note)))


def _states(note: Note) -> tuple[str, ...]:
    return ("available" if note.available else "missing", *(["weights"] if note.needs else []))


def guide_csv(found: Iterable[Note]) -> bytes:
    """The notes as a table, a column for each field."""
    names = [field.name for field in fields(Note) if field.name not in ("brief", "cached")]
    return write_csv(pd.DataFrame([[getattr(note, name) for name in names] for note in found], columns=names))


def _pair_note(metric: Metric, settings: Settings, full: Settings) -> Note:
    higher, end = metric.direction == "higher", "a closer fit" if metric.diagnostic else "more leakage"
    problem = missing_here(metric, settings)
    missing = _missing(metric.needs, settings)
    return Note(
        name=metric.name,
        short=short_name(metric.name),
        title=metric.title,
        kind="diagnostic" if metric.diagnostic else metric.kind,
        arrow="" if metric.diagnostic else "↑" if higher else "↓",
        direction=f"{metric.direction} means {end}",
        range=_range(metric.bounds, metric.unit),
        unit=metric.unit,
        sees=metric.sees,
        misses=metric.misses,
        minimum=f"{metric.minimum_size} px",
        input=f"resized to {metric.input_size} px" if metric.input_size else "native size",
        needs=", ".join((*metric.needs, *metric.packages)),
        library=library_of(metric),
        version=metric.version,
        source=metric.source,
        problem=problem,
        brief=_brief(missing, problem),
        remedy=_remedy(missing) if problem else "",
        condition=metric.lacks(settings, None) if metric.lacks is not None and not problem else "",
        cached=bool(missing) and all(_in_cache(name, full) for name in missing),
    )


def _set_note(metric: SetMetric, settings: Settings) -> Note:
    problem = missing_for_set(metric, settings)
    missing = _missing(metric.needs, settings)
    return Note(
        name=metric.name,
        short=short_name(metric.name),
        title=metric.title,
        kind=metric.kind,
        arrow="↑" if metric.direction == "higher" else "↓",
        direction=f"{metric.direction} means more leakage",
        range=_range(metric.bounds, ""),
        unit="",
        sees=metric.sees,
        misses=metric.misses,
        minimum=f"{metric.least:,} pictures in each set; with a warning below {metric.minimum_sample:,}",
        input=f"features of {metric.features}",
        needs=", ".join(metric.needs),
        library=metric.library or "SemSight",
        version=metric.version,
        source=metric.source,
        problem=problem,
        brief=_brief(missing, problem),
        remedy=_remedy(missing) if problem else "",
        condition="",
        cached=False,
    )


def _missing(needs: Sequence[str], settings: Settings) -> list[str]:
    return [name for name in needs if not isinstance(find_weights(name, settings), FoundWeights)]


def _in_cache(name: str, settings: Settings) -> bool:
    record, cache = WEIGHTS[name], settings.torch_cache
    return bool(record.cached and record.sha256 and cache is not None and (cache / record.file).is_file())


def _range(bounds: tuple[float, float], unit: str) -> str:
    return f"{_end(bounds[0])} … {_end(bounds[1])} {unit}".rstrip()


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
    users = [short_name(m.name) for m in METRICS.values() if name in m.needs]
    users += [short_name(m.name) for m in SET_METRICS.values() if name in m.needs]
    found = find_weights(name, replace(settings, torch_cache=None))  # a file in torch's cache would be converted here
    here = isinstance(found, FoundWeights)
    reason, button = "" if isinstance(found, FoundWeights) else found.reason, ""
    if not here and record.sha256:
        button = "Download"
        if _in_cache(name, settings) and not (settings.weights / f"{name}.safetensors").exists():
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

"""Two runs of the same originals, side by side: which of them leaks more of what."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import func, select

from core.report.columns import NONE, RunTable, leakage
from core.storage import schema
from core.storage.store import Store

MOST_RUNS = 50  # runs to choose from


@dataclass(frozen=True)
class Sharing:
    """Another run that attacked some of the same originals."""

    run: int
    title: str
    common: int  # originals in both


@dataclass(frozen=True)
class Duel:
    """One metric over the shared originals that both runs have a score of. Medians may be infinite."""

    metric: str
    n: int
    here: int  # originals of which this run leaks more
    there: int
    ties: int
    median_here: float | None
    median_there: float | None
    problem: str = ""  # why the two cannot be held against each other


def sharing(store: Store, run: int) -> tuple[Sharing, ...]:
    """The runs that share originals with this one, those with the most first, newest first among equals."""
    rec, pair, jobs = schema.reconstructions, schema.pairings, schema.jobs
    attacks = (rec.c.chosen, rec.c.role == "attack", pair.c.reference == "attacked")
    linked = pair.join(rec, rec.c.id == pair.c.reconstruction_id)
    ours = select(pair.c.original_id).select_from(linked).where(rec.c.job_id == run, *attacks)
    count = func.count(pair.c.original_id.distinct())
    statement = (
        select(rec.c.job_id, jobs.c.title, count)
        .select_from(linked.join(jobs, jobs.c.id == rec.c.job_id))
        .where(pair.c.original_id.in_(ours), rec.c.job_id != run, *attacks)
        .group_by(rec.c.job_id, jobs.c.title)
        .order_by(count.desc(), rec.c.job_id.desc())
        .limit(MOST_RUNS)
    )
    with store.database.read() as connection:
        return tuple(Sharing(int(row[0]), row[1], int(row[2])) for row in connection.execute(statement))


def differences(here: Mapping[str, Any], there: Mapping[str, Any]) -> tuple[str, ...]:
    """What two runs were asked for differently, from their payloads: "iterations 45 / 14" for each setting.

    Nested settings go by their own name; the originals and their hashes are no settings.
    """
    first, second = dict(_flat(here)), dict(_flat(there))
    names = [name for name in {**first, **second} if first.get(name) != second.get(name)]
    return tuple(
        f"{name.rpartition('.')[2].replace('_', ' ')} {_told(first, name)} / {_told(second, name)}" for name in names
    )


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        elif name not in ("originals", "original_hashes"):
            yield f"{before}{name}", value


def _told(values: Mapping[str, Any], name: str) -> str:
    if name not in values:
        return "none"
    value = values[name]
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = (
            ", ".join(str(one.get("name", one)) if isinstance(one, Mapping) else str(one) for one in value) or "none"
        )
    return str(value)[:60]


def paired_rows(here: RunTable, there: RunTable) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the originals that both hold, equally long, by original; of several of one original the first."""
    first_here, rows_here = np.unique(here.originals, return_index=True)
    first_there, rows_there = np.unique(there.originals, return_index=True)
    _, in_here, in_there = np.intersect1d(first_here, first_there, assume_unique=True, return_indices=True)
    real = first_here[in_here] != NONE
    return rows_here[in_here][real], rows_there[in_there][real]


def comparable(here: RunTable, there: RunTable, metric: str) -> bool:
    """Whether both were scored with the same version of the metric, and the same weights."""
    return metric in here.metrics and here.metrics[metric] == there.metrics.get(metric)


def difference(here: RunTable, there: RunTable, metric: str) -> np.ndarray:
    """By how much more row i of `here` leaks than row i of `there`, in the metric's unit; NaN where either has none.

    Two equal infinities differ by 0.
    """
    if not comparable(here, there, metric):
        return np.full(len(here.ids), np.nan)
    first, second = leakage(metric, here.scores[metric]), leakage(metric, there.scores[metric])
    with np.errstate(invalid="ignore"):
        gap = first - second
    return np.where(first == second, 0.0, gap)


def duels(here: RunTable, there: RunTable) -> tuple[Duel, ...]:
    """Each metric with a direction that this run has: in how many shared originals which run leaks more."""
    rows, others = paired_rows(here, there)
    first, second = here.rows(rows), there.rows(others)
    found = []
    for metric in first.metrics:
        if np.isnan(leakage(metric, here.scores[metric])).all():
            continue  # a diagnostic, or nothing scored
        if not comparable(first, second, metric):
            why = "the other run has no score of it" if metric not in second.metrics else "scored in another version"
            found.append(Duel(metric, 0, 0, 0, 0, None, None, why))
            continue
        gap = difference(first, second, metric)
        known = ~np.isnan(gap)
        gap = gap[known]
        found.append(
            Duel(
                metric,
                n=len(gap),
                here=int((gap > 0).sum()),
                there=int((gap < 0).sum()),
                ties=int((gap == 0).sum()),
                median_here=median(first.scores[metric][known]),
                median_there=median(second.scores[metric][known]),
            )
        )
    return tuple(found)


def median(values: np.ndarray) -> float | None:
    """Median of values without NaN; of two infinities in the middle that infinity, not their difference."""
    if not len(values):
        return None
    ordered = np.sort(values)
    low, high = float(ordered[(len(ordered) - 1) // 2]), float(ordered[len(ordered) // 2])
    return low if low == high else (low + high) / 2


def better(metric: str, here: float | None, there: float | None) -> str:
    """Which of two scores of one metric leaks more: "here", "there" or "tie"; "" where that cannot be said."""
    if here is None or there is None:
        return ""
    first, second = (float(leakage(metric, np.array([value]))[0]) for value in (here, there))
    if np.isnan(first) or np.isnan(second):
        return ""
    return "tie" if first == second else "here" if first > second else "there"


def comparable_metrics(here: RunTable, there: RunTable) -> frozenset[str]:
    """The metrics that both runs were scored with in one version."""
    return frozenset(name for name in here.metrics if comparable(here, there, name))

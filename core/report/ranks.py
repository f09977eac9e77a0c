"""Scores of the worked example as ranks of leakage, and where a metric's order departs from the others'."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from core.metrics.base import Score
from core.metrics.registry import METRICS
from core.report.names import short_name

LEAST_DEPARTURE = 2.0  # ranks; less is no contradiction
MOST_DEPARTURES = 3


@dataclass(frozen=True)
class Cell:
    """One score. rank: 1 where this metric says that most leaks; equal scores share the best; None: not scored.

    place is the rank with equal scores in the middle, which is what ranks are compared by. lead: 1 for the first
    rank, 0 for the last, for shading.
    """

    value: float | None
    reason: str
    rank: int | None = None
    place: float | None = None
    lead: float = 0.0


@dataclass(frozen=True)
class Departure:
    """A picture that a metric ranks otherwise than the other metrics do."""

    index: int  # of the picture
    rank: int
    others: float  # median place among the other metrics, which the words give
    words: str


@dataclass(frozen=True)
class RankTable:
    """rows: a cell for each picture, for every metric that scored at least one. unscored: reason by metric."""

    rows: Mapping[str, tuple[Cell, ...]]
    unscored: Mapping[str, str]


def compared(names: Sequence[str]) -> tuple[str, ...]:
    """Those of the metrics that say how much leaks from a pair: diagnostics do not."""
    return tuple(name for name in names if METRICS[name].kind == "pair" and not METRICS[name].diagnostic)


def rank_table(scores: Mapping[str, Sequence[Score]]) -> RankTable:
    """Ranks of each metric's scores over the pictures, 1 = leaks most, by the metric's own direction."""
    rows, unscored = {}, {}
    for name in (one for one in METRICS if one in scores):
        found = scores[name]
        if all(score.value is None for score in found):
            unscored[name] = found[0].reason if found else "nothing to score"
        else:
            rows[name] = _cells(found, METRICS[name].direction == "higher")
    return RankTable(rows, unscored)


def _cells(found: Sequence[Score], higher: bool) -> tuple[Cell, ...]:
    there = [i for i, score in enumerate(found) if score.value is not None]
    values = np.array([found[i].value for i in there], dtype=np.float64)
    leaks = -values if higher else values  # lower = leaks more
    ranks, places = rankdata(leaks, "min"), rankdata(leaks, "average")
    last = max(1, len(there) - 1)
    ranked = {
        i: Cell(found[i].value, "", int(rank), float(place), 1 - (float(place) - 1) / last)
        for i, rank, place in zip(there, ranks, places, strict=True)
    }
    return tuple(ranked.get(i, Cell(None, score.reason)) for i, score in enumerate(found))


def departures(table: RankTable, metric: str, titles: Sequence[str]) -> tuple[Departure, ...]:
    """The pictures that `metric` ranks most differently from the median of the other metrics, the furthest first."""
    if metric not in table.rows or len(table.rows) < 2:
        return ()
    found = []
    for index, cell in enumerate(table.rows[metric]):
        others = _places(table, index, but=metric)
        if cell.rank is None or cell.place is None or not others:
            continue
        middle = statistics.median(others)
        if abs(cell.place - middle) >= LEAST_DEPARTURE:
            found.append((abs(cell.place - middle), _departure(index, cell.rank, cell.place, middle, titles)))
    found.sort(key=lambda one: (-one[0], one[1].index))
    return tuple(one for _, one in found[:MOST_DEPARTURES])


def _departure(index: int, rank: int, place: float, middle: float, titles: Sequence[str]) -> Departure:
    says = "less" if place > middle else "more"
    ranks = f"rank {rank} of {len(titles)}, theirs {middle:g}"
    return Departure(index, rank, middle, f"{titles[index]}: it says that {says} leaks than the others do; {ranks}.")


def dispute(table: RankTable, titles: Sequence[str]) -> str:
    """The picture over which the metrics differ most, in a sentence; "" where they do not differ."""
    best: tuple[float, str] = (LEAST_DEPARTURE - 1, "")
    for index, title in enumerate(titles):
        ranked = [(cells[index].place, name) for name, cells in table.rows.items() if cells[index].place is not None]
        if len(ranked) < 2:
            continue
        (low, first), (high, last) = min(ranked), max(ranked)
        if low is not None and high is not None and high - low > best[0]:
            a, b = table.rows[first][index].rank, table.rows[last][index].rank
            best = (
                high - low,
                f"They differ most over “{title}”: {short_name(first)} ranks it {a} of {len(titles)}, "
                f"{short_name(last)} {b}.",
            )
    return best[1]


def _places(table: RankTable, index: int, but: str) -> list[float]:
    places = (cells[index].place for name, cells in table.rows.items() if name != but)
    return [place for place in places if place is not None]

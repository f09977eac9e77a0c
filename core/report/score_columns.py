"""Scores of many pairings as columns, one a metric, each of one version: what is read for `columns.run_table`."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Connection, case, select

from core.report.present import Kind, shown
from core.report.records import ScoredMetric
from core.settings import Settings
from core.storage import schema

INFINITE = 1e300  # stands for ±∞ on the way from the database
NONE = -1  # no pairing
NEAR = 1_000  # pairings between two of a run that are read along with them
MOST_READ = 4  # times as many pairings are read along as are asked for; beyond, one by one
CHUNK = 500  # pairings of one question: databases bound the parameters of a statement
FEW_RANGES = 8  # that are asked for even where the pairings would fit in fewer questions

score = schema.scores


@dataclass(frozen=True)
class _Rows:
    """Rows of scores as columns: which (metric, version, weights), whether this run's, and their place in it."""

    kind: np.ndarray
    ours: np.ndarray
    ids: np.ndarray
    values: np.ndarray
    places: np.ndarray
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class KindColumn:
    """The scores of one metric in one version with one set of weights, along the pairings that were asked for."""

    metric: str
    kind: Kind
    values: np.ndarray  # (n,) float64; NaN without a value, ±inf a value
    told: np.ndarray  # (n,) bool: a value or a reason is stored
    reason: str  # one that is stored where there is no value


def score_columns(
    connection: Connection, pairings: np.ndarray, reference: str, settings: Settings
) -> tuple[dict[str, ScoredMetric], dict[str, np.ndarray]]:
    """Every metric in the version to show, and its column along `pairings` (NONE for no pairing)."""
    of_metric: dict[str, dict[tuple[str, str], KindColumn]] = {}
    for column in kind_columns(connection, pairings, reference):
        of_metric.setdefault(column.metric, {})[column.kind.key] = column
    metrics: dict[str, ScoredMetric] = {}
    scores: dict[str, np.ndarray] = {}
    for name, found in of_metric.items():
        choice = shown(name, [column.kind for column in found.values()], settings)
        column = found[choice.kind.key]
        column.values.setflags(write=False)
        metrics[name] = ScoredMetric(name, *choice.kind.key, choice.kind.valued, column.reason, choice.done, choice.of)
        scores[name] = column.values
    return metrics, scores


def kind_columns(connection: Connection, pairings: np.ndarray, reference: str) -> tuple[KindColumn, ...]:
    """All that is stored of these pairings (NONE for no pairing), by metric, version and weights, in that order."""
    real = np.flatnonzero(pairings != NONE)
    if not len(real):
        return ()
    place = real[np.argsort(pairings[real])]
    known = pairings[place]
    rows = _read(connection, known, reference)
    if not rows:
        return ()
    metric, version, weights, row_ids, subjects, values, reasons = zip(*rows, strict=True)
    kinds: dict[tuple[str, str, str], int] = {}
    codes = (kinds.setdefault(kind, len(kinds)) for kind in zip(metric, version, weights, strict=True))
    subject = np.fromiter(subjects, np.int64, len(rows))
    found = np.minimum(np.searchsorted(known, subject), len(known) - 1)
    numbers = np.array(values, dtype=np.float64)
    numbers[numbers == INFINITE], numbers[numbers == -INFINITE] = math.inf, -math.inf
    read = _Rows(
        kind=np.fromiter(codes, np.int64, len(rows)),
        ours=known[found] == subject,
        ids=np.fromiter(row_ids, np.int64, len(rows)),
        values=numbers,
        places=place[found],
        reasons=reasons,
    )
    made = (_column(key, code, read, len(pairings)) for key, code in sorted(kinds.items()))
    return tuple(column for column in made if column is not None)


def _read(connection: Connection, known: np.ndarray, reference: str) -> list[Any]:
    """The rows of these pairings (sorted), and of some between them.

    A run's pairings lie close together in the table, so a walk along the unique index from one to the next reads
    little else, and a question per pairing takes three times as long.
    """
    value = case((score.c.special == "inf", INFINITE), (score.c.special == "-inf", -INFINITE), else_=score.c.value)
    columns: Any = (score.c.id, score.c.subject_id, value, score.c.reason)
    statement = select(score.c.metric, score.c.metric_version, score.c.weights_hash, *columns).where(
        score.c.subject_kind == "pairing", score.c.reference == reference
    )
    rows: list[Any] = []
    for part in _parts(known):
        rows += connection.execute(statement.where(part)).all()
    return rows


def _parts(known: np.ndarray) -> Iterator[ColumnElement[bool]]:
    """The sorted pairings as ranges, where those hold little else; else by the hundred."""
    breaks = np.flatnonzero(np.diff(known) > NEAR) + 1
    ranges = [(int(part[0]), int(part[-1])) for part in np.split(known, breaks)]
    read = sum(last - first + 1 for first, last in ranges)
    if read <= MOST_READ * len(known) + NEAR and len(ranges) <= FEW_RANGES + len(known) // CHUNK:
        for first, last in ranges:
            yield score.c.subject_id.between(first, last)
        return
    for start in range(0, len(known), CHUNK):
        yield score.c.subject_id.in_(known[start : start + CHUNK].tolist())


def _column(key: tuple[str, str, str], code: int, read: _Rows, size: int) -> KindColumn | None:
    """The column of one kind; None where this run has no row of it."""
    rows = np.flatnonzero(read.ours & (read.kind == code))
    if not len(rows):
        return None
    column, told = np.full(size, np.nan), np.zeros(size, dtype=bool)
    column[read.places[rows]] = values = read.values[rows]
    told[read.places[rows]] = True
    missing = np.isnan(values)
    reason = max((read.reasons[row] for row in rows[missing]), default="")
    kind = Kind(*key[1:], len(rows), not bool(missing.all()), int(read.ids[rows].max()))
    return KindColumn(key[0], kind, column, told, reason)

"""What the runs of a setting made and scored, as a few figures: read by the thousand, kept until they change.

A table of settings takes each metric in one version for all its rows: so every version's figures are kept, and which
one is shown is decided over the whole table (`core.report.present`).
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
from sqlalchemy import Connection, and_, select

from core.labels.recognition import Recognition
from core.metrics.registry import METRICS
from core.report.evidence import DEFAULT_METRIC
from core.report.names import NEAREST
from core.report.present import Kind, Shown, shown
from core.report.score_columns import NONE, KindColumn, kind_columns
from core.report.settings_plan import RunState
from core.report.summary import MetricSummary, summarise
from core.report.verdict_records import Evidence
from core.settings import Settings
from core.storage import schema
from core.storage.store import Store

MOST_AT_ONCE = 5_000  # pairings read before their scores are boiled down: bounds memory
MOST_KEPT = 400_000  # reconstructions of which something is kept
FEW_RUNS = 400  # of one question

Key = tuple[str, str, str]  # metric, version, weights


@dataclass(frozen=True)
class KindFigures:
    """One metric in one version over the attack's reconstructions of a setting."""

    kind: Kind
    summary: MetricSummary
    reason: str


@dataclass(frozen=True)
class Made:
    """The chosen reconstructions of a setting's runs, of every role, as equally long columns; and their figures."""

    ids: np.ndarray
    attack: np.ndarray  # bool: of the attack, not of a control
    originals: np.ndarray
    roles: tuple[str, ...]
    statuses: tuple[str, ...]
    names: tuple[str, ...]
    shas: tuple[str, ...]
    nearest: str  # the metric by which all are paired with the nearest original; "" otherwise
    drawn: bool  # an original's label was drawn: its class was none of the victim's
    figures: Mapping[Key, KindFigures]
    cut: Mapping[Key, np.ndarray]  # the scores that verdicts are cut at, of every role

    def evidence(self, answers: Mapping[int, Recognition], settings: Settings) -> list[Evidence]:
        """What `core.report.verdict` judges; scores in the version that the run's own page shows."""
        kinds = {key[1:]: self.figures_kind(key) for key in self.cut}
        choice = shown(DEFAULT_METRIC, list(kinds.values()), settings).kind.key if kinds else None
        scores = self.cut[DEFAULT_METRIC, *choice] if choice else np.full(len(self.ids), np.nan)
        found = []
        columns = (self.ids.tolist(), self.originals.tolist(), self.names, self.roles, scores.tolist(), self.statuses)
        for one, original, name, role, score, status in zip(*columns, strict=True):
            if original == NONE:
                continue
            said = answers.get(one)
            known = None if score != score else score
            told = (said.recognised, said.answers) if said else (0, 0)
            found.append(Evidence(one, original, name, role, known, *told, status, self.nearest))
        return found

    def figures_kind(self, key: Key) -> Kind:
        """How many rows, of every role, hold this version of the verdict's metric."""
        known = ~np.isnan(self.cut[key])
        newest = self.figures[key].kind.newest if key in self.figures else 0
        return Kind(key[1], key[2], int(known.sum()), bool(known.any()), newest)


_Group = tuple[RunState, ...]
_kept: OrderedDict[tuple[str, str, tuple[object, ...]], Made] = OrderedDict()
_lock = Lock()


def made(store: Store, groups: Sequence[_Group], reference: str) -> list[Made]:
    """What each group of runs has made, in order; only what changed since the last time is read."""
    keys = [(str(store.database.url), reference, tuple((run.id, run.mark) for run in group)) for group in groups]
    with _lock:
        found = {key: _kept[key] for key in keys if key in _kept}
    missing = {key: group for key, group in zip(keys, groups, strict=True) if key not in found}
    if missing:
        with store.database.read() as connection:
            fresh = _read(connection, list(missing.values()), reference)
        found |= dict(zip(missing, fresh, strict=True))
    with _lock:
        for key in keys:
            _kept[key] = found[key]
            _kept.move_to_end(key)
        while len(_kept) > 1 and sum(len(one.ids) for one in _kept.values()) > MOST_KEPT:
            _kept.popitem(last=False)
    return [found[key] for key in keys]


def choose(facts: Sequence[Made], settings: Settings) -> dict[str, Shown]:
    """Of every metric that any setting was scored with, the version that the whole table shows."""
    kinds: dict[str, dict[tuple[str, str], list[Kind]]] = {}
    for one in facts:
        for (metric, *_), found in one.figures.items():
            kinds.setdefault(metric, {}).setdefault(found.kind.key, []).append(found.kind)
    return {
        metric: shown(metric, [_together(same) for same in by_version.values()], settings)
        for metric, by_version in kinds.items()
    }


def _together(kinds: Sequence[Kind]) -> Kind:
    rows, newest = sum(kind.rows for kind in kinds), max(kind.newest for kind in kinds)
    return Kind(*kinds[0].key, rows, any(kind.valued for kind in kinds), newest)


# --- reading ----------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Columns:
    """Chosen reconstructions of many runs."""

    jobs: np.ndarray
    ids: np.ndarray
    pairings: np.ndarray
    originals: np.ndarray
    words: tuple[tuple[str, ...], ...]  # roles, statuses, names, image hashes, methods, costs, label sources


def _read(connection: Connection, groups: Sequence[_Group], reference: str) -> list[Made]:
    rows = _reconstructions(connection, sorted({run.id for group in groups for run in group}), reference)
    places = [np.concatenate([_rows_of(rows.jobs, run.id) for run in group]) for group in groups]
    found: list[Made] = []
    for batch in _batches(places):
        chosen = np.concatenate(batch)
        columns = kind_columns(connection, rows.pairings[chosen], reference)
        start = 0
        for place in batch:
            found.append(_made(rows, place, columns, slice(start, start + len(place))))
            start += len(place)
    return found


def _rows_of(jobs: np.ndarray, run: int) -> np.ndarray:
    """The rows of one run: `jobs` is sorted."""
    first, last = np.searchsorted(jobs, [run, run + 1])
    return np.arange(first, last)


def _reconstructions(connection: Connection, runs: Sequence[int], reference: str) -> _Columns:
    rec, pair, orig = schema.reconstructions, schema.pairings, schema.originals
    paired = and_(pair.c.reconstruction_id == rec.c.id, pair.c.reference == reference)
    statement = (
        select(rec.c.job_id, rec.c.id, pair.c.id, pair.c.original_id)
        .add_columns(rec.c.role, rec.c.status, orig.c.name, rec.c.image_sha, pair.c.method, pair.c.cost_name)
        .add_columns(orig.c.label_source)
        .outerjoin(pair, paired)
        .outerjoin(orig, orig.c.id == pair.c.original_id)
        .order_by(rec.c.job_id, rec.c.target, rec.c.id)
    )
    rows: list[Any] = []
    for start in range(0, len(runs), FEW_RUNS):
        part = runs[start : start + FEW_RUNS]
        rows += connection.execute(statement.where(rec.c.job_id.in_(part), rec.c.chosen)).all()
    columns = list(zip(*rows, strict=True)) if rows else [()] * 11
    job, ids, pairings, originals = (np.array([NONE if v is None else v for v in c], np.int64) for c in columns[:4])
    words = tuple(tuple("" if v is None else str(v) for v in column) for column in columns[4:])
    return _Columns(job, ids, pairings, originals, words)


def _batches(places: Sequence[np.ndarray]) -> Iterator[list[np.ndarray]]:
    """Groups, in order, of at most MOST_AT_ONCE reconstructions together; a larger one alone."""
    batch: list[np.ndarray] = []
    for place in places:
        if batch and sum(map(len, batch)) + len(place) > MOST_AT_ONCE:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def _made(rows: _Columns, place: np.ndarray, columns: Sequence[KindColumn], part: slice) -> Made:
    roles, statuses, names, shas, methods, costs, sources = (tuple(one[i] for i in place) for one in rows.words)
    attack = np.array([role == "attack" for role in roles], dtype=bool)
    figures: dict[Key, KindFigures] = {}
    cut: dict[Key, np.ndarray] = {}
    for column in columns:
        key = (column.metric, *column.kind.key)
        values, told = column.values[part], column.told[part]
        if column.metric == DEFAULT_METRIC and told.any():
            cut[key] = values.copy()
        if told[attack].any():
            summary = summarise(column.metric, values[attack])
            kind = Kind(*column.kind.key, int(told[attack].sum()), bool(summary.n), column.kind.newest)
            figures[key] = KindFigures(kind, summary, column.reason)
    nearest = next((cost for method, cost in zip(methods, costs, strict=True) if method == NEAREST), "")
    return Made(
        ids=rows.ids[place],
        attack=attack,
        originals=rows.originals[place],
        roles=roles,
        statuses=statuses,
        names=names,
        shas=shas,
        nearest=nearest,
        drawn="drawn" in sources,
        figures={key: figures[key] for key in sorted(figures, key=_order)},
        cut=cut,
    )


def _order(key: Key) -> tuple[int, Key]:
    names = list(METRICS)
    return (names.index(key[0]) if key[0] in METRICS else len(names), key)

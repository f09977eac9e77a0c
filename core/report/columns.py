"""A run's scores as columns: read in one pass, kept until a score or a reconstruction changes."""

import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from threading import Lock

import numpy as np
from sqlalchemy import Connection, and_, select

from core.metrics.registry import METRICS
from core.report.present import present_mark
from core.report.records import ScoredMetric
from core.report.score_columns import NONE as NONE  # no pairing, no original, no label
from core.report.score_columns import score_columns
from core.settings import Settings
from core.storage import schema
from core.storage.database import change
from core.storage.store import Store

KEPT = 8  # runs; one of 20,000 reconstructions with 25 scores takes 5 MB, and as much for its roles
SLOW = 0.5  # seconds of reading from which on a table may be old
PATIENCE = 20  # it is read at most once in so many times the reading's own time: 5 % of the time

rec, pair, orig = schema.reconstructions, schema.pairings, schema.originals


@dataclass(frozen=True)
class RunTable:
    """The chosen reconstructions of a run as equally long columns, in order of target. Arrays are read-only.

    scores: float64 by metric; NaN is unscored, ±inf a value. Missing whole numbers are NONE, a missing loss is NaN.
    """

    ids: np.ndarray
    roles: np.ndarray  # str
    targets: np.ndarray
    losses: np.ndarray
    pairings: np.ndarray
    originals: np.ndarray
    labels: np.ndarray
    metrics: dict[str, ScoredMetric]
    scores: dict[str, np.ndarray]
    classes: dict[int, str]  # the name of a label, where it has one
    ranks: dict[str, np.ndarray] = field(default_factory=dict, compare=False)  # percentiles, once asked for

    def of(self, role: str) -> "RunTable":
        """The rows of one role."""
        return self.rows(np.flatnonzero(self.roles == role))

    def rows(self, chosen: np.ndarray) -> "RunTable":
        """These rows, in this order, without percentiles: those are of all rows of a role."""
        columns = ("ids", "roles", "targets", "losses", "pairings", "originals", "labels")
        return replace(
            self,
            **{name: getattr(self, name)[chosen] for name in columns},
            scores={name: values[chosen] for name, values in self.scores.items()},
            ranks={},
        )

    def percentiles(self, metric: str) -> np.ndarray:
        """Percentile of every row's score, 100 leaking most; NaN where unscored, or for a diagnostic."""
        if metric not in self.ranks:
            self.ranks[metric] = percentiles(leakage(metric, self.scores[metric]))
        return self.ranks[metric]


def leakage(metric: str, values: np.ndarray) -> np.ndarray:
    """The scores turned so that more is more leakage; all NaN for a diagnostic or a metric not known here."""
    record = METRICS.get(metric)
    if record is None or record.diagnostic:
        return np.full(len(values), np.nan)
    return values if record.direction == "higher" else -values


def percentiles(values: np.ndarray) -> np.ndarray:
    """Of each value, the share in per cent of the others that are lower, ties counting half; NaN stays NaN.

    (n,) -> (n,) in [0, 100]; ±inf are values. A value alone has nothing to stand among and gets NaN.
    """
    found = np.full(len(values), np.nan)
    known = ~np.isnan(values)
    ordered = np.sort(values[known])
    if len(ordered) > 1:
        below = np.searchsorted(ordered, values[known], "left")
        ties = np.searchsorted(ordered, values[known], "right") - below - 1
        found[known] = 100 * (below + ties / 2) / (len(ordered) - 1)
    return found


@dataclass(frozen=True)
class _Kept:
    """A run as it was read: at which counters, by which versions and weights, when, in how long; and its roles."""

    counters: tuple[int, int]
    mark: str
    moment: float
    seconds: float
    whole: RunTable
    roles: dict[str, RunTable] = field(default_factory=dict)

    def holds(self, counters: tuple[int, int], mark: str, now: float) -> bool:
        """Whether it may be shown: nothing has changed, or reading it anew would take too large a share of the time."""
        slow = self.seconds > SLOW and now - self.moment < PATIENCE * self.seconds
        return (self.counters, self.mark) == (counters, mark) or slow


_known: OrderedDict[tuple[str, int, str], _Kept] = OrderedDict()
_lock = Lock()


def run_table(store: Store, run: int, role: str = "attack", reference: str = "attacked") -> RunTable:
    """The columns of a run's reconstructions of one role ("" for all), compared with `reference`.

    Up to date, except for a run so large that reading takes over SLOW seconds while something is being scored: that
    one is read anew after PATIENCE times as long, so that pages stay fast.
    """
    asked = (str(store.database.url), run, reference)
    mark = present_mark(store.settings)
    with store.database.read() as connection:
        counters = (change(connection, "scores"), change(connection, "reconstructions"))
        with _lock:
            kept = _known.get(asked)
        if kept is None or not kept.holds(counters, mark, time.monotonic()):
            started = time.monotonic()
            whole = _read(connection, run, reference, store.settings)
            kept = _Kept(counters, mark, time.monotonic(), time.monotonic() - started, whole)
    with _lock:
        _known[asked] = kept
        _known.move_to_end(asked)
        while len(_known) > KEPT:
            _known.popitem(last=False)
    if not role:
        return kept.whole
    if role not in kept.roles:
        kept.roles[role] = kept.whole.of(role)
    return kept.roles[role]


def _read(connection: Connection, run: int, reference: str, settings: Settings) -> RunTable:
    paired = and_(pair.c.reconstruction_id == rec.c.id, pair.c.reference == reference)
    rows = connection.execute(
        select(rec.c.id, rec.c.role, rec.c.target, rec.c.loss, pair.c.id, pair.c.original_id, orig.c.label)
        .outerjoin(pair, paired)
        .outerjoin(orig, orig.c.id == pair.c.original_id)
        .where(rec.c.job_id == run, rec.c.chosen)
        .order_by(rec.c.target, rec.c.id)
    ).all()
    names = (
        select(orig.c.label, orig.c.class_name)
        .join(pair, pair.c.original_id == orig.c.id)
        .join(rec, rec.c.id == pair.c.reconstruction_id)
        .where(rec.c.job_id == run, orig.c.class_name.is_not(None))
        .distinct()
    )
    ids, roles, targets, losses, pairings, originals, labels = zip(*rows, strict=True) if rows else ((),) * 7
    whole = _whole(pairings)
    metrics, scores = score_columns(connection, whole, reference, settings)
    return RunTable(
        ids=_whole(ids),
        roles=_shut(np.array(roles, dtype="U12")),
        targets=_whole(targets),
        losses=_shut(np.array(losses, dtype=np.float64)),  # None becomes NaN
        pairings=whole,
        originals=_whole(originals),
        labels=_whole(labels),
        metrics=metrics,
        scores=scores,
        classes={int(label): str(name) for label, name in connection.execute(names)},
    )


def _whole(values: Sequence[int | None]) -> np.ndarray:
    return _shut(np.fromiter((NONE if v is None else v for v in values), np.int64, len(values)))


def _shut(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array

"""What pages read about set metrics: one figure over all reconstructions of a run, or of its setting. No torch."""

import json
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, select

from core.metrics.sets import SET_METRICS, SetMetric, warning_of
from core.report.present import Kind, shown
from core.settings import Settings
from core.storage.schema import jobs, originals, scores, sets
from core.storage.scores import score_value
from core.storage.sets import Scope, set_name, setting_key
from core.storage.store import Store

OLDER = "Of an older version of the metric; it is being scored anew."


@dataclass(frozen=True)
class SetScore:
    """One set metric's answer over a run, or over all runs of its setting; value None: unavailable, with the reason."""

    metric: str
    title: str
    direction: Literal["higher", "lower"]  # the end that means more leakage
    value: float | None
    reason: str  # why there is no value; "" where there is one
    n: int  # pictures in the smaller of the two sets
    minimum_sample: int  # below it the value is given with a warning
    warning: str  # in a sentence; "" where there is none
    scope: Literal["run", "setting"]
    runs: tuple[int, ...]  # attack jobs whose reconstructions are in the set
    version: str = ""
    weights_hash: str = ""


def set_scores(store: Store, run: int, reference: str = "attacked") -> tuple[SetScore, ...]:
    """The set metrics of a run, then of its setting where several runs share it; () before they are scored.

    reference: what the reconstructions are compared with, "attacked" or "source". In the order of the registry, each
    metric in the version that `core.report.present` chooses.
    """
    found: list[SetScore] = []
    with store.database.read() as connection:
        keys: tuple[tuple[Scope, str], ...] = (("run", str(run)), ("setting", _setting(connection, run)))
        for scope, key in keys:
            newest = select(sets).where(sets.c.name == set_name(scope, key, reference)).order_by(sets.c.id.desc())
            row = connection.execute(newest.limit(1)).first() if key else None
            if row is not None:
                found += _scores(connection, row.id, json.loads(row.rule), store.settings)
    return tuple(found)


def _setting(connection: Connection, run: int) -> str:
    """The key of the run's setting; "" for a run that does not exist."""
    text = connection.execute(select(jobs.c.payload).where(jobs.c.id == run, jobs.c.kind == "attack")).scalar()
    payload = json.loads(text) if text else {}
    if not payload.get("originals"):
        return ""
    first = select(originals.c.dataset).where(originals.c.id == payload["originals"][0])
    return setting_key(payload, str(connection.execute(first).scalar()))


def _scores(connection: Connection, set_id: int, rule: dict[str, Any], settings: Settings) -> list[SetScore]:
    """Each metric's answer in the version that is shown, a value before a reason."""
    asked = select(scores).where(scores.c.subject_kind == "set", scores.c.subject_id == set_id)
    stored: dict[str, dict[tuple[str, str], Any]] = {}
    for row in connection.execute(asked.order_by(scores.c.id)):
        stored.setdefault(row.metric, {})[row.metric_version, row.weights_hash] = row
    found = []
    for name, metric in SET_METRICS.items():
        if name in stored:
            kinds = [Kind(*key, 1, not row.reason, row.id) for key, row in stored[name].items()]
            choice = shown(name, kinds, settings)
            found.append(_score(metric, stored[name][choice.kind.key], rule, OLDER if choice.of else ""))
    return found


def _score(metric: SetMetric, row: Any, rule: dict[str, Any], older: str) -> SetScore:
    sides = (rule["originals"], rule["reconstructions"])
    value = score_value(row)
    notes = [older, warning_of(metric, min(sides))]
    if list(sides) != rule["found"]:
        notes.append(f"Of {max(rule['found']):,} pictures, {max(sides):,} were taken, evenly from first to last.")
    return SetScore(
        metric=metric.name,
        title=metric.title,
        direction=metric.direction,
        value=value,
        reason=row.reason,
        n=min(sides),
        minimum_sample=metric.minimum_sample,
        warning="" if value is None else " ".join(note for note in notes if note),
        scope=rule["scope"],
        runs=tuple(rule["runs"]),
        version=row.metric_version,
        weights_hash=row.weights_hash,
    )

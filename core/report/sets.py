"""What pages read about set metrics: one figure over all reconstructions of a run, or of its setting. No torch."""

import json
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, select

from core.metrics.sets import SET_METRICS, SetMetric, warning_of
from core.storage.schema import jobs, originals, scores, sets
from core.storage.scores import score_value
from core.storage.sets import Scope, set_name, setting_key
from core.storage.store import Store

LEFT_OUT = "Source pictures whose files are gone or damaged, and left out: {:,}."


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


def set_scores(store: Store, run: int, reference: str = "attacked") -> tuple[SetScore, ...]:
    """The set metrics of a run, then of its setting where several runs share it; () before they are scored.

    reference: what the reconstructions are compared with, "attacked" or "source". In the order of the registry, of each
    metric's present version.
    """
    found: list[SetScore] = []
    with store.database.read() as connection:
        keys: tuple[tuple[Scope, str], ...] = (("run", str(run)), ("setting", _setting(connection, run)))
        for scope, key in keys:
            if key:
                found += _newest(connection, set_name(scope, key, reference))
    return tuple(found)


def _newest(connection: Connection, name: str) -> list[SetScore]:
    """Of the newest set of this name that has scores: a set's row is there before it is scored."""
    rows = select(sets.c.id, sets.c.rule).where(sets.c.name == name).order_by(sets.c.id.desc())
    for row in connection.execute(rows).all():
        if found := _scores(connection, row.id, json.loads(row.rule)):
            return found
    return []


def _setting(connection: Connection, run: int) -> str:
    """The key of the run's setting; "" for a run that does not exist."""
    text = connection.execute(select(jobs.c.payload).where(jobs.c.id == run, jobs.c.kind == "attack")).scalar()
    payload = json.loads(text) if text else {}
    if not payload.get("originals"):
        return ""
    first = select(originals.c.dataset).where(originals.c.id == payload["originals"][0])
    return setting_key(payload, str(connection.execute(first).scalar()))


def _scores(connection: Connection, set_id: int, rule: dict[str, Any]) -> list[SetScore]:
    """The newest answer of each metric's present version, a value before a reason."""
    asked = select(scores).where(scores.c.subject_kind == "set", scores.c.subject_id == set_id)
    newest: dict[str, Any] = {}
    for row in connection.execute(asked.order_by(scores.c.reason == "", scores.c.id)):
        if row.metric in SET_METRICS and row.metric_version == SET_METRICS[row.metric].version:
            newest[row.metric] = row
    return [_score(metric, newest[name], rule) for name, metric in SET_METRICS.items() if name in newest]


def _score(metric: SetMetric, row: Any, rule: dict[str, Any]) -> SetScore:
    sides, unreadable = (rule["originals"], rule["reconstructions"]), rule.get("unreadable", 0)
    taken = [sides[0] + unreadable, sides[1]]
    value = score_value(row)
    notes = [warning_of(metric, min(sides))]
    if taken != rule["found"]:
        notes.append(f"Of {max(rule['found']):,} pictures, {max(taken):,} were taken, evenly from first to last.")
    if unreadable:
        notes.append(LEFT_OUT.format(unreadable))
    return SetScore(
        metric=metric.name,
        title=metric.title,
        direction=metric.direction,
        value=value,
        reason=f"{row.reason}. {LEFT_OUT.format(unreadable)}" if row.reason and unreadable else row.reason,
        n=min(sides),
        minimum_sample=metric.minimum_sample,
        warning="" if value is None else " ".join(note for note in notes if note),
        scope=rule["scope"],
        runs=tuple(rule["runs"]),
    )

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

LEFT_OUT = "Source pictures whose files are gone or damaged, and left out: {:,}."
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
            if key:
                found += _newest(connection, set_name(scope, key, reference), store.settings)
    return tuple(found)


def _newest(connection: Connection, name: str, settings: Settings) -> list[SetScore]:
    """Of the newest set of this name that has scores: a set's row is there before it is scored."""
    rows = select(sets.c.id, sets.c.rule).where(sets.c.name == name).order_by(sets.c.id.desc())
    for row in connection.execute(rows).all():
        if found := _scores(connection, row.id, json.loads(row.rule), settings):
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
            found.append(set_score(metric, stored[name][choice.kind.key], rule, OLDER if choice.of else ""))
    return found


def set_score(metric: SetMetric, row: Any, rule: dict[str, Any], older: str) -> SetScore:
    """A stored row of scores with what its set says of it; older: a sentence where the version is not the present."""
    sides, unreadable = (rule["originals"], rule["reconstructions"]), rule.get("unreadable", 0)
    taken = [sides[0] + unreadable, sides[1]]
    value = score_value(row)
    notes = [older, warning_of(metric, min(sides))]
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
        version=row.metric_version,
        weights_hash=row.weights_hash,
    )

"""What pages read about runs: what is in the store, what is running, how far it is. Rows only, no torch."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, func, select

from core.errors import UserError
from core.models.spec import ModelSpec
from core.storage import schema
from core.storage.database import change
from core.storage.store import Store

jobs, shards = schema.jobs, schema.shards
ACTIVE = ("queued", "running", "paused")
ATTACKING = ("attack", "mismatched", "prior", "easy")
CURVE_POINTS = 400
SCORES_QUEUED_WITHIN = 30.0  # seconds; a run that ended longer ago without a score job gets none by itself


@dataclass(frozen=True)
class StoreCounts:
    """What the store holds."""

    runs: int
    originals: int
    reconstructions: int  # chosen, controls left out
    answers: int  # answer events of people
    annotators: int


@dataclass(frozen=True)
class Run:
    """One attack job, how far it is, and the newest job that scores it, in the background or not."""

    id: int
    title: str
    state: str
    wanted: str
    error: str | None
    created: float
    started: float | None
    finished: float | None
    done: int  # steps done, over all shards
    total: int  # steps planned; 0 before the plan exists
    scoring: str | None  # state of the score job; None before it exists
    scoring_error: str | None
    payload: dict[str, Any]
    parent: int | None = None  # the job that asked for it, such as a campaign

    @property
    def share(self) -> float:
        """Share of the planned steps done, 0 to 1; a finished run is whole even if it stopped early."""
        if self.state == "done":
            return 1.0
        return min(1.0, self.done / self.total) if self.total else 0.0

    @property
    def spec(self) -> ModelSpec:
        """The model attacked."""
        return ModelSpec.from_json(json.dumps(self.payload["model"]))

    @property
    def live(self) -> bool:
        """Whether anything about it may still change: the attack, or its scores."""
        return self.state in ACTIVE or self.awaits_scores

    @property
    def awaits_scores(self) -> bool:
        """Whether its scores are being made, or are about to be: the runner queues them as the attack ends."""
        if self.state != "done" or self.scoring is not None:
            return self.scoring in ACTIVE
        return self.finished is not None and time.time() - self.finished < SCORES_QUEUED_WITHIN


@dataclass(frozen=True)
class Frame:
    """An image as it emerges: the newest preview of one slot."""

    target: int
    step: int
    image_sha: str


@dataclass(frozen=True)
class Curve:
    """The attack's own objective of the shards that attack: (step, median, lowest) over the updates."""

    steps: tuple[int, ...]
    median: tuple[float | None, ...]
    lowest: tuple[float | None, ...]


def counts(store: Store) -> StoreCounts:
    """What the store holds, in five counts."""
    rec, events = schema.reconstructions, schema.label_events
    asked: tuple[Select[int], ...] = (
        select(func.count()).select_from(jobs).where(jobs.c.kind == "attack"),
        select(func.count()).select_from(schema.originals),
        select(func.count()).select_from(rec).where(rec.c.chosen, rec.c.role == "attack"),
        select(func.count()).select_from(events).where(events.c.kind == "answer", ~events.c.simulated),
        select(func.count()).select_from(schema.annotators).where(~schema.annotators.c.simulated),
    )
    with store.database.read() as connection:
        return StoreCounts(*(int(connection.execute(statement).scalar_one()) for statement in asked))


def runs(
    store: Store, *, limit: int = 20, offset: int = 0, active: bool | None = None, results: bool | None = None,
    alone: bool = False,
) -> list[Run]:  # fmt: skip
    """Attack jobs, newest first.

    active: True for queued, running and paused ones, False for the others.
    results: True for those that have stored a reconstruction of the attack, False for those that have not.
    alone: leave out what a campaign asked for.
    """
    statement = select(jobs).where(jobs.c.kind == "attack").order_by(jobs.c.id.desc()).limit(limit).offset(offset)
    if alone:
        parent = jobs.alias("parent")
        asked = select(parent.c.id).where(parent.c.id == jobs.c.parent_id, parent.c.kind == "campaign").exists()
        statement = statement.where(~asked)
    if active is not None:
        statement = statement.where(jobs.c.state.in_(ACTIVE) if active else jobs.c.state.not_in(ACTIVE))
    if results is not None:
        rec = schema.reconstructions
        stored = select(rec.c.id).where(rec.c.job_id == jobs.c.id, rec.c.chosen, rec.c.role == "attack").exists()
        statement = statement.where(stored if results else ~stored)
    with store.database.read() as connection:
        return _runs(connection, connection.execute(statement).all())


def run(store: Store, run_id: int) -> Run:
    """One attack job; UserError when the store has none of this id."""
    with store.database.read() as connection:
        rows = connection.execute(select(jobs).where(jobs.c.kind == "attack", jobs.c.id == run_id)).all()
        found = _runs(connection, rows)
    if not found:
        raise UserError(f"There is no run {run_id} in this store; choose one from the list.")
    return found[0]


def _runs(connection: Connection, rows: Sequence[Any]) -> list[Run]:
    ids = [row.id for row in rows]
    steps = {
        row.job_id: (int(row.done or 0), int(row.total or 0))
        for row in connection.execute(
            select(shards.c.job_id, func.sum(shards.c.step).label("done"), func.sum(shards.c.total).label("total"))
            .where(shards.c.job_id.in_(ids), shards.c.state != "split")
            .group_by(shards.c.job_id)
        )
    }
    scoring = {
        row.parent_id: row
        for row in connection.execute(
            select(jobs.c.parent_id, jobs.c.state, jobs.c.error)
            .where(jobs.c.kind.in_(("score", "rescore")), jobs.c.parent_id.in_(ids))
            .order_by(jobs.c.id)
        )
    }
    return [_run(row, steps.get(row.id, (0, 0)), scoring.get(row.id)) for row in rows]


def _run(row: Any, steps: tuple[int, int], scoring: Any) -> Run:
    return Run(
        id=row.id,
        title=row.title,
        state=row.state,
        wanted=row.wanted,
        error=row.error,
        created=row.created,
        started=row.started,
        finished=row.finished,
        done=steps[0],
        total=steps[1],
        scoring=scoring.state if scoring else None,
        scoring_error=scoring.error if scoring else None,
        payload=json.loads(row.payload),
        parent=row.parent_id,
    )


def remaining_seconds(store: Store, run_id: int, now: float | None = None) -> float | None:
    """Time to the end at the pace of the last minutes; None while there is no pace to go by.

    The pace is taken from the stored progress of the shards that run, so a pause does not slow it down.
    """
    progress = schema.job_progress
    moment = time.time() if now is None else now
    with store.database.read() as connection:
        rows = connection.execute(
            select(shards.c.id, shards.c.state, shards.c.step, shards.c.total).where(
                shards.c.job_id == run_id, shards.c.state.in_(("queued", "running"))
            )
        ).all()
        points = connection.execute(
            select(progress.c.shard_id, progress.c.step, progress.c.time)
            .where(progress.c.shard_id.in_([r.id for r in rows]), progress.c.time > moment - 120)
            .order_by(progress.c.time)
        ).all()
    pace = 0.0
    for shard in rows:
        own = [p for p in points if p.shard_id == shard.id]
        if len(own) > 1 and own[-1].time > own[0].time:
            pace += (own[-1].step - own[0].step) / (own[-1].time - own[0].time)
    left = sum(max(0, r.total - r.step) for r in rows)
    return left / pace if pace > 0 else None


def curve(store: Store, run_id: int, role: str = "attack") -> Curve:
    """The loss curve, at most CURVE_POINTS points; losses that are not finite are left out of the median."""
    progress = schema.job_progress
    statement = (
        select(progress.c.step, progress.c.losses)
        .join(shards, shards.c.id == progress.c.shard_id)
        .where(shards.c.job_id == run_id, shards.c.role == role)
        .order_by(progress.c.step)
    )
    merged: dict[int, list[float]] = {}
    with store.database.read() as connection:
        for step, losses in connection.execute(statement):
            merged.setdefault(step, []).extend(x for x in json.loads(losses) if isinstance(x, int | float))
    steps = sorted(merged)
    stride = max(1, -(-len(steps) // CURVE_POINTS))
    kept = steps[::stride] + ([steps[-1]] if steps and (len(steps) - 1) % stride else [])
    return Curve(
        steps=tuple(kept),
        median=tuple(_median(merged[step]) for step in kept),
        lowest=tuple(min(merged[step], default=None) for step in kept),
    )


def frames(store: Store, run_id: int, limit: int = 8) -> list[Frame]:
    """The newest preview of each of the first `limit` slots that have one, attack shards only."""
    previews = schema.previews
    newest = (
        select(previews.c.target, func.max(previews.c.step).label("step"))
        .join(shards, shards.c.id == previews.c.shard_id)
        .where(shards.c.job_id == run_id, shards.c.role == "attack")
        .group_by(previews.c.target)
        .order_by(previews.c.target)
        .limit(limit)
        .subquery()
    )
    statement = (
        select(previews.c.target, previews.c.step, previews.c.image_sha)
        .join(shards, shards.c.id == previews.c.shard_id)
        .join(newest, (newest.c.target == previews.c.target) & (newest.c.step == previews.c.step))
        .where(shards.c.job_id == run_id, shards.c.role == "attack")
        .order_by(previews.c.target)
    )
    with store.database.read() as connection:
        return [Frame(*row) for row in connection.execute(statement)]


def flat_settings(values: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as (dotted name, text); long lists are counted, for the JSON holds them whole."""
    if isinstance(values, dict):
        return [
            row
            for key in sorted(values)
            for row in flat_settings(values[key], f"{prefix}.{key}" if prefix else str(key))
        ]
    if isinstance(values, list) and len(values) > 12:
        return [(prefix, f"{len(values)} entries")]
    return [(prefix, json.dumps(values, ensure_ascii=False) if not isinstance(values, str) else values)]


def changes(store: Store, names: Sequence[str] = ("jobs", "reconstructions", "scores", "labels")) -> tuple[int, ...]:
    """The change counters of these names: equal tuples mean that nothing happened in between."""
    with store.database.read() as connection:
        return tuple(change(connection, name) for name in names)


def job_states(store: Store) -> tuple[tuple[Any, ...], ...]:
    """How many jobs of each kind are in each state, and settings refused: what stays equal while jobs get on."""
    jobs, settings = schema.jobs, schema.campaign_settings
    kinds = select(jobs.c.kind, jobs.c.state, func.count()).group_by(jobs.c.kind, jobs.c.state)
    linked = select(
        func.count(settings.c.attack_job_id), func.count(settings.c.train_job_id), func.count(settings.c.error)
    )
    with store.database.read() as connection:
        found = [tuple(row) for row in connection.execute(kinds.order_by(jobs.c.kind, jobs.c.state))]
        return (*found, tuple(connection.execute(linked).one()))


def _median(values: Sequence[float]) -> float | None:
    if not values:
        return None
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2

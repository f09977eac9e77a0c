"""What pages read about trainings: how far each is, its curve, and how long it still takes. Rows only, no torch."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, func, select

from core.errors import UserError
from core.models.spec import ModelSpec
from core.models.training.progress import EpochRow
from core.models.training.recipe import Recipe
from core.report.runs import ACTIVE, remaining_seconds
from core.storage import schema
from core.storage.store import Store

jobs, shards, epochs = schema.jobs, schema.shards, schema.training_epochs
KIND = "train"
RECENT = 5  # epochs that a pace is taken from


@dataclass(frozen=True)
class TrainingJob:
    """One training as a list shows it. `last` is its newest epoch; None before the first."""

    id: int
    title: str
    state: str
    wanted: str
    error: str | None
    parent_id: int | None  # the campaign that asked for it
    created: float
    started: float | None
    finished: float | None
    step: int  # optimiser steps done
    total: int  # 0 before the first
    spec: ModelSpec
    dataset: str
    data: dict[str, Any]  # a core.images.dataset.DataChoice
    recipe: Recipe
    record: dict[str, Any]  # versions, device, threads, privacy, warnings, seconds
    last: EpochRow | None

    @property
    def share(self) -> float:
        """Share of the steps done, 0 to 1."""
        if self.state == "done":
            return 1.0
        return min(1.0, self.step / self.total) if self.total else 0.0

    @property
    def live(self) -> bool:
        """Whether it may still change."""
        return self.state in ACTIVE


@dataclass(frozen=True)
class TrainingView:
    """One training with its curve."""

    job: TrainingJob
    rows: tuple[EpochRow, ...]  # by epoch
    seconds_left: float | None  # None when it does not run, or while there is no pace to go by
    images_per_second: float | None  # mean over the newest epochs


def training_jobs(store: Store, *, limit: int = 200) -> list[TrainingJob]:
    """The newest trainings first, each with its newest epoch."""
    statement = select(jobs).where(jobs.c.kind == KIND).order_by(jobs.c.id.desc()).limit(limit)
    with store.database.read() as connection:
        return _jobs(connection, connection.execute(statement).all())


def training(store: Store, job_id: int) -> TrainingView:
    """One training; UserError when there is none of this number."""
    with store.database.read() as connection:
        rows = connection.execute(select(jobs).where(jobs.c.id == job_id, jobs.c.kind == KIND)).all()
        if not rows:
            raise UserError(f"There is no training {job_id}; pick one from the list of trainings.")
        job = _jobs(connection, rows)[0]
        curve = connection.execute(
            select(epochs.c.time, epochs.c.facts).where(epochs.c.job_id == job_id).order_by(epochs.c.epoch)
        ).all()
    found = tuple(epoch_row(row.facts) for row in curve)
    paces = [row.images_per_second for row in found[-RECENT:] if math.isfinite(row.images_per_second)]
    left = None
    if job.state == "running":
        left = remaining_seconds(store, job_id) or _from_epochs(job, [row.time for row in curve])
    return TrainingView(job, found, left, sum(paces) / len(paces) if paces else None)


def epoch_row(text: str) -> EpochRow:
    """An EpochRow as it was stored; what was no finite number is NaN again."""
    values: dict[str, Any] = json.loads(text)
    for name, value in values.items():
        if value is None and name != "epsilon":
            values[name] = math.nan
    return EpochRow(**values)


def _from_epochs(job: TrainingJob, times: Sequence[float]) -> float | None:
    """For trainings so long that the progress of two minutes says nothing: the newest epochs' pace."""
    recent = times[-RECENT:]
    if len(recent) < 2:
        return None
    return max(0, job.recipe.epochs - len(times)) * (recent[-1] - recent[0]) / (len(recent) - 1)


def _jobs(connection: Connection, rows: Sequence[Row[Any]]) -> list[TrainingJob]:
    ids = [row.id for row in rows]
    sums = (
        select(shards.c.job_id, func.sum(shards.c.step).label("step"), func.sum(shards.c.total).label("total"))
        .where(shards.c.job_id.in_(ids), shards.c.state != "split")
        .group_by(shards.c.job_id)
    )
    steps = {row.job_id: (int(row.step or 0), int(row.total or 0)) for row in connection.execute(sums)}
    newest = (
        select(epochs.c.job_id, func.max(epochs.c.epoch).label("epoch"))
        .where(epochs.c.job_id.in_(ids))
        .group_by(epochs.c.job_id)
        .subquery()
    )
    last = select(epochs.c.job_id, epochs.c.facts).join(
        newest, (newest.c.job_id == epochs.c.job_id) & (newest.c.epoch == epochs.c.epoch)
    )
    facts = {row.job_id: epoch_row(row.facts) for row in connection.execute(last)}
    return [_job(row, steps.get(row.id, (0, 0)), facts.get(row.id)) for row in rows]


def _job(row: Row[Any], steps: tuple[int, int], last: EpochRow | None) -> TrainingJob:
    payload: dict[str, Any] = json.loads(row.payload)
    return TrainingJob(
        id=row.id,
        title=row.title,
        state=row.state,
        wanted=row.wanted,
        error=row.error,
        parent_id=row.parent_id,
        created=row.created,
        started=row.started,
        finished=row.finished,
        step=steps[0],
        total=steps[1],
        spec=ModelSpec.from_json(json.dumps(payload["model"])),
        dataset=payload["data"]["dataset"],
        data=payload["data"],
        recipe=Recipe.from_dict(payload["recipe"]),
        record=json.loads(row.record) if row.record else {},
        last=last,
    )

"""Trainings as pages read them: state, curve, pace and time left."""

import json
import math
import time
from dataclasses import asdict

import pytest

from core.errors import UserError
from core.images.dataset import DataChoice
from core.jobs.payloads import TrainJob
from core.jobs.queue import submit
from core.models.spec import ModelSpec
from core.models.training.progress import EpochRow
from core.models.training.recipe import Recipe
from core.report.training import training, training_jobs
from core.storage import schema
from core.storage.store import Store

SPEC = ModelSpec("lenet", num_classes=2)


def job(store: Store, state: str = "running", seed: int = 0, epochs: int = 10) -> int:
    payload = TrainJob(SPEC, DataChoice("lfw"), Recipe(epochs=epochs, seed=seed).to_dict())
    number = submit(store, payload, f"train lenet {seed}").job_id
    with store.database.write() as connection:
        connection.execute(schema.jobs.update().where(schema.jobs.c.id == number).values(state=state))
    return number


def epoch(store: Store, job_id: int, number: int, moment: float, **changes: object) -> EpochRow:
    row = EpochRow(number, 0.1, 2.0 / number, 0.5, 2.0, 0.25, 1.5, 100.0 * number)
    facts = {**asdict(row), **changes}
    with store.database.write() as connection:
        values = {"job_id": job_id, "epoch": number, "time": moment, "facts": json.dumps(facts)}
        connection.execute(schema.training_epochs.insert().values(**values))
    return row


def shard(store: Store, job_id: int, step: int, total: int) -> int:
    values = {"job_id": job_id, "position": 0, "role": "train", "plan": "{}", "state": "running"}
    with store.database.write() as connection:
        made = connection.execute(schema.shards.insert().values(**values, step=step, total=total))
        return made.inserted_primary_key[0]


def test_the_curve_comes_by_epoch_and_what_has_no_value_is_nan(store: Store) -> None:
    number = job(store)
    second = epoch(store, number, 2, 20.0)
    first = epoch(store, number, 1, 10.0, held_out_accuracy=None)
    view = training(store, number)
    assert view.rows[1] == second
    assert math.isnan(view.rows[0].held_out_accuracy)
    assert (view.rows[0].epsilon, view.rows[0].train_loss) == (None, first.train_loss)
    assert view.images_per_second == 150.0
    assert (view.job.last, view.job.recipe.epochs, view.job.dataset, view.job.spec) == (second, 10, "lfw", SPEC)


def test_time_left_is_taken_from_the_steps_and_for_slow_trainings_from_the_epochs(store: Store) -> None:
    number, now = job(store), time.time()
    place = shard(store, number, 30, 100)
    assert training(store, number).seconds_left is None
    for count in (1, 2, 3):
        epoch(store, number, count, now - 10_000 + 1000 * count)
    assert training(store, number).seconds_left == 7 * 1000.0  # 7 epochs are left
    with store.database.write() as connection:
        for step, ago in ((10, 21.0), (30, 1.0)):  # 1 step a second, of which 70 are left
            values = {"shard_id": place, "step": step, "time": now - ago, "losses": "[1.0]"}
            connection.execute(schema.job_progress.insert().values(**values))
    assert training(store, number).seconds_left == pytest.approx(70.0)
    assert training(store, number).job.share == pytest.approx(0.3)


def test_the_list_has_the_newest_first_each_with_its_own_last_epoch(store: Store) -> None:
    old, new = job(store, "done", seed=1), job(store, "queued", seed=2)
    epoch(store, old, 1, 1.0)
    last = epoch(store, old, 2, 2.0)
    found = training_jobs(store)
    assert [(one.id, one.state, one.last, one.share, one.live) for one in found] == [
        (new, "queued", None, 0.0, True),
        (old, "done", last, 1.0, False),
    ]
    assert [one.id for one in training_jobs(store, limit=1)] == [new]
    with pytest.raises(UserError, match="no training 99"):
        training(store, 99)

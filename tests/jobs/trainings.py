"""Small trainings for the tests of this folder: the bundled faces, and a model that learns them in a second."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from core.images.dataset import DataChoice
from core.jobs import compute_train
from core.jobs.progress import BEAT_SECONDS
from core.jobs.runner import Runner
from core.jobs.training import TrainRequest, final_model, submit_training, victim_spec
from core.models.spec import ModelSpec
from core.models.training.recipe import Recipe
from core.storage import schema
from core.storage.store import Store

QUICK = Recipe(epochs=4, batch_size=8, optimiser="adam", learning_rate=0.003, momentum=0.0, schedule="cosine")
FACES = DataChoice("lfw", per_class=12)


def victim(store: Store) -> ModelSpec:
    """A LeNet on 16×16 grey pictures."""
    return victim_spec("lenet", "lfw", store.settings, size=16, channels=1)


def request(store: Store, data: DataChoice = FACES, **recipe: Any) -> TrainRequest:
    """A training on a few faces and other crops."""
    return TrainRequest(victim(store), "lenet", data, replace(QUICK, **recipe), "cpu")


def begun(store: Store, **recipe: Any) -> int:
    """The job of a new training."""
    return submit_training(store, request(store, **recipe), anew=True).job_id


def run_until_idle(store: Store) -> None:
    """All that is queued, in this process."""
    Runner(store).run(until_idle=True)


def weights_of_undisturbed(store: Store, **recipe: Any) -> str:
    """sha256 of the weights that the same training ends with when nothing interrupts it."""
    calm = replace(store, settings=replace(store.settings, executor="inline", checkpoint_seconds=1e6))
    job = begun(calm, **recipe)
    run_until_idle(calm)
    return final_model(calm, job).spec.weights_sha256


def shard(store: Store, job: int) -> Any:
    """The row of the one shard; None before there is one."""
    with store.database.read() as connection:
        return connection.execute(select(schema.shards).where(schema.shards.c.job_id == job)).first()


def curve(store: Store, job: int) -> list[int]:
    """Epochs that the store has a row of."""
    rows = select(schema.training_epochs.c.epoch).where(schema.training_epochs.c.job_id == job)
    with store.database.read() as connection:
        return sorted(connection.execute(rows).scalars())


def hold_at(monkeypatch: Any, step: int, seconds: float = 30.0) -> None:
    """Every training waits at this step until it is asked to stop: a pause meets it halfway, however fast it is."""
    import time

    told = compute_train.WorkerTraining.step

    def held(self: Any, done: int, total: int, loss: float | None) -> None:
        self._beat -= BEAT_SECONDS  # so that it is told
        told(self, done, total, loss)
        until = time.monotonic() + seconds
        while done == step and not self._stop() and time.monotonic() < until:
            time.sleep(0.01)

    monkeypatch.setattr(compute_train.WorkerTraining, "step", held)


def turn_until(runner: Runner, condition: Callable[[], bool]) -> None:
    """Let the runner do its rounds until this is so."""
    for _ in range(200):
        if condition():
            return
        runner.turn()
    pytest.fail("it did not happen within 200 rounds")


def finite(row: Mapping[str, Any]) -> bool:
    """Whether a row of a curve has all its numbers."""
    return all(row[name] is not None for name in ("train_loss", "held_out_accuracy", "gradient_norm"))

"""Rows of trainings as the runner leaves them, without training: for tests of pages and reports."""

import json
import time
from dataclasses import asdict, replace

import numpy as np
from safetensors.numpy import save
from sqlalchemy import update

from core.images.dataset import DataChoice
from core.jobs.queue import store_model
from core.jobs.training import TrainRequest, submit_training, victim_spec
from core.models.spec import ModelSpec
from core.models.training.progress import EpochRow
from core.models.training.recipe import Recipe
from core.storage import schema
from core.storage.store import Store

QUICK = Recipe(epochs=4, batch_size=20, learning_rate=0.05, keep_epochs="2")
FACES = DataChoice("lfw", count=40)


def training_rows(
    store: Store, *, epochs: int = 4, state: str = "done", recipe: Recipe = QUICK, data: DataChoice = FACES,
    architecture: str = "lenet", name: str = "faces", epsilon: float | None = None, error: str | None = None,
) -> int:  # fmt: skip
    """A training of `recipe.epochs` epochs of which `epochs` are over; returns its job. Nothing was trained."""
    spec = victim_spec(architecture, data.dataset, store.settings)
    job = submit_training(store, TrainRequest(spec, name, data, recipe), anew=True).job_id
    now = time.time()
    rows = [epoch_row(epoch, None if epsilon is None else epsilon * epoch / epochs) for epoch in range(1, epochs + 1)]
    with store.database.write() as connection:
        values = {"state": state, "started": now - 60, "error": error, "record": json.dumps({"device": "cpu"})}
        if state in ("done", "failed", "cancelled"):
            values["finished"] = now
        connection.execute(update(schema.jobs).where(schema.jobs.c.id == job).values(**values))
        for row in rows:
            facts = json.dumps({k: None if v != v else v for k, v in asdict(row).items()})
            connection.execute(
                schema.training_epochs.insert().values(job_id=job, epoch=row.epoch, time=now + row.epoch, facts=facts)
            )
    return job


def epoch_row(epoch: int, epsilon: float | None = None) -> EpochRow:
    """One epoch of a curve that falls as it should; the first has no accuracy in training, as with mixup."""
    return EpochRow(
        epoch=epoch, learning_rate=0.05, train_loss=1 / epoch, train_accuracy=float("nan") if epoch == 1 else 0.9,
        held_out_loss=2 / epoch, held_out_accuracy=1 - 0.5 / epoch, gradient_norm=3 / epoch, images_per_second=400.0,
        epsilon=epsilon,
    )  # fmt: skip


def trained_model(
    store: Store, job: int, *, epoch: int = 4, final: bool = True, epsilon: float | None = None
) -> tuple[int, ModelSpec]:
    """A stored model of that training, with weights of one number; returns its id and its spec."""
    weights = save({"number": np.full((1,), 10.0 * job + epoch, np.float32)})
    sha = store.artifacts.put_bytes(weights, ".safetensors")
    with store.database.read() as connection:
        payload = json.loads(connection.execute(schema.jobs.select().where(schema.jobs.c.id == job)).one().payload)
    asked = ModelSpec.from_json(json.dumps(payload["model"]))
    spec = replace(asked, weights_sha256=sha, origin=f"trained by job {job}")
    model = store_model(store, spec, f"faces, epoch {epoch}", weights)
    facts = {
        "accuracy": 0.875, "held_out": 40, "final": final, "epoch": epoch, "parameters": 9674, "epsilon": epsilon,
        "dataset": payload["data"]["dataset"], "recipe": payload["recipe"],
    }  # fmt: skip
    with store.database.write() as connection:
        connection.execute(
            update(schema.models)
            .where(schema.models.c.id == model)
            .values(job_id=job, epoch=epoch, facts=json.dumps(facts))
        )
    return model, spec

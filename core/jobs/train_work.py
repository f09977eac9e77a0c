"""What the runner does for a job that trains a victim: one shard, the curve, and the weights that come of it."""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from sqlalchemy import Connection, Row, select

from core.jobs import results
from core.jobs.events import Event
from core.jobs.keys import training_key
from core.jobs.kinds import Kind, Later, Task
from core.jobs.material import weights_of
from core.jobs.payloads import TrainJob
from core.jobs.plan import ShardPlan
from core.jobs.prepared import prepared_images
from core.jobs.results import ShardRow
from core.jobs.shards import TrainShard
from core.jobs.training import TITLE, recipe_words
from core.models.spec import ModelSpec, spec_identity
from core.models.training.recipe import Recipe
from core.settings import Settings
from core.storage.database import bump, insert_once
from core.storage.schema import models, training_epochs
from core.storage.store import Store

ROLE = "train"


def plan(task: Task) -> list[ShardPlan]:
    """One shard. What it needs is looked at here, so that a broken image fails the job before anything else is done."""
    payload = _train(task)
    prepared_images(task.store.settings, payload.data, payload.model, task.beat)
    start_weights(payload, task.store.settings, task.store)
    return [ShardPlan(ROLE, (0,))]


def shard_bytes(task: Task, _plan: ShardPlan, row: Row[Any]) -> bytes:
    """Model, recipe, images, the key of a private training, and the newest checkpoint."""
    payload, settings = _train(task), task.store.settings
    images = prepared_images(settings, payload.data, payload.model, task.beat)
    return TrainShard(
        spec=payload.model,
        recipe=payload.recipe,
        images=images.images,
        labels=images.labels,
        held_images=images.held_images,
        held_labels=images.held_labels,
        weights=start_weights(payload, settings, task.store),
        key=training_key(task.store, task.job_id, payload),
        device=task.device(),
        threads=settings.threads,
        checkpoint=task.checkpoint(row),
        checkpoint_number=row.checkpoint_version,
        checkpoint_seconds=settings.checkpoint_seconds,
    ).to_bytes()


def writes(task: Task, shard: ShardRow, event: Event) -> list[Later]:
    """A row of the curve, the weights of a chosen epoch, or the last weights."""
    if event.kind == "epoch":
        return [lambda c: _store_epochs(c, shard.job_id, [event.values["row"]])]
    if event.kind == "kept":
        kept = _model_row(task, event, event.values["row"], final=False)
        return [lambda c: _store_model(c, kept)]
    if event.kind == "trained":
        last = _model_row(task, event, event.values["rows"][-1], final=True)
        return [
            lambda c: _store_epochs(c, shard.job_id, event.values["rows"]),
            lambda c: _store_model(c, last),
            lambda c: results.add_to_record(c, shard.job_id, event),
        ]
    return []


KIND = Kind(plan, shard_bytes, writes, advice="try a smaller batch, a smaller model or another device")


def trained_facts(payload: TrainJob, row: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """What is told of a stored model: its epoch's row, and what the worker said. What is no finite number is None."""
    recipe = Recipe.from_dict(payload.recipe)
    facts: dict[str, Any] = {name: _number(value) for name, value in row.items()}
    record = values.get("record", {})
    facts |= {
        "accuracy": facts.pop("held_out_accuracy"),
        **{name: values[name] for name in ("images", "held_out", "parameters")},
        "dataset": payload.data.dataset,
        "data": asdict(payload.data),
        "recipe": payload.recipe,
        "recipe_words": recipe_words(recipe),
        "epochs": recipe.epochs,
    }
    if "seconds" in record:
        facts["seconds"] = record["seconds"]  # of computing, over all attempts
    if privacy := record.get("privacy"):
        facts |= {name: privacy[name] for name in ("delta", "sampling_rate", "unit")} | {"privacy": privacy}
    return facts


def start_weights(payload: TrainJob, settings: Settings, store: Store | None) -> bytes | None:
    """The weights that a training starts from; None where they are drawn. UserError where they are not to be had."""
    if payload.recipe.get("start") != "imagenet":
        return None if store is None else weights_of(store, payload.model)
    from safetensors.torch import save  # the one training that needs torch in the runner's own process

    from core.models.pretrained import pretrained_state

    return save(dict(pretrained_state(payload.model, settings)))


def _model_row(task: Task, event: Event, row: Mapping[str, Any], *, final: bool) -> dict[str, Any]:
    """The row of a model; its weights' file is written here and now."""
    payload, epoch = _train(task), int(row["epoch"])
    sha = task.store.artifacts.put_bytes(event.arrays["weights"].tobytes(), ".safetensors")
    origin = f"trained by job {task.job_id}" + ("" if final else f", epoch {epoch}")
    spec: ModelSpec = replace(payload.model, weights_sha256=sha, origin=origin)
    facts = trained_facts(payload, row, event.values)
    name = task.title.removeprefix(TITLE)
    return {
        "name": (name if final else f"{name} · epoch {epoch}")[:200],
        "spec": spec.to_json(),
        "identity": spec_identity(spec),
        "weights_sha": sha,
        "origin": origin,
        "job_id": task.job_id,
        "epoch": epoch,
        "facts": json.dumps({**facts, "final": final}, sort_keys=True),
        "created": time.time(),
    }


def _store_model(connection: Connection, row: Mapping[str, Any]) -> None:
    """Once for each epoch: a training that goes on from a checkpoint may come by it again."""
    same = (models.c.job_id == row["job_id"]) & (models.c.epoch == row["epoch"])
    if connection.execute(select(models.c.id).where(same).limit(1)).first() is None:
        insert_once(connection, models, [row])


def _store_epochs(connection: Connection, job_id: int, rows: list[dict[str, Any]]) -> None:
    now = time.time()
    lines = [
        {
            "job_id": job_id,
            "epoch": int(row["epoch"]),
            "time": now,
            "facts": json.dumps({name: _number(value) for name, value in row.items()}, sort_keys=True),
        }
        for row in rows
    ]
    insert_once(connection, training_epochs, lines)
    bump(connection, "jobs")


def _number(value: Any) -> Any:
    """None for what JSON cannot hold."""
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _train(task: Task) -> TrainJob:
    if not isinstance(task.payload, TrainJob):
        raise TypeError(f"A job of the kind {task.payload.kind} trains nothing.")
    return task.payload

"""Storing what workers send: files first, then rows, each result once however often it is delivered."""

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Connection, and_, insert, select, update

from core.jobs.events import Event
from core.jobs.payloads import AttackJob
from core.jobs.plan import ShardPlan
from core.leakage.pairing import pair_batches, pair_nearest
from core.storage.artifacts import ArtifactStore
from core.storage.database import bump, insert_once
from core.storage.schema import job_progress, jobs, pairings, previews, reconstructions, shards, updates

SHOWN_SLOTS = 16  # images of a run whose emerging frames are kept


@dataclass(frozen=True)
class ShardRow:
    """A shard that runs: its row's id, its job, and what it does."""

    id: int
    job_id: int
    plan: ShardPlan


@dataclass(frozen=True)
class PairedImage:
    """One attacked image, stored as a file, with the original that it is compared with."""

    target: int  # slot within the job
    restart: int
    image_sha: str
    place: int  # of the original in payload.originals
    cost: float | None


def store_facts(connection: Connection, shard: ShardRow, payload: AttackJob, event: Event) -> None:
    """One row for each update that was made; a control makes the same ones again, which add none.

    The easy case's updates are others: they have no row.
    """
    if shard.plan.role == "easy":
        return
    rows = [
        {
            "job_id": shard.job_id,
            "position": position,
            "batch_size": payload.threat.batch_size,
            "gradient_norm": finite(event.arrays["gradient_norm"][n]),
            "loss": finite(event.arrays["loss"][n]),
        }
        for n, position in enumerate(shard.plan.targets)
    ]
    insert_once(connection, updates, rows)
    warnings = {str(u): w for u, w in zip(shard.plan.targets, event.values["warnings"], strict=True) if w}
    if warnings:
        record = read_record(connection, shard.job_id)
        record["warnings"] = {**record.get("warnings", {}), **warnings}
        write_record(connection, shard.job_id, record)


def store_progress(connection: Connection, shard: ShardRow, event: Event) -> None:
    """The shard's step, and a point of its loss curve when it is one."""
    step, total = event.values["step"], event.values["total"]
    connection.execute(update(shards).where(shards.c.id == shard.id).values(step=step, total=total))
    alike = and_(shards.c.job_id == shard.job_id, shards.c.total == 0, shards.c.state == "queued")
    connection.execute(update(shards).where(alike).values(total=total))  # so that the job's share done is true
    if event.values["curve"]:
        losses = json.dumps([finite(value) for value in event.arrays["losses"]])
        row = {"shard_id": shard.id, "step": step, "time": time.time(), "losses": losses}
        insert_once(connection, job_progress, [row])


def preview_rows(artifacts: ArtifactStore, shard: ShardRow, event: Event) -> list[dict[str, Any]]:
    """Rows of the emerging images of the run's first slots; writes their files."""
    images = event.arrays["images"]
    size = images.shape[1]
    slots = [
        (u * size + b, images[n, b])
        for n, u in enumerate(shard.plan.targets)
        for b in range(size)
        if u * size + b < SHOWN_SLOTS
    ]
    step = event.values["step"]
    return [
        {"shard_id": shard.id, "target": slot, "step": step, "image_sha": artifacts.put_png(pixels)}
        for slot, pixels in slots
    ]


def store_previews(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Each frame once: a shard that goes on from a checkpoint shows some again."""
    insert_once(connection, previews, rows)


def store_checkpoint(connection: Connection, shard: ShardRow, event: Event, sha: str) -> str | None:
    """Name the shard's newest checkpoint, and start its attempts anew: it got further. Returns the one it replaces."""
    values = {"checkpoint_version": event.values["number"], "step": event.values["step"], "attempt": 1}
    return _change_checkpoint(connection, shard, {**values, "checkpoint_sha": sha})


def finish_shard(connection: Connection, shard: ShardRow) -> str | None:
    """The shard's results are stored. Returns the checkpoint that nobody needs any more."""
    values = {"state": "done", "checkpoint_sha": None, "step": shards.c.total, "error": None}
    return _change_checkpoint(connection, shard, values)


def pair_images(
    artifacts: ArtifactStore, shard: ShardRow, payload: AttackJob, event: Event, originals: Sequence[np.ndarray]
) -> tuple[list[PairedImage], str, str]:
    """Write the images of a result and find the original of each: (images, method, name of the cost).

    originals: uint8 (H, W, C), all of the shard's targets in order: what a control was meant to attack.
    """
    images = event.arrays["images"]
    count, restarts, size = images.shape[:3]
    slots = payload.threat.batch_size  # of an update; the easy case attacks the first of them alone
    stacked = np.stack(originals).reshape(count, slots, *images.shape[3:])[:, :size]
    pairing = pair_batches(stacked, images)
    paired = [
        PairedImage(
            target=u * slots + b,
            restart=r,
            image_sha=artifacts.put_png(images[n, r, b]),
            place=u * slots + int(pairing.permutation[n, r, b]),
            cost=None if pairing.method == "given" else finite(pairing.costs[n, r, b]),
        )
        for n, u in enumerate(shard.plan.targets)
        for r in range(restarts)
        for b in range(size)
    ]
    return paired, pairing.method, pairing.cost_name


def pair_with_nearest(
    artifacts: ArtifactStore,
    shard: ShardRow,
    payload: AttackJob,
    event: Event,
    originals: Sequence[np.ndarray],
    labels: Sequence[int],
) -> tuple[list[PairedImage], str, str]:
    """As `pair_images`, for what was made from the model alone: each image goes to the nearest original of its class.

    originals, labels: all of the job. A control is compared with the class that its target has.
    """
    images, slots = event.arrays["images"], payload.threat.batch_size
    classes = np.array([[labels[u * slots + b] for b in range(images.shape[2])] for u in shard.plan.targets])
    pairing = pair_nearest(originals, labels, images, classes)
    paired = [
        PairedImage(
            target=shard.plan.targets[n] * slots + b,
            restart=r,
            image_sha=artifacts.put_png(images[n, r, b]),
            place=int(pairing.permutation[n, r, b]),
            cost=finite(pairing.costs[n, r, b]),
        )
        for n, r, b in np.ndindex(*images.shape[:3])
    ]
    return paired, pairing.method, pairing.cost_name


def store_reconstructions(
    connection: Connection,
    shard: ShardRow,
    payload: AttackJob,
    event: Event,
    paired: tuple[list[PairedImage], str, str],
) -> int:
    """Reconstructions with their pairings, and labels recovered; returns how many landed (0 when they were there)."""
    images, method, cost_name = paired
    size = payload.threat.batch_size
    position = {u: n for n, u in enumerate(shard.plan.targets)}
    known = select(updates.c.position, updates.c.id).where(updates.c.job_id == shard.job_id)
    update_ids = {row.position: row.id for row in connection.execute(known)}
    landed = 0
    for image in images:
        u, b = divmod(image.target, size)
        n, r = position[u], image.restart
        row = {
            "job_id": shard.job_id,
            "update_id": update_ids.get(u),
            "role": shard.plan.role,
            "target": image.target,
            "restart": r,
            "chosen": bool(event.arrays["chosen"][n] == r),
            "image_sha": image.image_sha,
            "loss": finite(event.arrays["losses"][n, r]),
            "label": int(event.arrays["labels"][n, r, b]),
            "iterations": int(event.arrays["iterations"][n, r]),
            "seconds": float(event.values["seconds"]) / len(shard.plan.targets),
            "status": str(event.values["status"][n])[:200],
            "created": time.time(),
        }
        if not insert_once(connection, reconstructions, [row]):
            continue
        landed += 1
        names = ("job_id", "role", "target", "restart")
        same = and_(*(reconstructions.c[name] == row[name] for name in names))
        pair = {
            "reconstruction_id": connection.execute(select(reconstructions.c.id).where(same)).scalar_one(),
            "original_id": payload.originals[image.place],
            "method": method,
            "cost_name": cost_name,
            "cost": image.cost,
            "reference": "attacked",
        }
        connection.execute(insert(pairings).values(**pair))
    if shard.plan.role == "attack" and payload.threat.labels == "inferred":
        _store_labels(connection, shard, event)
    if landed:
        add_to_record(connection, shard.job_id, event)
        bump(connection, "reconstructions")
    return landed


def read_record(connection: Connection, job_id: int) -> dict[str, Any]:
    """What is recorded of how the job ran."""
    text = connection.execute(select(jobs.c.record).where(jobs.c.id == job_id)).scalar_one()
    record: dict[str, Any] = json.loads(text) if text else {}
    return record


def write_record(connection: Connection, job_id: int, record: dict[str, Any]) -> None:
    """Replace the job's record."""
    text = json.dumps(record, sort_keys=True)
    connection.execute(update(jobs).where(jobs.c.id == job_id).values(record=text))


def finite(value: Any) -> float | None:
    """A float for a column that holds numbers only; None for NaN and ±∞."""
    number = float(value)
    return number if math.isfinite(number) else None


def _change_checkpoint(connection: Connection, shard: ShardRow, values: dict[str, Any]) -> str | None:
    """Write the shard's row; return the checkpoint it named before if no shard names it now."""
    one = shards.c.id == shard.id
    old: str | None = connection.execute(select(shards.c.checkpoint_sha).where(one)).scalar_one()
    connection.execute(update(shards).where(one).values(**values))
    named = connection.execute(select(shards.c.id).where(shards.c.checkpoint_sha == old).limit(1)).first()
    return old if named is None else None


def _store_labels(connection: Connection, shard: ShardRow, event: Event) -> None:
    for n, u in enumerate(shard.plan.targets):
        labels = json.dumps([int(label) for label in event.arrays["labels"][n, event.arrays["chosen"][n]]])
        one = and_(updates.c.job_id == shard.job_id, updates.c.position == u)
        connection.execute(update(updates).where(one).values(labels_recovered=labels))


def add_to_record(connection: Connection, job_id: int, event: Event) -> None:
    """Versions, device, threads and engine path, and the seconds that workers computed, over all shards."""
    old = read_record(connection, job_id)
    seconds = old.get("seconds", 0.0) + event.values.get("seconds", 0.0)
    write_record(connection, job_id, {**old, **event.values["record"], "seconds": seconds})

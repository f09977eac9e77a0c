"""What the runner does for a job that attacks: its plan, its shards, and how their results are stored."""

from typing import Any

from sqlalchemy import Connection, Row

from core.jobs import results
from core.jobs.devices import room
from core.jobs.events import Event
from core.jobs.kinds import Kind, Later, Task
from core.jobs.material import StoredPixels, original_labels, weights_of
from core.jobs.payloads import AttackJob, ScoreJob
from core.jobs.plan import ShardPlan, plan_attack
from core.jobs.queue import submit_within
from core.jobs.results import ShardRow
from core.jobs.shards import attack_shard


def plan(task: Task) -> list[ShardPlan]:
    """The attack on every update, then its controls."""
    payload = _attack(task)
    return plan_attack(payload, original_labels(task.store, payload), room(task.store.settings, payload.device))


def shard_bytes(task: Task, plan: ShardPlan, row: Row[Any]) -> bytes:
    """Model, images, labels and the newest checkpoint."""
    payload, settings = _attack(task), task.store.settings
    return attack_shard(
        payload,
        plan,
        _pixels(task),
        original_labels(task.store, payload),
        weights_of(task.store, payload.model),
        threads=settings.threads,
        checkpoint=task.checkpoint(row),
        checkpoint_number=row.checkpoint_version,
        checkpoint_seconds=settings.checkpoint_seconds,
        device=task.device(),
    ).to_bytes()


def writes(task: Task, shard: ShardRow, event: Event) -> list[Later]:
    """Facts of the updates, emerging images, and the reconstructions."""
    payload = _attack(task)
    if event.kind == "facts":
        return [lambda c: results.store_facts(c, shard, payload, event)]
    if event.kind == "preview":
        rows = results.preview_rows(task.store.artifacts, shard, event)
        return [lambda c: results.store_previews(c, rows)]
    if event.kind == "reconstructions":
        paired = _paired(task, shard, event)
        return [lambda c: results.store_reconstructions(c, shard, payload, event, paired)]
    return []


def after(task: Task, connection: Connection) -> None:
    """An attack that is done is scored."""
    score = ScoreJob(attack_job=task.job_id)
    submit_within(connection, score, f"Scores of {task.title}", parent=task.job_id, depends_on=(task.job_id,))


KIND = Kind(plan, shard_bytes, writes, after, "try fewer restarts, smaller updates or another device")


def _paired(task: Task, shard: ShardRow, event: Event) -> tuple[list[results.PairedImage], str, str]:
    """The images of a result, written, each with its original."""
    payload, artifacts, pixels = _attack(task), task.store.artifacts, _pixels(task)
    size = payload.threat.batch_size
    if payload.threat.update == "none":
        labels = original_labels(task.store, payload)
        return results.pair_with_nearest(artifacts, shard, payload, event, pixels, labels)
    originals = [pixels[u * size + b] for u in shard.plan.targets for b in range(size)]
    return results.pair_images(artifacts, shard, payload, event, originals)


def _pixels(task: Task) -> StoredPixels:
    payload = _attack(task)
    return StoredPixels(task.store.artifacts, payload.original_hashes, payload.model.channels)


def _attack(task: Task) -> AttackJob:
    if not isinstance(task.payload, AttackJob):
        raise TypeError(f"A job of the kind {task.payload.kind} has no originals of its own.")
    return task.payload

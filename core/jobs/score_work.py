"""What a score job is made of: its shards, their bytes, and what is written of their results. No torch."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row

from core.jobs import results
from core.jobs.events import Event
from core.jobs.kinds import Kind, Later, Task
from core.jobs.material import attack_of, pair_metrics, pairs_to_score, score_shard
from core.jobs.payloads import RescoreJob, ScoreJob
from core.jobs.plan import ShardPlan, plan_score
from core.jobs.references import REFERENCES, add_source_pairings, is_augmented
from core.jobs.results import ShardRow
from core.jobs.sets import SETS, plan_sets, set_shard
from core.storage.database import bump
from core.storage.scores import StoredScore, write_scores


def plan(task: Task) -> list[ShardPlan]:
    """Pairs first, then sets. An augmented run gets its second pairings here."""
    store, payload = task.store, _score(task)
    if is_augmented(store, attack_of(store, payload), task.beat):
        with store.database.write() as connection:
            add_source_pairings(connection, payload.attack_job)
    known = [reference for _, reference in pairs_to_score(store, payload.attack_job)]
    wanted = [one for one in REFERENCES if one in known]
    if isinstance(payload, RescoreJob) and payload.references:
        wanted = [one for one in wanted if one in payload.references]
    scored = {one for one in wanted if pair_metrics(payload, one)}
    pairs = [part for part in plan_score(known) if known[part.targets[0]] in scored]
    return pairs + plan_sets(store, payload, wanted)


def shard_bytes(task: Task, plan: ShardPlan, _row: Row[Any]) -> bytes:
    """The shard of a plan, for the way to the worker."""
    store, payload = task.store, _score(task)
    if plan.role == "sets":
        return set_shard(store, payload, plan, store.settings.threads, task.beat).to_bytes()
    return score_shard(store, payload, plan, store.settings.threads, task.beat).to_bytes()


def writes(task: Task, shard: ShardRow, event: Event) -> list[Later]:
    """What to write of a shard's result."""
    if event.kind == "sets":
        reference = SETS[shard.plan.targets[0]][1]
        return [lambda c: store_set_scores(c, shard, event, reference)]
    if event.kind == "scores":
        known = pairs_to_score(task.store, _score(task).attack_job)
        pairs = [known[place] for place in shard.plan.targets]
        return [lambda c: store_scores(c, shard, event, pairs)]
    return []


KIND = Kind(plan, shard_bytes, writes)


def _score(task: Task) -> ScoreJob:
    if not isinstance(task.payload, ScoreJob):
        raise TypeError(f"A job of the kind {task.payload.kind} scores nothing.")
    return task.payload


def store_scores(connection: Connection, shard: ShardRow, event: Event, pairs: Sequence[tuple[int, str]]) -> None:
    """Scores of the shard's pairings: pairs are (pairing id, reference) in the order of the shard's arrays."""
    rows = [
        StoredScore(
            subject_kind="pairing",
            subject_id=pairing,
            reference=reference,
            metric=metric,
            metric_version=event.values["versions"][metric],
            weights_hash=event.values["weights"][metric],
            value=None if answer[0] is None else float(answer[0]),
            reason=answer[1],
        )
        for metric, answers in event.values["scores"].items()
        for (pairing, reference), answer in zip(pairs, answers, strict=True)
    ]
    write_scores(connection, rows)
    results.add_to_record(connection, shard.job_id, event)
    bump(connection, "scores")


def store_set_scores(connection: Connection, shard: ShardRow, event: Event, reference: str) -> None:
    """Scores of the shard's set."""
    rows = [
        StoredScore(
            subject_kind="set",
            subject_id=event.values["set"],
            reference=reference,
            metric=metric,
            metric_version=event.values["versions"][metric],
            weights_hash=event.values["weights"][metric],
            value=None if value is None else float(value),
            reason=reason,
        )
        for metric, (value, reason) in event.values["scores"].items()
    ]
    write_scores(connection, rows)
    results.add_to_record(connection, shard.job_id, event)
    bump(connection, "scores")

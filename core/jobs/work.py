"""One job while it runs: its stored plan, the shards in flight, what comes back, and how it ends."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, and_, func, insert, select, update

from core.errors import UserError
from core.jobs import results, score_work
from core.jobs.claims import let_go
from core.jobs.devices import room
from core.jobs.events import LAST, Event
from core.jobs.executors import Executor
from core.jobs.material import StoredPixels, original_labels, weights_of
from core.jobs.payloads import AttackJob, Payload, ScoreJob, from_json
from core.jobs.plan import ShardPlan, plan_attack, split
from core.jobs.queue import submit_within
from core.jobs.results import ShardRow
from core.jobs.shards import attack_shard
from core.jobs.sources import Beat, Interrupted, still
from core.storage.database import bump
from core.storage.schema import jobs, shards
from core.storage.store import Store

ATTEMPTS = 3
log = logging.getLogger("semsight.runner")
Later = Callable[[Connection], object]


class JobFailed(Exception):
    """The job cannot go on; the message is the sentence for the user."""


EXPECTED = (JobFailed, ValueError, LookupError, TypeError, OSError)  # UserError is a ValueError


def sentence_of(error: Exception) -> str:
    """What the user is told of an error."""
    if isinstance(error, UserError | JobFailed):
        return str(error)
    return f"Something unexpected stopped this job ({type(error).__name__}: {error}); the runner's log says more."


@dataclass
class JobWork:
    """A claimed job. `advance` is called again and again until it says that the job is over."""

    store: Store
    executor: Executor
    owner: str
    job_id: int
    title: str
    payload: Payload
    flying: dict[int, ShardRow] = field(default_factory=dict)
    heard: dict[int, float] = field(default_factory=dict)  # shard -> when it last gave a sign of life
    stopping: str = ""  # the state to end in once nothing flies: paused, cancelled, queued, failed
    sentence: str = ""
    beat: Beat = still  # called between pictures while a shard is made

    @staticmethod
    def begin(store: Store, executor: Executor, owner: str, row: Row[Any], beat: Beat = still) -> "JobWork":
        """Read the claimed row and store its plan if it has none. UserError when it cannot be run; Interrupted."""
        payload = from_json(row.payload_type, row.payload_version, row.payload)
        work = JobWork(store, executor, owner, row.id, row.title, payload, beat=beat)
        work._plan()
        return work

    def advance(self, events: list[tuple[int, Event]], wanted: str) -> bool:
        """Store what came, obey what is wanted, keep the executor busy. True when the job is over."""
        try:
            self._store(events)
            self._look_for_silence()
            if wanted in ("pause", "cancel"):
                self.stop({"pause": "paused", "cancel": "cancelled"}[wanted])
            if not self.stopping:
                self._submit()
        except Interrupted:
            log.info("job %d: a shard is made later", self.job_id)
        except EXPECTED as error:
            log.warning("job %d stops", self.job_id, exc_info=True)
            self.stop("failed", sentence_of(error))
        if self.flying:
            return False
        if self.stopping:
            self._end(self.stopping, self.sentence or None)
            return True
        return self._finish()

    def stop(self, state: str, sentence: str = "") -> None:
        """Raise the flag of every shard that flies; the job ends in `state` when the last has come down."""
        if self.stopping in ("failed", "cancelled"):
            return
        self.stopping, self.sentence = state, sentence
        for key in self.flying:
            self.executor.cancel(key)

    def drop(self) -> None:
        """Another runner has the job: stop computing, write nothing."""
        for key in self.flying:
            self.executor.cancel(key)
        self.flying.clear()

    # --- plan and submission ---------------------------------------------------------------------------------
    def _plan(self) -> None:
        mine = shards.c.job_id == self.job_id
        with self.store.database.read() as connection:
            planned = connection.execute(select(shards.c.id).where(mine).limit(1)).first() is not None
        if not planned:
            plans = self._fresh_plan()
            with self.store.database.write() as connection:
                for position, plan in enumerate(plans):
                    self._insert(connection, position, plan)
        with self.store.database.write() as connection:  # what flew when an earlier runner died
            stale = and_(mine, shards.c.state == "running")
            connection.execute(update(shards).where(stale).values(state="queued"))

    def _fresh_plan(self) -> list[ShardPlan]:
        if isinstance(self.payload, AttackJob):
            space = room(self.store.settings, self.payload.device)
            return plan_attack(self.payload, original_labels(self.store, self.payload), space)
        if isinstance(self.payload, ScoreJob):
            return score_work.plan(self.store, self.payload, self.beat)
        raise JobFailed(f"This version cannot run jobs of the kind {self.payload.kind} yet.")

    def _insert(self, connection: Connection, position: int, plan: ShardPlan, parent: int | None = None) -> None:
        values = {"job_id": self.job_id, "position": position, "role": plan.role, "plan": plan.to_json()}
        connection.execute(insert(shards).values(**values, state="queued", parent_id=parent))

    def _submit(self) -> None:
        """Fill the free slots; a shard that was tried ATTEMPTS times since its last checkpoint fails the job."""
        free = self.executor.slots - len(self.flying)
        if free <= 0:
            return
        waiting = and_(shards.c.job_id == self.job_id, shards.c.state == "queued")
        with self.store.database.read() as connection:
            rows = connection.execute(select(shards).where(waiting).order_by(shards.c.position).limit(free)).all()
        for row in rows:
            if row.attempt >= ATTEMPTS:
                why = row.error or "it stopped without a word"
                raise JobFailed(
                    f"A part of this job failed {ATTEMPTS} times ({why}); try fewer restarts, smaller updates or "
                    "another device, then start it anew."
                )
            plan = ShardPlan.from_json(row.role, row.plan)
            data = self._shard_bytes(plan, row)
            with self.store.database.write() as connection:
                values = {"state": "running", "attempt": row.attempt + 1}
                connection.execute(update(shards).where(shards.c.id == row.id).values(**values))
                bump(connection, "jobs")
            self.flying[row.id] = ShardRow(row.id, self.job_id, plan)
            self.heard[row.id] = time.monotonic()
            self.executor.submit(row.id, data)

    def _shard_bytes(self, plan: ShardPlan, row: Row[Any]) -> bytes:
        settings, artifacts = self.store.settings, self.store.artifacts
        if isinstance(self.payload, ScoreJob):
            return score_work.shard_bytes(self.store, self.payload, plan, self.beat)
        if not isinstance(self.payload, AttackJob):
            raise TypeError(f"A job of the kind {self.payload.kind} has no shard of an attack.")
        kept = row.checkpoint_sha if row.checkpoint_sha and artifacts.exists(row.checkpoint_sha) else None
        return attack_shard(
            self.payload,
            plan,
            self._pixels(),
            original_labels(self.store, self.payload),
            weights_of(self.store, self.payload.model),
            threads=settings.threads,
            checkpoint=artifacts.read_bytes(kept) if kept else None,
            checkpoint_number=row.checkpoint_version,
            checkpoint_seconds=settings.checkpoint_seconds,
            device=self._device(),
        ).to_bytes()

    def _device(self) -> str:
        settings = self.store.settings
        device = settings.device if self.payload.device == "auto" else self.payload.device
        # a Dask worker sees only the GPU that it is pinned to, which is its first
        return "cuda" if settings.executor == "dask" and device.startswith("cuda") else device

    def _pixels(self) -> StoredPixels:
        payload = self.payload
        if not isinstance(payload, AttackJob):
            raise TypeError("Only an attack has originals of its own.")
        return StoredPixels(self.store.artifacts, payload.original_hashes, payload.model.channels)

    # --- what comes back -------------------------------------------------------------------------------------
    def _store(self, events: list[tuple[int, Event]]) -> None:
        """Files are written first, then all rows in one transaction."""
        writes: list[Later] = []
        obsolete: list[str | None] = []
        for key, event in events:
            shard = self.flying.get(key)
            if shard is None:
                continue
            self.heard[key] = time.monotonic()
            writes += self._writes(shard, event, obsolete)
            if event.kind in LAST:
                del self.flying[key]
        if not writes:
            return
        with self.store.database.write() as connection:
            for write in writes:
                write(connection)
            bump(connection, "jobs")
        for sha in obsolete:
            self.store.artifacts.remove(sha)

    def _writes(self, shard: ShardRow, event: Event, obsolete: list[str | None]) -> list[Later]:
        """What to write for one event; files are written here and now."""
        if event.kind == "failed":
            return [self._failure(shard, event)]
        if event.kind == "progress":
            return [lambda c: results.store_progress(c, shard, event)]
        if event.kind in ("scores", "sets") and isinstance(self.payload, ScoreJob):
            scores = score_work.writes(self.store, self.payload, shard, event)
            return [*scores, lambda c: obsolete.append(results.finish_shard(c, shard))]
        payload = self.payload
        if not isinstance(payload, AttackJob):
            return []
        if event.kind == "facts":
            return [lambda c: results.store_facts(c, shard, payload, event)]
        if event.kind == "preview":
            rows = results.preview_rows(self.store.artifacts, shard, event)
            return [lambda c: results.store_previews(c, rows)]
        if event.kind == "checkpoint":
            sha = self.store.artifacts.put_bytes(event.arrays["state"].tobytes(), ".bin")
            return [lambda c: obsolete.append(results.store_checkpoint(c, shard, event, sha))]
        paired = self._paired(shard, payload, event)
        return [
            lambda c: results.store_reconstructions(c, shard, payload, event, paired),
            lambda c: obsolete.append(results.finish_shard(c, shard)),
        ]

    def _paired(self, shard: ShardRow, payload: AttackJob, event: Event) -> tuple[list[results.PairedImage], str, str]:
        """The images of a result, written, each with its original."""
        size, pixels, artifacts = payload.threat.batch_size, self._pixels(), self.store.artifacts
        if payload.threat.update == "none":
            labels = original_labels(self.store, payload)
            return results.pair_with_nearest(artifacts, shard, payload, event, pixels, labels)
        originals = [pixels[u * size + b] for u in shard.plan.targets for b in range(size)]
        return results.pair_images(artifacts, shard, payload, event, originals)

    def _failure(self, shard: ShardRow, event: Event) -> Later:
        """Queue the shard again, in halves after an out-of-memory; an error that repeats at once fails the job."""
        reason, sentence = event.values["reason"], event.values["sentence"]
        halves = split(shard.plan) if reason == "memory" else None
        one = shards.c.id == shard.id

        def write(connection: Connection) -> None:
            if halves is not None:
                connection.execute(update(shards).where(one).values(state="split", error=sentence))
                mine = shards.c.job_id == self.job_id
                last = connection.execute(select(func.max(shards.c.position)).where(mine)).scalar_one()
                for place, plan in enumerate(halves, start=1):
                    self._insert(connection, last + place, plan, parent=shard.id)
            elif reason == "cancelled":  # asked for: no attempt is lost
                values = {"state": "queued", "attempt": shards.c.attempt - 1}
                connection.execute(update(shards).where(one).values(**values))
            else:
                connection.execute(update(shards).where(one).values(state="queued", error=sentence))

        if reason == "error" or (reason == "memory" and halves is None):
            self.stop("failed", sentence)
        return write

    def _look_for_silence(self) -> None:
        limit = time.monotonic() - self.store.settings.silence_seconds
        for key in [key for key in self.flying if self.heard[key] < limit]:
            self.heard[key] = time.monotonic()
            self.executor.abandon(key)

    # --- the end ---------------------------------------------------------------------------------------------
    def _finish(self) -> bool:
        """Done when no shard is left; an attack's scores are queued in the same transaction."""
        left = and_(shards.c.job_id == self.job_id, shards.c.state.in_(("queued", "running")))
        with self.store.database.write() as connection:
            if connection.execute(select(shards.c.id).where(left).limit(1)).first() is not None:
                return False
            if let_go(connection, self.job_id, self.owner, "done") and isinstance(self.payload, AttackJob):
                score = ScoreJob(attack_job=self.job_id)
                title = f"Scores of {self.title}"
                submit_within(connection, score, title, parent=self.job_id, depends_on=(self.job_id,))
        return True

    def _end(self, state: str, sentence: str | None) -> None:
        with self.store.database.write() as connection:
            if state == "paused" and _wanted(connection, self.job_id) == "run":
                state = "queued"  # resumed before it had come to rest
            let_go(connection, self.job_id, self.owner, state, sentence)


def _wanted(connection: Connection, job_id: int) -> str:
    return str(connection.execute(select(jobs.c.wanted).where(jobs.c.id == job_id)).scalar_one())

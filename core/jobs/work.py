"""One job while it runs: its stored plan, the shards in flight, what comes back, and how it ends."""

import logging
import time
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, and_, func, insert, select, update

from core.errors import UserError
from core.jobs import attack_work, results, score_work, train_work
from core.jobs.claims import let_go
from core.jobs.events import LAST, Event
from core.jobs.executors import Executor
from core.jobs.kinds import Kind, Later, Task
from core.jobs.payloads import AttackJob, Payload, RescoreJob, ScoreJob, TrainJob, from_json
from core.jobs.plan import ShardPlan, split
from core.jobs.results import ShardRow
from core.jobs.sources import Beat, Interrupted, still
from core.storage.database import bump
from core.storage.schema import jobs, shards
from core.storage.space import out_of_space
from core.storage.store import Store

ATTEMPTS = 3
FULL_DISK = (
    "The disk is full, so this job was paused at its last checkpoint; make room (python -m core doctor shows what is "
    "used), then resume it."
)
KINDS: dict[str, Kind] = {  # by a payload's kind; rescoring is a kind of scoring
    AttackJob.kind: attack_work.KIND,
    ScoreJob.kind: score_work.KIND,
    RescoreJob.kind: score_work.KIND,
    TrainJob.kind: train_work.KIND,
}
log = logging.getLogger("semsight.runner")


class JobFailed(Exception):
    """The job cannot go on; the message is the sentence for the user."""


EXPECTED = (JobFailed, ValueError, LookupError, TypeError, OSError)  # UserError is a ValueError


def sentence_of(error: Exception) -> str:
    """What the user is told of an error."""
    if out_of_space(error):
        return FULL_DISK
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

    @property
    def _task(self) -> Task:
        return Task(self.store, self.job_id, self.title, self.payload, self.beat)

    @property
    def _kind(self) -> Kind:
        kind = KINDS.get(self.payload.kind)
        if kind is None:
            raise JobFailed(f"This version cannot run jobs of the kind {self.payload.kind} yet.")
        return kind

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
            self.stop("paused" if out_of_space(error) else "failed", sentence_of(error))
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
            plans = self._kind.plan(self._task)
            with self.store.database.write() as connection:
                for position, plan in enumerate(plans):
                    self._insert(connection, position, plan)
        with self.store.database.write() as connection:  # what flew when an earlier runner died
            stale = and_(mine, shards.c.state == "running")
            connection.execute(update(shards).where(stale).values(state="queued"))

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
                    f"A part of this job failed {ATTEMPTS} times ({why}); {self._kind.advice}, then start it anew."
                )
            plan = ShardPlan.from_json(row.role, row.plan)
            data = self._kind.shard_bytes(self._task, plan, row)
            with self.store.database.write() as connection:
                values = {"state": "running", "attempt": row.attempt + 1}
                connection.execute(update(shards).where(shards.c.id == row.id).values(**values))
                bump(connection, "jobs")
            self.flying[row.id] = ShardRow(row.id, self.job_id, plan)
            self.heard[row.id] = time.monotonic()
            self.executor.submit(row.id, data)

    # --- what comes back -------------------------------------------------------------------------------------
    def _store(self, events: list[tuple[int, Event]]) -> None:
        """Files are written first, then all rows in one transaction.

        Where a file cannot be written, what came before it is stored all the same, then the error is raised; a shard
        whose result is lost so goes on from its last checkpoint.
        """
        writes: list[Later] = []
        obsolete: list[str | None] = []
        refused: OSError | None = None
        for key, event in events:
            shard = self.flying.get(key)
            if shard is None:
                continue
            self.heard[key] = time.monotonic()
            try:
                writes += self._writes(shard, event, obsolete) if refused is None else []
            except OSError as error:
                refused = error
            if event.kind in LAST:
                del self.flying[key]
        if writes:
            with self.store.database.write() as connection:
                for write in writes:
                    write(connection)
                bump(connection, "jobs")
        for sha in obsolete:
            self.store.artifacts.remove(sha)
        if refused is not None:
            raise refused

    def _writes(self, shard: ShardRow, event: Event, obsolete: list[str | None]) -> list[Later]:
        """What to write for one event; files are written here and now."""
        if event.kind == "failed":
            return [self._failure(shard, event)]
        if event.kind == "progress":
            return [lambda c: results.store_progress(c, shard, event)]
        if event.kind == "checkpoint":
            sha = self.store.artifacts.put_bytes(event.arrays["state"].tobytes(), ".bin")
            return [lambda c: obsolete.append(results.store_checkpoint(c, shard, event, sha))]
        writes = self._kind.writes(self._task, shard, event)
        return [*writes, lambda c: obsolete.append(results.finish_shard(c, shard))] if event.kind in LAST else writes

    def _failure(self, shard: ShardRow, event: Event) -> Later:
        """Queue the shard again, in halves after an out-of-memory. An error that would repeat fails the job at once; a
        checkpoint of another kind of device pauses it.
        """
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
            elif reason in ("cancelled", "device"):  # asked for, or not begun: no attempt is lost
                values = {"state": "queued", "attempt": shards.c.attempt - 1}
                connection.execute(update(shards).where(one).values(**values))
            else:
                connection.execute(update(shards).where(one).values(state="queued", error=sentence))

        if reason == "device":  # its checkpoint waits for the other device
            self.stop("paused", sentence)
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
        """Done when no shard is left; what follows it, as an attack's scores, is queued in the same transaction."""
        left = and_(shards.c.job_id == self.job_id, shards.c.state.in_(("queued", "running")))
        with self.store.database.write() as connection:
            if connection.execute(select(shards.c.id).where(left).limit(1)).first() is not None:
                return False
            if let_go(connection, self.job_id, self.owner, "done"):
                self._kind.after(self._task, connection)
        return True

    def _end(self, state: str, sentence: str | None) -> None:
        with self.store.database.write() as connection:
            if state == "paused" and sentence:  # nobody asked for this pause: it lasts until somebody resumes the job
                connection.execute(update(jobs).where(jobs.c.id == self.job_id).values(wanted="pause"))
            elif state == "paused" and _wanted(connection, self.job_id) == "run":
                state = "queued"  # resumed before it had come to rest
            let_go(connection, self.job_id, self.owner, state, sentence)


def _wanted(connection: Connection, job_id: int) -> str:
    return str(connection.execute(select(jobs.c.wanted).where(jobs.c.id == job_id)).scalar_one())

"""The runner: claims jobs, keeps their leases, and hands their shards to an executor, until it is told to end."""

import logging
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from sqlalchemy import Row, select
from sqlalchemy.exc import OperationalError

from core.errors import UserError
from core.jobs.campaign_work import advance
from core.jobs.claims import (
    claim,
    fail_orphans_of_failure,
    heartbeat,
    let_go,
    owner_name,
    somebody_waits,
)
from core.jobs.executors import Executor, Message, make_executor
from core.jobs.launch import runner_lock
from core.jobs.payloads import RescoreJob
from core.jobs.rescore import Present, present, queue_outdated
from core.jobs.sources import Interrupted
from core.jobs.sweep import sweep
from core.jobs.work import EXPECTED, JobWork, sentence_of
from core.settings import Settings
from core.storage.schema import jobs
from core.storage.space import out_of_space
from core.storage.store import Store, open_store

REFRESH_SECONDS = 60.0  # an idle runner looks so often whether metrics or their weights have changed
POLL_SECONDS = 0.5  # how soon a stored request is seen
ROOM_SECONDS = 10.0  # between two tries where the disk is full
PRUNE_SECONDS = 3600.0  # the rules of core.storage.prune are applied no more often
IDLE_SECONDS = 600.0  # workers are let go after so long without a job; the runner stays
log = logging.getLogger("semsight.runner")


class Runner:
    """One process's loop over the jobs of one home."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.owner = owner_name(store.settings)
        self.ending = False
        self._executor: Executor | None = None
        self._work: JobWork | None = None
        self._lost = False  # the workers went away, and have not come back yet
        self._beat = self._busy = self._looked = time.monotonic()
        self._present: dict[str, Present] = {}  # the metrics that stored scores were last compared with
        self._compared = -REFRESH_SECONDS
        self._pruned = -PRUNE_SECONDS

    def run(self, *, until_idle: bool = False) -> None:
        """Work until `ending` is set, or, if `until_idle`, until no job is left that could run."""
        log.info("runner %s works on %s", self.owner, self.store.settings.home)
        try:
            self._sweep(always=True)
            self._bring_up_to_date()
            if not until_idle:
                self._workers()  # started before the first job asks for them
            while not (self.ending and self._work is None):
                if not self._guarded_turn() and until_idle:
                    return
        finally:
            self._let_workers_go()

    def _guarded_turn(self) -> bool:
        """A turn; where the disk is too full for the database, wait for room: the job goes on from its checkpoints."""
        try:
            return self.turn()
        except OperationalError as error:
            if not out_of_space(error):
                raise
            log.warning("the disk is full; the runner waits for room")
            if self._work is not None:
                self._work.drop()
                self._work = None
            time.sleep(ROOM_SECONDS)
            return True

    def turn(self) -> bool:
        """One round: poll, store, obey. False when there was nothing to do."""
        if self._work is None:
            moved = self._bring_campaigns_on()
            row = self._claim() if not self.ending and self._reachable() else None
            if row is None:
                if moved:
                    return True
                self._bring_up_to_date()
                self._rest()
                return False
            self._work = self._begin(row)
            return True
        self._busy = time.monotonic()
        try:
            events = self._workers().poll(POLL_SECONDS if self._work.flying else 0.0)
            wanted = self._look_after(self._work.job_id)
            if wanted:
                self._advance(self._work, events, wanted)
            else:
                self._work.drop()
                self._work = None
        except OSError as error:  # the scheduler of others is gone; what the job's own work raises ends that job only
            self._lose_workers(error)
        return True

    def _advance(self, work: JobWork, events: list[Message], wanted: str) -> None:
        if self.ending or (isinstance(work.payload, RescoreJob) and self._somebody_waits()):
            work.stop("queued")
        if work.advance(events, wanted):
            log.info("job %d is over", work.job_id)
            self._work = None
            self._sweep()

    def _somebody_waits(self) -> bool:
        with self.store.database.read() as connection:
            return somebody_waits(connection)

    def _bring_up_to_date(self) -> None:
        """Queue what the present metrics and weights have not scored yet; now and then, and only once they changed."""
        if time.monotonic() - self._compared < REFRESH_SECONDS:
            return
        self._compared = time.monotonic()
        try:
            now = present(self.store.settings)
            queued = queue_outdated(self.store, now, self._between) if now != self._present else []
        except Interrupted:
            return
        except EXPECTED:
            log.warning("old scores could not be compared with the present metrics", exc_info=True)
            return
        self._present = now
        if queued:
            log.info("%d runs are scored anew in the background: jobs %s", len(queued), queued)

    def _bring_campaigns_on(self) -> bool:
        """Ask for the next training or attack of every campaign, or end it; True when anything was done."""
        if self.ending:
            return False
        try:
            return advance(self.store, self._between)
        except Interrupted:
            return False
        except EXPECTED:
            log.warning("the campaigns could not be brought on", exc_info=True)
            return False

    def _lose_workers(self, error: OSError) -> None:
        """Forget the workers and put the job back; it goes on from its checkpoints once they answer again."""
        work, self._work, self._lost = self._work, None, True
        if work is not None:
            log.warning("job %d waits: the workers do not answer any more (%s)", work.job_id, error)
            with self.store.database.write() as connection:
                let_go(connection, work.job_id, self.owner, "queued")
        self._let_workers_go()

    def _let_workers_go(self) -> None:
        """On a busy machine a worker may take longer to end than Dask waits: it is a child, and ends with us."""
        executor, self._executor = self._executor, None
        if executor is not None:
            try:
                executor.close()
            except OSError as error:
                log.warning("the workers could not be told to end, or not in time (%s)", error)

    def _reachable(self) -> bool:
        """False while the workers that were lost do not answer: jobs wait for them rather than fail."""
        if self._lost:
            try:
                self._workers()
            except UserError as error:
                log.warning("%s", error)
                return False
            self._lost = False
        return True

    def _sweep(self, *, always: bool = False) -> None:
        """Delete what nobody needs (core.jobs.sweep); now and then, or `always`, also what only the rules bound."""
        rules = always or time.monotonic() - self._pruned > PRUNE_SECONDS
        try:
            swept = sweep(self.store, rules=rules, files=always)
        except (OSError, OperationalError) as error:
            log.warning("files that no row names stay: %s", error)
            return
        if rules:
            self._pruned = time.monotonic()
        if swept.parts:
            log.info("deleted: %s", swept.words())

    def _claim(self) -> Row | None:  # type: ignore[type-arg]
        with self.store.database.read() as connection:
            waiting = (
                select(jobs.c.id).where(jobs.c.state.in_(("queued", "running")), jobs.c.kind != "campaign").limit(1)
            )
            if connection.execute(waiting).first() is None:
                return None
        with self.store.database.write() as connection:
            fail_orphans_of_failure(connection)
            return claim(connection, self.owner, self.store.settings.lease_seconds)

    def _begin(self, row: Row) -> JobWork | None:  # type: ignore[type-arg]
        log.info("job %d (%s), attempt %d", row.id, row.title, row.attempt + 1)
        try:
            return JobWork.begin(self.store, self._workers(), self.owner, row, lambda: self._between(row))
        except Interrupted:
            state = {"pause": "paused", "cancel": "cancelled"}.get(self._look_after(row.id), "queued")
            with self.store.database.write() as connection:
                let_go(connection, row.id, self.owner, state)
            return None
        except EXPECTED as error:  # one bad row must not take the runner down, and with it every other job
            log.warning("job %d cannot be run", row.id, exc_info=True)
            state = "paused" if out_of_space(error) else "failed"
            with self.store.database.write() as connection:
                let_go(connection, row.id, self.owner, state, sentence_of(error))
            return None

    def _look_after(self, job_id: int) -> str:
        """Prolong the lease when a third of it is over, and read what the user wants; "" if another runner has it."""
        lease = self.store.settings.lease_seconds
        if time.monotonic() - self._beat > lease / 3:
            with self.store.database.write() as connection:
                if not heartbeat(connection, job_id, self.owner, lease):
                    log.warning("job %d was taken over by another runner", job_id)
                    return ""
            self._beat = time.monotonic()
        with self.store.database.read() as connection:
            return str(connection.execute(select(jobs.c.wanted).where(jobs.c.id == job_id)).scalar_one())

    def _between(self, row: Row | None = None) -> None:  # type: ignore[type-arg]
        """Between two pictures that are read for a claimed job, or for none: raise Interrupted if they had better wait.

        Looks as often as the loop does, which stands still meanwhile; prolongs the lease likewise.
        """
        if time.monotonic() - self._looked < POLL_SECONDS:
            return
        self._looked = time.monotonic()
        if self.ending or (row is not None and self._look_after(row.id) != "run"):
            raise Interrupted
        if (row is None or row.kind == RescoreJob.kind) and self._somebody_waits():
            raise Interrupted

    def _workers(self) -> Executor:
        if self._executor is None:
            self._executor = make_executor(self.store.settings)
        return self._executor

    def _rest(self) -> None:
        """Nothing to do: look again soon; end when the home is gone, let the workers go after a while."""
        if not self.store.settings.home.is_dir():
            log.info("%s is gone", self.store.settings.home)
            self.ending = True
        if time.monotonic() - self._busy > IDLE_SECONDS:
            self._let_workers_go()
        time.sleep(POLL_SECONDS)


def run_jobs(settings: Settings, *, until_idle: bool = False) -> bool:
    """Hold the home's lock and run its jobs; SIGTERM and SIGINT let the job go, to be resumed from its checkpoint.

    Returns whether it was told to end so, or its home is gone, rather than ran out of jobs.
    Raises UserError when another runner lives, or the store or the executor cannot be had.
    """
    with runner_lock(settings):
        runner = Runner(open_store(settings))
        with _signals(runner):
            runner.run(until_idle=until_idle)
        return runner.ending


@contextmanager
def _signals(runner: Runner) -> Iterator[None]:
    def end(_number: int, _frame: FrameType | None) -> None:
        runner.ending = True

    kept = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)

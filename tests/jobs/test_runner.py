"""The runner in this process with the inline executor: plan, results, scores, pause, cancel, failures."""

import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from sqlalchemy import Row, func, select, update

from core.errors import UserError
from core.jobs.claims import claim
from core.jobs.executors import InlineExecutor
from core.jobs.queue import jobs_table, set_wanted, submit
from core.jobs.runner import Runner
from core.jobs.work import JobWork
from core.metrics.sets import SET_METRICS
from core.storage import schema
from core.storage.store import Store, open_store
from tests.jobs.conftest import attack_job, job_row, outcome, record
from tests.storage.conftest import postgresql  # noqa: F401


def run_until_idle(store: Store) -> None:
    Runner(store).run(until_idle=True)


def rows(store: Store, table: str) -> list:
    with store.database.read() as connection:
        return list(connection.execute(select(getattr(schema, table))))


def run_beside(store: Store, act: Callable[[], None]) -> None:
    """Run the runner in a thread while `act` does something; then until idle."""
    runner = Runner(store)
    thread = threading.Thread(target=runner.run, kwargs={"until_idle": True})
    thread.start()
    act()
    thread.join()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail("it did not happen within 60 s")
        time.sleep(0.02)


def test_an_attack_runs_from_request_to_rows(store: Store) -> None:
    job = submit(store, attack_job(store), "first")
    assert job == type(job)(job.job_id, False, "queued")
    run_until_idle(store)
    row = job_row(store, job.job_id)
    assert (row.state, row.error, row.attempt) == ("done", None, 1)
    # 4 updates × 2 restarts, and 2 control targets × 2 restarts × 2 controls
    results = outcome(store, job.job_id)
    assert [sum(r[0] == role for r in results) for role in ("attack", "mismatched", "prior")] == [8, 4, 4]
    assert sum(r[5] for r in results) == 8  # one chosen restart of each target
    assert [s.role for s in rows(store, "shards") if s.job_id == job.job_id] == ["attack", "mismatched", "prior"]
    assert len(rows(store, "updates")) == 4
    assert all(u.gradient_norm > 0 for u in rows(store, "updates"))
    pairings = rows(store, "pairings")
    assert {p.method for p in pairings} == {"given"}
    assert len(pairings) == 16
    assert record(store, job.job_id)["device"] == "cpu"
    previews = rows(store, "previews")
    assert {p.target for p in previews} == {0, 1, 2, 3}
    assert {p.step for p in previews} == {1, 2, 4, 7, 10, 15}  # FRAMES of 20 steps; 0 % and 2 % both fall on step 1
    curve = rows(store, "job_progress")
    assert {p.step for p in curve} == set(range(1, 21))
    listed = jobs_table(store, job_id=job.job_id)[0]
    assert (listed.step, listed.total, listed.shards, listed.shards_done) == (60, 60, 3, 3)


def test_scores_follow_as_a_child(store: Store) -> None:
    job = submit(store, attack_job(store), "first")
    run_until_idle(store)
    child = next(row for row in rows(store, "jobs") if row.kind == "score")
    assert (child.parent_id, child.title, child.state, child.error) == (job.job_id, "Scores of first", "done", None)
    of_sets = [s for s in rows(store, "scores") if s.subject_kind == "set"]
    assert {s.metric for s in of_sets} == set(SET_METRICS)  # each with its reason: no weights, and 4 pictures
    scores = [s for s in rows(store, "scores") if s.subject_kind == "pairing"]
    # every metric has a row for each of the 8 chosen reconstructions: a value, or the reason why there is none
    assert len(scores) == 8 * len({s.metric for s in scores})
    assert {s.subject_id for s in scores} == {p.id for p in rows(store, "pairings") if chosen(store, p)}
    assert all(s.value is not None for s in scores if s.metric in ("mse", "psnr", "victim_probability"))
    assert all("at least" in s.reason for s in scores if s.metric == "ms_ssim")  # 8 pixels are too few
    one = next(s for s in scores if s.metric == "mse")
    pairing = next(p for p in rows(store, "pairings") if p.id == one.subject_id)
    sha = next(r.image_sha for r in rows(store, "reconstructions") if r.id == pairing.reconstruction_id)
    original = next(o.image_sha for o in rows(store, "originals") if o.id == pairing.original_id)
    difference = (store.artifacts.read_png(sha) / 255.0 - store.artifacts.read_png(original) / 255.0) ** 2
    assert one.value == pytest.approx(difference.mean(), rel=1e-6)


def chosen(store: Store, pairing: Row) -> bool:
    return next(r.chosen for r in rows(store, "reconstructions") if r.id == pairing.reconstruction_id)


def test_postgresql_holds_the_same_run(store: Store, postgresql: str) -> None:  # noqa: F811
    elsewhere = open_store(replace(store.settings, database_url=postgresql % "postgres"))
    outcomes = []
    for place in (store, elsewhere):
        job = submit(place, attack_job(place, batch=2), "anywhere").job_id
        run_until_idle(place)
        assert {row.state for row in rows(place, "jobs")} == {"done"}
        scores = sorted((s.subject_id, s.metric, s.value or 0.0, s.special or s.reason) for s in rows(place, "scores"))
        outcomes.append((outcome(place, job), scores))
    elsewhere.database.dispose()
    assert outcomes[0] == outcomes[1]


def test_the_same_question_is_offered_as_done(store: Store) -> None:
    payload = attack_job(store)
    first = submit(store, payload, "first")
    again = submit(store, payload, "again")
    assert (again.job_id, again.already, again.state) == (first.job_id, True, "queued")
    assert submit(store, payload, "anew", anew=True).job_id != first.job_id
    assert not submit(store, replace(payload, seed=1), "other seed").already


def test_what_was_cancelled_is_asked_anew(store: Store) -> None:
    payload = attack_job(store)
    first = submit(store, payload, "first")
    set_wanted(store, first.job_id, "cancel")
    assert job_row(store, first.job_id).state == "cancelled"
    assert not submit(store, payload, "again").already


def test_batches_are_paired_by_one_assignment(store: Store) -> None:
    job = submit(store, attack_job(store, batch=2, controls=1), "batches")
    run_until_idle(store)
    with store.database.read() as connection:
        rec = schema.reconstructions
        query = select(rec.c.target, rec.c.role, schema.pairings).join(schema.pairings)
        found = list(connection.execute(query.where(rec.c.job_id == job.job_id)))
    pairs = [p for p in found if p.role != "easy"]
    easy = [p for p in found if p.role == "easy"]  # the first image of the first update alone, once a restart
    assert {(p.target, p.method) for p in easy} == {(0, "given")}
    assert len({p.original_id for p in easy}) == 1
    assert {p.method for p in pairs} == {"assignment"}
    assert all(p.cost >= 0 for p in pairs)
    ids = job_row(store, job.job_id).payload
    assert ids
    # within an update each original is used once a restart
    per_update = {(p.target // 2, p.original_id) for p in pairs}
    assert len(per_update) == 4


def test_an_unknown_attack_is_refused_at_once(store: Store) -> None:
    with pytest.raises(UserError, match="did you mean fake"):
        submit(store, replace(attack_job(store), attack="fakes"), "x")


def test_images_that_fill_no_update_are_refused(store: Store) -> None:
    payload = attack_job(store, 3)
    with pytest.raises(UserError, match="cannot be shared in updates of 2"):
        submit(store, replace(payload, threat=replace(payload.threat, batch_size=2)), "x")


def test_pause_and_resume_lead_to_the_same_result(store: Store) -> None:
    still = submit(store, attack_job(store), "undisturbed")
    run_until_idle(store)
    store = replace(store, settings=replace(store.settings, checkpoint_seconds=0.0))
    job = submit(store, attack_job(store, pause=0.05, steps=20), "paused").job_id

    def pause() -> None:
        wait_for(lambda: any(s.job_id == job and s.checkpoint_version > 2 for s in rows(store, "shards")))
        set_wanted(store, job, "pause")
        wait_for(lambda: job_row(store, job).state == "paused")

    run_beside(store, pause)
    paused = [s for s in rows(store, "shards") if s.job_id == job]
    assert paused[0].step > 2
    assert outcome(store, job) == []
    assert [s.attempt for s in paused] == [0, 0, 0]  # a pause costs no attempt
    set_wanted(store, job, "run")
    assert job_row(store, job).state == "queued"
    run_until_idle(store)
    assert outcome(store, job) == outcome(store, still.job_id)
    kept = {s.checkpoint_sha for s in rows(store, "shards")}
    assert kept == {None}
    assert list(store.artifacts.root.glob("*/*.bin")) == []  # no checkpoint outlives its shard


def test_a_pause_saves_where_it_is(store: Store) -> None:
    store = replace(store, settings=replace(store.settings, checkpoint_seconds=10_000.0))
    job = submit(store, attack_job(store, pause=0.05, steps=1000), "paused").job_id

    def pause() -> None:
        wait_for(lambda: bool(rows(store, "job_progress")))
        set_wanted(store, job, "pause")
        wait_for(lambda: job_row(store, job).state == "paused")

    run_beside(store, pause)
    first = next(s for s in rows(store, "shards") if s.job_id == job)
    assert first.checkpoint_sha is not None
    assert first.step >= 1


def test_cancel_stops_a_running_attack(store: Store) -> None:
    job = submit(store, attack_job(store, pause=0.05, steps=100_000), "endless").job_id

    def cancel() -> None:
        wait_for(lambda: bool(rows(store, "job_progress")))
        set_wanted(store, job, "cancel")

    run_beside(store, cancel)
    assert job_row(store, job).state == "cancelled"
    with pytest.raises(UserError, match="cancelled already"):
        set_wanted(store, job, "run")


def test_out_of_memory_splits_the_shard(store: Store) -> None:
    whole = submit(store, attack_job(store), "whole")
    halved = submit(store, attack_job(store, most=1), "at most one update fits")
    run_until_idle(store)
    mine = [s for s in rows(store, "shards") if s.job_id == halved.job_id and s.role == "attack"]
    assert [s.state for s in mine] == ["split", "split", "split", "done", "done", "done", "done"]
    assert [s.parent_id for s in mine] == [None, *[mine[0].id] * 2, *[mine[1].id] * 2, *[mine[2].id] * 2]
    same = [(role, t, r, sha) for role, t, r, sha, *_ in outcome(store, halved.job_id)]
    assert same == [(role, t, r, sha) for role, t, r, sha, *_ in outcome(store, whole.job_id)]


def test_one_update_that_does_not_fit_fails_in_one_sentence(store: Store) -> None:
    job = submit(store, attack_job(store, most=0), "too big")
    run_until_idle(store)
    row = job_row(store, job.job_id)
    assert row.state == "failed"
    assert "out of memory" in row.error


def test_an_error_fails_the_job_and_the_next_one_runs(store: Store) -> None:
    bad = submit(store, attack_job(store, evil="error"), "bad").job_id
    good = submit(store, attack_job(store), "good").job_id
    run_until_idle(store)
    assert job_row(store, bad).state == "failed"
    assert "the sum of it all is not finite" in job_row(store, bad).error
    assert job_row(store, good).state == "done"


def test_a_hung_worker_is_given_up_after_three_attempts(store: Store) -> None:  # BAD_INPUTS 37
    store = replace(store, settings=replace(store.settings, silence_seconds=0.3))
    job = submit(store, attack_job(store, evil="hang", at=3, pause=0.01), "hangs").job_id
    run_until_idle(store)
    row = job_row(store, job)
    assert row.state == "failed"
    assert "3 times" in row.error


def test_a_shard_delivered_twice_lands_once(store: Store) -> None:
    job = submit(store, attack_job(store), "twice").job_id
    runner = Runner(store)
    with store.database.write() as connection:
        row = claim(connection, runner.owner, 60)
    work = JobWork.begin(store, runner._workers(), runner.owner, row)
    work.advance([], "run")
    shard = next(iter(work.flying.values()))
    events = []
    while not any(event.kind == "reconstructions" for _key, event in events):
        events += runner._workers().poll(1.0)
    work.advance(events, "run")
    first = outcome(store, job)
    work.flying[shard.id] = shard  # as if its worker had been thought dead
    work.advance(events, "run")
    assert outcome(store, job)[: len(first)] == first
    with store.database.read() as connection:
        count = select(func.count()).select_from(schema.pairings)
        assert connection.execute(count).scalar_one() == len(outcome(store, job))
    work.drop()
    runner._workers().close()


def test_a_dead_runners_job_is_taken_over_at_once_and_a_living_ones_is_not(store: Store) -> None:
    job = submit(store, attack_job(store), "orphan").job_id
    with store.database.write() as connection:
        assert claim(connection, "elsewhere:abc:1", 60).id == job
        assert claim(connection, "here:abc:2", 60) is None  # its lease runs and its home is another
        assert claim(connection, "elsewhere:abc:3", 60).id == job  # same home: its owner must be dead
        connection.execute(update(schema.jobs).values(lease_until=time.time() - 1))
        assert claim(connection, "here:abc:2", 60).id == job  # the lease is over


def test_a_job_of_another_version_fails_in_one_sentence(store: Store) -> None:
    job = submit(store, attack_job(store), "future").job_id
    with store.database.write() as connection:
        connection.execute(update(schema.jobs).values(payload_version=99))
    run_until_idle(store)
    assert job_row(store, job).state == "failed"
    assert "update SemSight" in job_row(store, job).error


def test_a_broken_row_fails_its_job_and_not_the_runner(store: Store) -> None:
    broken = submit(store, attack_job(store), "broken").job_id
    with store.database.write() as connection:
        connection.execute(update(schema.jobs).values(payload='{"model": 3}'))
    good = submit(store, attack_job(store, seed=1), "good").job_id
    run_until_idle(store)
    assert (job_row(store, broken).state, job_row(store, good).state) == ("failed", "done")
    assert "unexpected" in job_row(store, broken).error


def test_an_original_whose_file_is_gone_fails_in_one_sentence(store: Store) -> None:
    payload = attack_job(store)
    job = submit(store, payload, "gone").job_id
    store.artifacts.remove(payload.original_hashes[0])
    run_until_idle(store)
    assert job_row(store, job).state == "failed"
    assert "The store holds no file" in job_row(store, job).error


def test_a_job_whose_predecessor_failed_never_waits_for_ever(store: Store) -> None:
    bad = submit(store, attack_job(store, evil="error"), "bad").job_id
    after = submit(store, attack_job(store, seed=5), "after", depends_on=(bad,)).job_id
    run_until_idle(store)
    assert job_row(store, after).state == "failed"
    assert "depends on" in job_row(store, after).error


def checkpoints(store: Store) -> tuple[list, list]:
    """Checkpoints that shards name, and checkpoint files."""
    named = [s.checkpoint_sha for s in rows(store, "shards") if s.checkpoint_sha]
    return named, list(store.artifacts.root.glob("*/*.bin"))


def test_a_cancelled_job_leaves_no_checkpoint(store: Store) -> None:
    store = replace(store, settings=replace(store.settings, checkpoint_seconds=0.0))
    job = submit(store, attack_job(store, pause=0.05, steps=100_000), "endless").job_id

    def cancel() -> None:
        wait_for(lambda: bool(checkpoints(store)[0]))
        set_wanted(store, job, "cancel")

    run_beside(store, cancel)
    assert job_row(store, job).state == "cancelled"
    assert checkpoints(store) == ([], [])


def test_a_job_cancelled_while_it_pauses_loses_its_checkpoint_at_the_next_start(store: Store) -> None:
    store = replace(store, settings=replace(store.settings, checkpoint_seconds=0.0))
    job = submit(store, attack_job(store, pause=0.05, steps=100_000), "endless").job_id

    def pause() -> None:
        wait_for(lambda: bool(checkpoints(store)[0]))
        set_wanted(store, job, "pause")

    run_beside(store, pause)
    run_until_idle(store)
    assert len(checkpoints(store)[0]) == 1  # it may be resumed
    set_wanted(store, job, "cancel")
    run_until_idle(store)
    assert checkpoints(store) == ([], [])


def test_a_start_deletes_old_files_that_no_row_names_and_nothing_else(store: Store) -> None:
    submit(store, attack_job(store), "first")
    run_until_idle(store)
    before = set(store.artifacts.root.glob("*/*"))
    orphan, draft = (store.artifacts.put_bytes(word, ".csv") for word in (b"orphan", b"draft"))
    for file in store.artifacts.root.glob("*/*"):
        if file.stem != draft:
            os.utime(file, (1.0, 1.0))
    run_until_idle(store)
    assert not store.artifacts.exists(orphan)
    assert set(store.artifacts.root.glob("*/*")) == before | {store.artifacts.path(draft)}


class Unreachable(InlineExecutor):
    """Workers whose scheduler is gone: every word to it is an OSError, as distributed's CommClosedError is."""

    slots = 1

    def submit(self, key: int, data: bytes) -> None:
        pass

    def cancel(self, key: int) -> None:
        raise OSError("in <Client>: stream is closed")

    def poll(self, seconds: float) -> list:
        raise OSError("in <Client>: stream is closed")

    def close(self) -> None:
        raise OSError("in <Client>: stream is closed")


def test_a_job_waits_for_workers_that_went_away_and_ends_once_they_are_back(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made: list[str] = []

    def executor(_settings: object) -> InlineExecutor:
        made.append("made")
        if len(made) == 1:
            return Unreachable()
        if len(made) == 2:
            raise UserError("No Dask scheduler answers at tcp://x; start it, or unset SEMSIGHT_SCHEDULER.")
        return InlineExecutor()

    monkeypatch.setattr("core.jobs.runner.make_executor", executor)
    job = submit(store, attack_job(store), "lost").job_id
    runner = Runner(store)
    for _ in range(2):
        assert runner.turn()  # begun, then lost
    row = job_row(store, job)
    assert (row.state, row.error, row.lease_owner) == ("queued", None, None)
    assert "the workers do not answer any more" in caplog.text
    assert not runner.turn()  # still away: the job is not touched
    assert (job_row(store, job).state, len(made)) == ("queued", 2)
    runner.run(until_idle=True)
    assert (job_row(store, job).state, len(outcome(store, job))) == ("done", 16)


def test_workers_that_do_not_end_in_time_spoil_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under heavy load Dask's close raises: a runner whose jobs are all done ended with a traceback."""
    job = submit(store, attack_job(store), "done all the same").job_id
    runner = Runner(store)
    workers = runner._workers()

    def close() -> None:
        InlineExecutor.close(workers)
        raise TimeoutError("Worker process still alive")

    monkeypatch.setattr(workers, "close", close)
    runner.run(until_idle=True)
    assert job_row(store, job).state == "done"

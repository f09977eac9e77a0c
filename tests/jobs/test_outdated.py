"""Scores are brought up to date in the background: once for each change, last in the queue, and never in circles."""

import time
from collections import Counter
from dataclasses import replace

import pytest
from sqlalchemy import select, update

from core.jobs import runner as running
from core.jobs.claims import claim, let_go, somebody_waits
from core.jobs.payloads import RescoreJob, from_json
from core.jobs.queue import set_wanted, submit
from core.jobs.rescore import outdated, present, queue_outdated, rescore
from core.jobs.runner import Runner
from core.metrics.registry import METRICS
from core.metrics.sets import SET_METRICS
from core.report.runs import run as run_of
from core.storage import schema
from core.storage.store import Store
from tests.jobs.conftest import attack_job, job_row
from tests.jobs.test_rescore import METRIC, bring_weights, finished, no_weights, scores  # noqa: F401

BUMPED = replace(METRICS["mse"], version="of tomorrow")


def jobs_of(store: Store, kind: str = "rescore") -> list:
    with store.database.read() as connection:
        return list(connection.execute(select(schema.jobs).where(schema.jobs.c.kind == kind)))


def work(store: Store) -> None:
    Runner(store).run(until_idle=True)


def test_a_run_that_was_just_scored_lacks_nothing(store: Store) -> None:
    finished(store)
    assert outdated(store) == {}
    work(store)
    assert jobs_of(store) == []


def test_a_new_version_is_scored_in_the_background_and_the_old_rows_stay(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finished(store)
    before = scores(store)
    monkeypatch.setitem(METRICS, "mse", BUMPED)
    assert outdated(store) == {run: ("mse",)}
    work(store)
    (job,) = jobs_of(store)
    assert (job.state, job.parent_id, job.title) == ("done", run, "Scores of first, brought up to date")
    payload = from_json(job.payload_type, job.payload_version, job.payload)
    assert isinstance(payload, RescoreJob)
    assert (payload.attack_job, payload.metrics, payload.references) == (run, ("mse",), ("attacked",))
    after = scores(store)
    assert {row.id for row in before} <= {row.id for row in after}
    fresh = [row for row in after if row.id not in {old.id for old in before}]
    # only the metric that changed, once for each of the 8 chosen reconstructions
    assert Counter((row.metric, row.metric_version) for row in fresh) == {("mse", "of tomorrow"): 8}
    for _ in range(3):
        work(store)
    assert len(jobs_of(store)) == 1
    assert outdated(store) == {}


def test_a_new_metric_is_scored_of_old_runs(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run = finished(store)
    monkeypatch.setitem(METRICS, "mine", replace(METRICS["mse"], name="mine"))
    monkeypatch.setitem(SET_METRICS, "mine_of_sets", replace(SET_METRICS["kid_alex"], name="mine_of_sets"))
    assert outdated(store) == {run: ("mine", "mine_of_sets")}
    work(store)
    assert len([row for row in scores(store) if row.metric == "mine" and row.value is not None]) == 8
    assert [row.reason != "" for row in scores(store) if row.metric == "mine_of_sets"] == [True]  # no weights here
    assert outdated(store) == {}


def test_weights_that_come_are_used_and_those_that_are_still_missing_are_let_be(store: Store) -> None:
    run = finished(store)
    assert any(row.reason for row in scores(store) if row.metric.startswith("lpips"))
    assert outdated(store) == {}  # every metric without weights would be the same reason again
    bring_weights(store.settings)
    assert outdated(store) == {run: ("lpips_squeeze", METRIC)}
    work(store)
    assert [row.value for row in scores(store) if row.metric == METRIC] == [0.0] * 8
    # at 8 px the other one has a reason still, now under the weights' hash: that is an answer
    assert {row.weights_hash != "" for row in scores(store) if row.metric == "lpips_squeeze"} == {True}
    assert outdated(store) == {}
    (store.settings.weights / "squeezenet1_1-imagenet-features.safetensors").unlink()
    assert outdated(store) == {}  # what is gone takes no value away, and gives none


def test_weights_that_change_are_scored_anew_beside_the_old(store: Store) -> None:
    import torch
    from safetensors.torch import save_file

    from core.models.weights import WEIGHTS

    bring_weights(store.settings)
    run = finished(store)
    name = "squeezenet1_1-imagenet-features"
    others = {key: torch.full(shape, 0.01) for key, shape in WEIGHTS[name].shapes.items()}
    save_file(others, store.settings.weights / f"{name}.safetensors")
    assert METRIC in outdated(store)[run]
    work(store)
    hashes = Counter(row.weights_hash for row in scores(store) if row.metric == METRIC)
    assert sorted(hashes.values()) == [8, 8]
    assert outdated(store) == {}


def test_one_state_of_things_is_tried_once_however_it_ends(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run = finished(store)
    monkeypatch.setitem(METRICS, "mse", BUMPED)
    (job,) = queue_outdated(store)
    assert queue_outdated(store) == []  # it is on its way
    for state in ("done", "failed", "cancelled"):
        with store.database.write() as connection:
            connection.execute(update(schema.jobs).where(schema.jobs.c.id == job).values(state=state, error="no disk"))
        assert queue_outdated(store) == []  # it scored nothing, and would not again
    shown = run_of(store, run)
    assert (shown.scoring, shown.scoring_error) == ("cancelled", "no disk")  # a page shows it, with its button
    rescore(store, run)
    work(store)
    assert outdated(store) == {}


def test_runs_that_wait_for_a_person_and_runs_that_did_not_finish_are_left_alone(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finished(store)
    monkeypatch.setitem(METRICS, "mse", BUMPED)
    mine = schema.jobs.c.parent_id == run
    for state in ("failed", "cancelled", "queued", "running", "paused"):
        with store.database.write() as connection:
            connection.execute(update(schema.jobs).where(mine).values(state=state))
        assert outdated(store) == {}, state
    with store.database.write() as connection:
        connection.execute(update(schema.jobs).where(mine).values(state="done"))
        connection.execute(update(schema.jobs).where(schema.jobs.c.id == run).values(state="failed"))
    assert outdated(store) == {}


def test_a_person_who_asks_does_not_wait_for_the_background(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run = finished(store)
    monkeypatch.setitem(METRICS, "mse", BUMPED)
    (job,) = queue_outdated(store)
    again = rescore(store, run)
    assert job_row(store, job).state == "cancelled"
    assert job_row(store, again.job_id).kind == "score"


def test_the_background_comes_last(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    finished(store)
    monkeypatch.setitem(METRICS, "mse", BUMPED)
    (background,) = queue_outdated(store)
    attack = submit(store, attack_job(store, seed=5), "asked later").job_id
    order = []
    with store.database.write() as connection:
        while (row := claim(connection, "me:home:1", 60)) is not None:
            order.append(row.id)
            let_go(connection, row.id, "me:home:1", "done")
    assert order == [attack, background]


def test_a_job_in_the_background_lets_others_pass(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    finished(store)
    monkeypatch.setitem(METRICS, "mse", BUMPED)
    (background,) = queue_outdated(store)
    runner = Runner(store)
    runner.turn()  # it is claimed, for there is nothing else
    assert job_row(store, background).state == "running"
    asked = submit(store, attack_job(store, seed=5), "asked meanwhile").job_id
    waits = submit(store, attack_job(store, seed=6), "waits for another", depends_on=(asked,)).job_id
    deadline = time.monotonic() + 60
    while job_row(store, asked).state == "queued":
        assert time.monotonic() < deadline
        runner.turn()
    assert job_row(store, background).state in ("queued", "done")  # done where it was through already
    with store.database.write() as connection:
        connection.execute(update(schema.jobs).where(schema.jobs.c.id == asked).values(wanted="run"))
    while runner.turn():
        assert time.monotonic() < deadline
    states = {job_row(store, one).state for one in (background, asked, waits)}
    assert states == {"done"}
    runner._executor.close()


def test_only_what_could_run_now_is_let_pass(store: Store) -> None:
    with store.database.read() as connection:
        assert not somebody_waits(connection)
    asked = submit(store, attack_job(store), "paused").job_id
    submit(store, attack_job(store, seed=3), "waits for it", depends_on=(asked,))
    with store.database.read() as connection:
        assert somebody_waits(connection)
    set_wanted(store, asked, "pause")
    with store.database.read() as connection:
        assert not somebody_waits(connection)


def test_an_idle_runner_notices_and_looks_only_when_something_changed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []

    def counting(of_store: Store, now: object, beat: object) -> list[int]:
        looked.append(1)
        return queue_outdated(of_store, now, beat)

    run = finished(store)
    monkeypatch.setattr(running, "REFRESH_SECONDS", 0.0)
    monkeypatch.setattr(running, "POLL_SECONDS", 0.0)
    monkeypatch.setattr(running, "queue_outdated", counting)
    runner = Runner(store)
    for _ in range(3):
        assert not runner.turn()
    assert len(looked) == 1  # nothing changed since
    bring_weights(store.settings)
    runner.turn()
    assert len(looked) == 2
    assert [job.parent_id for job in jobs_of(store)] == [run]
    while runner.turn():
        pass
    assert outdated(store) == {}
    runner._executor.close()


def test_what_is_present_is_told_without_torch_and_by_name(store: Store) -> None:
    here = present(store.settings)
    assert set(here) == {*METRICS, *SET_METRICS}
    assert (here["mse"].missing, here["mse"].weights_hash) == (False, "")
    assert here["fid"].missing

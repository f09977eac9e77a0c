"""Sets of a run and of a setting: who belongs to them, what is stored, and what a page reads."""

import json
from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import select

from core.jobs import sets
from core.jobs.payloads import RescoreJob, ScoreJob
from core.jobs.plan import ShardPlan
from core.jobs.queue import original_hashes, store_originals, submit
from core.jobs.rescore import outdated, queue_outdated
from core.jobs.runner import Runner
from core.metrics.set_features import set_features
from core.metrics.set_statistics import statistics
from core.metrics.sets import SET_METRICS
from core.models.spec import ModelSpec
from core.report.sets import SetScore, set_scores
from core.storage import schema
from core.storage.store import Store
from tests.jobs.conftest import attack_job, prepared

ALEX = [name for name in SET_METRICS if name.endswith("_alex")]


@pytest.fixture
def store(store: Store, shared, monkeypatch: pytest.MonkeyPatch) -> Store:  # type: ignore[no-untyped-def]
    """With AlexNet's weights, and nothing of torch's own cache."""
    monkeypatch.setenv("SEMSIGHT_WEIGHTS", str(shared / "weights"))
    monkeypatch.setenv("TORCH_HOME", "/nonexistent")
    return replace(store, settings=replace(store.settings, weights=shared / "weights", torch_cache=None))


def done(store: Store, **changes: object) -> int:
    job = submit(store, attack_job(store, **{"steps": 3, "count": 8, **changes}), "x").job_id
    Runner(store).run(until_idle=True)
    return job


def rows(store: Store, table: str) -> list:
    with store.database.read() as connection:
        return list(connection.execute(select(getattr(schema, table))))


def by_name(found: tuple[SetScore, ...], scope: str = "run") -> dict[str, SetScore]:
    return {one.metric: one for one in found if one.scope == scope}


def test_a_runs_sets_are_its_originals_and_what_the_attack_chose(store: Store) -> None:
    run = done(store)
    found = set_scores(store, run)
    assert [one.metric for one in found] == list(SET_METRICS)
    assert {one.scope for one in found} == {"run"}  # no other run shares its setting
    chosen = [r for r in rows(store, "reconstructions") if r.chosen and r.role == "attack"]
    read = store.artifacts.read_png
    features = [
        set_features([read(one.image_sha) for one in side], "alexnet", store.settings)
        for side in (rows(store, "originals"), chosen)
    ]
    wanted = statistics(*features, ["fid", "kid", "precision", "recall", "density", "coverage"])
    for name in ALEX:
        one = by_name(found)[name]
        assert one.value == pytest.approx(wanted[name.removesuffix("_alex")], rel=1e-4, abs=1e-5)
        assert (one.n, one.runs, one.reason) == (8, (run,), "")
        assert one.warning.startswith("From 8 pictures: with fewer than")
    assert "inception-fid.safetensors" in by_name(found)["fid"].reason
    assert by_name(found)["fid"].value is None
    assert by_name(found)["fid"].warning == ""
    (row,) = rows(store, "sets")
    assert json.loads(row.rule)["scope"] == "run"
    members = {m.pairing_id for m in rows(store, "set_members")}
    pairing = {p.id: p.reconstruction_id for p in rows(store, "pairings")}
    assert {pairing[one] for one in members} == {one.id for one in chosen}


def test_what_is_not_scored_yet_or_does_not_exist_is_empty(store: Store) -> None:
    job = submit(store, attack_job(store), "x").job_id
    assert set_scores(store, job) == ()
    assert set_scores(store, 99) == ()
    assert set_scores(store, job, "source") == ()


def test_too_few_pictures_are_a_reason(store: Store) -> None:
    found = by_name(set_scores(store, done(store, count=4)))
    assert found["fid_alex"].value is not None  # 2 would do
    assert found["coverage_alex"].reason == "unavailable: needs at least 6 pictures in each set, got 4"


def other_originals(store: Store, payload):  # type: ignore[no-untyped-def]
    """The payload over other pictures of the same data set."""
    random = np.random.default_rng(99)
    fresh = [
        replace(p, name=f"other-{p.name}", original=random.integers(0, 256, p.original.shape).astype(np.uint8))
        for p in prepared(8)
    ]
    ids = store_originals(store, "noise", fresh)
    return replace(payload, originals=tuple(ids), original_hashes=original_hashes(store, ids))


def test_a_setting_is_every_run_of_one_model_attack_defence_and_data_set(store: Store) -> None:
    first = done(store)
    done(store, steps=4)  # another setting of the attack
    elsewhere = replace(attack_job(store, count=8, steps=3), model=replace(attack_job(store).model, init_seed=3))
    submit(store, elsewhere, "another model")
    assert {one.scope for one in set_scores(store, first)} == {"run"}
    payload = attack_job(store, count=8, steps=3)
    second = submit(store, replace(other_originals(store, payload), seed=1), "same setting").job_id
    Runner(store).run(until_idle=True)
    for run in (first, second):
        found = by_name(set_scores(store, run), "setting")
        assert set(found) == set(SET_METRICS)
        assert {one.runs for one in found.values()} == {(first, second)}
        assert found["kid_alex"].n == 16
        assert found["kid_alex"].value is not None
    assert by_name(set_scores(store, first))["kid_alex"].runs == (first,)
    # asked for, each run does its setting; in the background the newest does it for all
    for job, wanted in ((ScoreJob, {first: 2, second: 2}), (RescoreJob, {first: 1, second: 2})):
        assert {run: len(sets.plan_sets(store, job(attack_job=run), ["attacked"])) for run in wanted} == wanted


def two_of_one_setting(store: Store) -> tuple[int, int]:
    first = done(store)
    payload = replace(other_originals(store, attack_job(store, count=8, steps=3)), seed=1)
    second = submit(store, payload, "same setting").job_id
    Runner(store).run(until_idle=True)
    return first, second


def scoring_of(store: Store, run: int, state: str) -> None:
    """The run's newest scoring is in this state."""
    newest = max(job.id for job in rows(store, "jobs") if job.parent_id == run)
    with store.database.write() as connection:
        connection.execute(schema.jobs.update().where(schema.jobs.c.id == newest).values(state=state))


@pytest.mark.parametrize(
    ("state", "do_it"),
    [("failed", 2), ("cancelled", 2), ("paused", 2), ("done", 1), ("queued", 1), ("running", 1)],
)
def test_the_newest_run_that_can_be_scored_does_the_setting_in_the_background(
    store: Store, state: str, do_it: int
) -> None:
    first, second = two_of_one_setting(store)
    scoring_of(store, second, state)
    assert len(sets.plan_sets(store, RescoreJob(attack_job=first), ["attacked"])) == do_it
    assert len(sets.plan_sets(store, RescoreJob(attack_job=second), ["attacked"])) == 2


def test_a_setting_is_brought_up_to_date_though_its_newest_run_failed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = two_of_one_setting(store)
    monkeypatch.setitem(SET_METRICS, "kid_alex", replace(SET_METRICS["kid_alex"], version="of tomorrow"))
    jobs = queue_outdated(store)
    assert len(jobs) == 2
    Runner(store).run(until_idle=True)
    assert {job.state for job in rows(store, "jobs")} == {"done"}
    assert outdated(store) == {}
    # as if the second run's job, which did the setting for both, had failed before its sets
    scoring_of(store, second, "failed")
    of_setting = [one.id for one in rows(store, "sets") if one.name.startswith("setting")]
    with store.database.write() as connection:
        tomorrow = (schema.scores.c.subject_id.in_(of_setting), schema.scores.c.metric_version == "of tomorrow")
        connection.execute(schema.scores.delete().where(schema.scores.c.subject_kind == "set", *tomorrow))
    assert by_name(set_scores(store, first), "setting")["kid_alex"].version != "of tomorrow"
    assert outdated(store) == {first: ("kid_alex",)}
    Runner(store).run(until_idle=True)
    scored = by_name(set_scores(store, first), "setting")["kid_alex"]
    assert (scored.runs, scored.version) == ((first, second), "of tomorrow")
    assert outdated(store) == {}
    assert queue_outdated(store) == []


def test_a_run_done_again_counts_once_in_its_setting(store: Store) -> None:
    first = done(store)
    again = submit(store, attack_job(store, count=8, steps=3), "x", anew=True).job_id
    Runner(store).run(until_idle=True)
    attack = attack_job(store, count=8, steps=3)
    assert sets.runs_of(store, again, attack, "setting") == (again,)  # the same pictures twice say nothing more
    assert sets.runs_of(store, first, attack, "setting") == (first,)
    assert by_name(set_scores(store, again), "setting") == {}


def test_large_sets_are_thinned_evenly_and_say_so(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sets, "MOST_MEMBERS", 6)
    run = done(store, count=10)
    one = by_name(set_scores(store, run))["fid_alex"]
    assert one.n == 6
    assert one.warning.endswith("Of 10 pictures, 6 were taken, evenly from first to last.")
    targets = {r.id: r.target for r in rows(store, "reconstructions")}
    pairing = {p.id: p.reconstruction_id for p in rows(store, "pairings")}
    kept = sorted(targets[pairing[m.pairing_id]] for m in rows(store, "set_members"))
    assert kept == [0, 1, 3, 5, 6, 8]  # place · 10 // 6
    assert sets._thinned(list(range(3)), 6) == [0, 1, 2]


def test_memory_of_a_shard_is_bounded_by_the_size_of_pictures(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sets, "MOST_BYTES", 3 * 8 * 8 * 5)
    run = done(store)
    shard = sets.set_shard(store, ScoreJob(attack_job=run), ShardPlan("sets", (0,)), 1)
    assert shard.originals.shape == shard.reconstructions.shape == (5, 8, 8, 3)


def test_what_was_made_from_the_model_alone_is_compared_with_all_originals(store: Store) -> None:
    run = done(store)
    with store.database.write() as connection:  # all paired with the first original, as the nearest may be
        connection.execute(schema.pairings.update().values(original_id=1, method="nearest", cost_name="mse"))
    shard = sets.set_shard(store, ScoreJob(attack_job=run), ShardPlan("sets", (0,)), 1)
    assert len(shard.originals) == 8


def test_a_set_is_stored_once_however_often_its_shard_runs(store: Store) -> None:
    run = done(store)
    before = rows(store, "sets"), len(rows(store, "set_members"))
    made = [sets.set_shard(store, ScoreJob(attack_job=run), ShardPlan("sets", (0,)), 1).set_id for _ in range(2)]
    assert set(made) == {before[0][0].id}
    assert (rows(store, "sets"), len(rows(store, "set_members"))) == before


def test_the_seed_of_drawn_weights_makes_another_setting() -> None:
    from core.storage.sets import setting_key

    payload = {"model": {"architecture": "mlp"}, "threat": {}, "attack": "dlg", "config": {}, "seed": 0}
    key = setting_key(payload, "lfw")
    assert setting_key({**payload, "seed": 7, "originals": [1], "device": "cpu"}, "lfw") == key
    assert setting_key({**payload, "config": {"steps": 2}}, "lfw") != key
    assert setting_key(payload, "photos") != key
    assert ModelSpec("mlp", 10).init_seed == 0

"""Runs as pages read them: counts, progress, time left, the loss curve and the newest frames."""

import json

import pytest

from core.errors import UserError
from core.report.runs import CURVE_POINTS, changes, counts, curve, flat_settings, frames, remaining_seconds, run, runs
from core.storage import schema
from core.storage.database import bump
from tests.filled_store import fill_store


@pytest.fixture
def filled(store):
    return fill_store(store, originals=4, runs=2, labels=3)


def shard(store, job, role="attack", position=0, step=0, total=100, state="running"):
    with store.database.write() as connection:
        return connection.execute(
            schema.shards.insert().values(
                job_id=job, position=position, role=role, plan="{}", state=state, step=step, total=total
            )
        ).inserted_primary_key[0]


def progressed(store, shard_id, points):
    with store.database.write() as connection:
        for step, moment, losses in points:
            connection.execute(
                schema.job_progress.insert().values(
                    shard_id=shard_id, step=step, time=moment, losses=json.dumps(losses)
                )
            )


def test_counts(store, filled):
    found = counts(store)
    assert (found.runs, found.originals, found.reconstructions, found.answers, found.annotators) == (2, 4, 8, 3, 1)


def test_runs_come_newest_first_and_an_unknown_one_is_refused(store, filled):
    assert [r.id for r in runs(store)] == [2, 1]
    assert [r.id for r in runs(store, limit=1, offset=1)] == [1]
    assert runs(store, active=True) == []
    assert run(store, 1).spec.architecture == "lenet"
    with pytest.raises(UserError, match="There is no run 9"):
        run(store, 9)


def test_progress_adds_up_shards_but_not_those_that_were_split(store, filled):
    with store.database.write() as connection:
        connection.execute(schema.jobs.update().where(schema.jobs.c.id == 1).values(state="running"))
    shard(store, 1, position=0, step=10, total=100)
    shard(store, 1, position=1, step=30, total=100)
    shard(store, 1, position=2, step=90, total=100, state="split")
    found = run(store, 1)
    assert (found.done, found.total, found.share) == (40, 200, 0.2)
    assert found.live


def test_time_left_is_the_pace_of_the_running_shards(store, filled):
    first = shard(store, 1, step=30, total=100)
    shard(store, 1, position=1, step=0, total=50, state="queued")
    progressed(store, first, [(10, 1000.0, [1.0]), (30, 1010.0, [0.5])])
    # 20 steps in 10 s are 2 a second; 70 + 50 steps are left: 60 s.
    assert remaining_seconds(store, 1, now=1011.0) == pytest.approx(60.0)
    assert remaining_seconds(store, 1, now=2000.0) is None  # too old to say anything


def test_the_curve_takes_the_median_over_updates_and_leaves_nan_out(store, filled):
    one, other = shard(store, 1), shard(store, 1, position=1)
    prior = shard(store, 1, role="prior", position=2)
    progressed(store, one, [(1, 0.0, [4.0, None]), (2, 1.0, [1.0, 3.0])])
    progressed(store, other, [(1, 0.0, [8.0, 6.0]), (2, 1.0, [2.0])])
    progressed(store, prior, [(1, 0.0, [0.001])])
    found = curve(store, 1)
    assert found.steps == (1, 2)
    assert found.median == (6.0, 2.0)  # of 4, 8, 6 and of 1, 3, 2
    assert found.lowest == (4.0, 1.0)  # the prior control's loss stays out


def test_a_long_curve_is_thinned_and_keeps_its_end(store, filled):
    long = shard(store, 1)
    progressed(store, long, [(step, float(step), [1.0]) for step in range(1, 2 * CURVE_POINTS + 2)])
    found = curve(store, 1)
    assert len(found.steps) <= CURVE_POINTS + 1
    assert (found.steps[0], found.steps[-1]) == (1, 2 * CURVE_POINTS + 1)


def test_frames_are_the_newest_of_each_slot_and_bounded(store, filled):
    sha = "a" * 64
    attacking = shard(store, 1)
    with store.database.write() as connection:
        for target in range(5):
            for step in (1, 50):
                connection.execute(
                    schema.previews.insert().values(shard_id=attacking, target=target, step=step, image_sha=sha)
                )
    assert [(f.target, f.step) for f in frames(store, 1, limit=3)] == [(0, 50), (1, 50), (2, 50)]


def test_changes_differ_when_something_happened(store, filled):
    before = changes(store)
    assert changes(store) == before
    with store.database.write() as connection:
        bump(connection, "labels")
    assert changes(store) != before


def test_settings_are_flat_and_long_lists_are_counted():
    flat = flat_settings({"b": {"c": 1, "d": "x"}, "a": list(range(13)), "e": [1, 2]})
    assert flat == [("a", "13 entries"), ("b.c", "1"), ("b.d", "x"), ("e", "[1, 2]")]

"""A full disk: the runner pauses or waits, says so in one sentence, and nothing stored is lost (bad-input-39)."""

import errno
import os
import sqlite3
from dataclasses import replace

import pytest
from sqlalchemy import update
from sqlalchemy.exc import OperationalError

from core.errors import UserError
from core.jobs.claims import forget_checkpoints
from core.jobs.compose import demo_request, submit_attack
from core.jobs.queue import set_wanted, submit
from core.jobs.runner import Runner
from core.jobs.sweep import sweep
from core.jobs.work import FULL_DISK
from core.storage import schema, space
from core.storage.artifacts import ArtifactStore
from core.storage.prune import Rules
from core.storage.store import Store
from tests.jobs.conftest import attack_job, job_row, outcome
from tests.jobs.test_runner import rows


def full(monkeypatch: pytest.MonkeyPatch, after: int) -> list[int]:
    """Every picture beyond the first `after` is refused for want of space, until what comes back is cleared."""
    left, put = [after], ArtifactStore.put_png

    def put_png(self: ArtifactStore, pixels: object) -> str:
        if left:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return put(self, pixels)  # type: ignore[arg-type]

    monkeypatch.setattr(ArtifactStore, "put_png", put_png)
    return left


def test_a_full_disk_pauses_the_job_and_it_goes_on_where_it_was(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    undisturbed = submit(store, attack_job(store, seed=1), "undisturbed").job_id
    Runner(store).run(until_idle=True)
    job = submit(store, attack_job(store, seed=1), "disturbed", anew=True).job_id
    space_left = full(monkeypatch, after=3)
    Runner(store).run(until_idle=True)
    row = job_row(store, job)
    assert (row.state, row.wanted, row.error) == ("paused", "pause", FULL_DISK)
    Runner(store).run(until_idle=True)  # nobody resumed it
    assert job_row(store, job).state == "paused"
    space_left.clear()
    set_wanted(store, job, "run")
    Runner(store).run(until_idle=True)
    row = job_row(store, job)
    assert (row.state, row.error) == ("done", None)
    assert outcome(store, job) == outcome(store, undisturbed)


def test_the_runner_waits_where_the_database_has_no_room(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    job = submit(store, attack_job(store), "first").job_id
    runner, claim, refused = Runner(store), Runner._claim, [1, 1]
    error = OperationalError("update jobs", {}, sqlite3.OperationalError("database or disk is full"))

    def claim_or_refuse(self: Runner) -> object:
        if refused:
            refused.pop()
            raise error
        return claim(self)

    monkeypatch.setattr(Runner, "_claim", claim_or_refuse)
    monkeypatch.setattr("core.jobs.runner.ROOM_SECONDS", 0.0)
    runner.run(until_idle=True)
    assert job_row(store, job).state == "done"
    error.orig = sqlite3.OperationalError("no such table")
    error.args = ("no such table",)
    refused.append(1)
    submit(store, attack_job(store, seed=9), "second")
    with pytest.raises(OperationalError):
        Runner(store).run(until_idle=True)


def test_a_run_that_would_not_fit_is_refused_before_anything_is_stored(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(space, "free_bytes", lambda _: space.KEPT_FREE)
    with pytest.raises(UserError, match=r"This run needs about .* but the disk of"):
        submit_attack(store, demo_request())
    assert rows(store, "originals") == rows(store, "jobs") == []
    monkeypatch.setattr(space, "free_bytes", lambda _: space.KEPT_FREE + (1 << 20))
    assert not submit_attack(store, demo_request()).already
    with pytest.raises(UserError, match="This run needs about"):
        submit_attack(store, replace(demo_request(), config={"restarts": 64}))


def test_a_sweep_deletes_by_every_rule_and_says_what(store: Store) -> None:
    job = submit(store, attack_job(store), "first").job_id
    Runner(store).run(until_idle=True)
    checkpoint = store.artifacts.put_bytes(b"state", ".bin")
    with store.database.write() as connection:
        connection.execute(update(schema.shards).where(schema.shards.c.job_id == job).values(checkpoint_sha=checkpoint))
        connection.execute(update(schema.jobs).values(finished=1.0))
    orphan = store.artifacts.put_bytes(b"nobody's", ".bin")
    frames = len(rows(store, "previews"))
    for path in store.artifacts.root.glob("*/*"):
        os.utime(path, (1.0, 1.0))
    assert store.artifacts.exists(checkpoint)
    before = outcome(store, job)
    swept = sweep(store, Rules())
    counted = {kind: (files, size) for kind, files, size in swept.parts}
    assert counted["checkpoints"] == (1, 5)
    assert counted["unnamed"] == (1, 8)
    assert swept.words().startswith("1 checkpoint (5 B), 1 file that nothing names (8 B)")
    assert not store.artifacts.exists(orphan)
    assert len(rows(store, "previews")) < frames or frames == 0
    assert outcome(store, job) == before
    assert all(store.artifacts.exists(row.image_sha) for row in rows(store, "reconstructions"))
    with store.database.write() as connection:
        assert forget_checkpoints(connection) == []

"""Trainings in real processes: a worker and a runner killed with -9 change no byte of the weights."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from core.jobs.launch import PROJECT, environment_of
from core.jobs.training import final_model
from core.storage.store import Store
from tests.jobs.conftest import job_row
from tests.jobs.test_processes import dask_worker, wait_for
from tests.jobs.trainings import begun, curve, shard, weights_of_undisturbed

LONG = {"epochs": 200, "keep_epochs": "20"}  # 600 steps, some seconds


@pytest.fixture
def start(store: Store) -> Iterator[Callable[[str], subprocess.Popen]]:
    """Start `python -m core worker --until-idle` with an executor; all are killed at the end."""
    started = []

    def begin(executor: str) -> subprocess.Popen:
        settings = replace(store.settings, executor=executor, checkpoint_seconds=0.1)
        command = [sys.executable, "-m", "core", "worker", "--until-idle"]
        started.append(subprocess.Popen(command, cwd=PROJECT, env=environment_of(settings), start_new_session=True))
        return started[-1]

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()


def test_a_killed_worker_and_a_killed_runner_end_in_the_undisturbed_weights(store: Store, start: Callable) -> None:
    def checkpoints() -> int:
        row = shard(store, job)
        return row.checkpoint_version if row is not None else 0

    job = begun(store, **LONG)
    runner = start("dask")
    wait_for(lambda: checkpoints() >= 2)
    before = shard(store, job).step
    dask_worker(runner.pid).kill()
    wait_for(lambda: shard(store, job).attempt == 2)
    wait_for(lambda: shard(store, job).step > before + 30)
    assert job_row(store, job).state == "running"
    runner.kill()
    runner.wait()
    assert len(curve(store, job)) < LONG["epochs"]

    assert start("inline").wait() == 0
    row = job_row(store, job)
    assert (row.state, row.attempt) == ("done", 2)
    assert curve(store, job) == list(range(1, LONG["epochs"] + 1))
    assert final_model(store, job).spec.weights_sha256 == weights_of_undisturbed(store, **LONG)

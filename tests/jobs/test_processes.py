"""Real processes: one runner for a home, and what is left when something is killed with -9."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from sqlalchemy import Row, select

from core.jobs import launch
from core.jobs.launch import PROJECT, ensure_runner, environment_of, living_runner
from core.jobs.queue import set_wanted, submit
from core.jobs.runner import Runner
from core.settings import Settings
from core.storage import schema
from core.storage.store import Store, open_store
from tests.jobs.conftest import attack_job, job_row, outcome

SPAWN = multiprocessing.get_context("spawn")
PRELOAD = {"DASK_DISTRIBUTED__WORKER__PRELOAD": "tests.jobs.register_fakes"}


@pytest.fixture
def dask(store: Store) -> Store:
    """The store with the Dask executor and a checkpoint after each step."""
    return replace(store, settings=replace(store.settings, executor="dask", checkpoint_seconds=0.0))


@pytest.fixture
def start(dask: Store) -> Iterator[Callable[[], subprocess.Popen]]:
    """Start a runner that knows the fake attack; all are killed at the end."""
    started = []

    def begin(*arguments: str, store: Store = dask) -> subprocess.Popen:
        environment = {**environment_of(store.settings), **PRELOAD, "PYTHONPATH": str(PROJECT)}
        command = [sys.executable, "-m", "tests.jobs.worker_with_fakes", *arguments]
        started.append(subprocess.Popen(command, cwd=PROJECT, env=environment, start_new_session=True))
        return started[-1]

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail("it did not happen within 120 s")
        time.sleep(0.02)


def undisturbed(store: Store, **changes: object) -> list[tuple[object, ...]]:
    """Outcome of the same job run inline in this process, without any interruption or checkpoint."""
    inline = replace(store, settings=replace(store.settings, executor="inline", checkpoint_seconds=1e6))
    job = submit(inline, attack_job(inline, **changes), "undisturbed", anew=True).job_id
    Runner(inline).run(until_idle=True)
    assert job_row(inline, job).state == "done"
    return outcome(inline, job)


def first_shard(store: Store, job: int) -> Row:
    with store.database.read() as connection:
        mine = schema.shards.c.job_id == job
        return connection.execute(select(schema.shards).where(mine).order_by(schema.shards.c.position)).first()


def checkpoints(store: Store, job: int) -> int:
    shard = first_shard(store, job)
    return shard.checkpoint_version if shard else 0


def dask_worker(runner: int) -> psutil.Process:
    """The process in which shards run: a child of the runner that spawn started."""
    children = psutil.Process(runner).children(recursive=True)
    return next(p for p in children if "spawn_main" in " ".join(p.cmdline()))


def test_kill_9_of_worker_and_runner_ends_in_the_undisturbed_result(dask: Store, start: Callable) -> None:
    job = submit(dask, attack_job(dask, steps=60, pause=0.05), "killed twice").job_id
    runner = start("--until-idle")
    wait_for(lambda: checkpoints(dask, job) >= 5)
    worker = dask_worker(runner.pid)
    worker.kill()
    before = checkpoints(dask, job)
    wait_for(lambda: checkpoints(dask, job) >= before + 5)

    worker = dask_worker(runner.pid)
    runner.kill()
    runner.wait()
    wait_for(lambda: not worker.is_running())  # its children die with it
    assert job_row(dask, job).state == "running"

    assert start("--until-idle").wait() == 0
    assert (job_row(dask, job).state, job_row(dask, job).attempt) == ("done", 2)
    # a checkpoint a step, numbered onwards from the last one stored: starting over would have made many more than 60
    assert checkpoints(dask, job) <= 60
    assert outcome(dask, job) == undisturbed(dask, steps=60)


def test_kill_9_changes_no_byte_of_the_real_attacks(dask: Store, start: Callable) -> None:
    quick = {"dlg": {"iterations": 60}, "inverting-gradients": {"steps": 300}}
    named = {name: attack_job(dask, attack=name, controls=1, **few) for name, few in quick.items()}
    dlg, inverting = (submit(dask, payload, name).job_id for name, payload in named.items())
    runner = start()
    wait_for(lambda: checkpoints(dask, dlg) >= 3)
    dask_worker(runner.pid).kill()
    wait_for(lambda: checkpoints(dask, inverting) >= 3)
    assert job_row(dask, inverting).state == "running"
    runner.kill()
    assert start("--until-idle").wait() == 0
    for job, name in ((dlg, "dlg"), (inverting, "inverting-gradients")):
        assert job_row(dask, job).state == "done"
        assert outcome(dask, job) == undisturbed(dask, attack=name, controls=1, **quick[name])


@pytest.mark.timeout(900)  # of its own accord it waits for five starts of a worker, each an import of torch
def test_a_worker_that_always_dies_fails_the_job_and_not_the_runner(dask: Store, start: Callable) -> None:
    # BAD_INPUTS 37; a worker killed for memory dies in the same way, by SIGKILL of its nanny or of the system
    bad = submit(dask, attack_job(dask, evil="crash", at=1), "crashes").job_id
    good = submit(dask, attack_job(dask), "good").job_id
    assert start("--until-idle").wait() == 0
    assert job_row(dask, bad).state == "failed"
    assert "failed 3 times (its worker process hung, died, or was killed for memory)" in job_row(dask, bad).error
    assert job_row(dask, good).state == "done"
    assert outcome(dask, good) == undisturbed(dask)


def test_a_hung_worker_is_replaced_and_the_job_goes_on(dask: Store, start: Callable, tmp_path: Path) -> None:
    impatient = replace(dask, settings=replace(dask.settings, silence_seconds=8.0))
    once = str(tmp_path / "hung")
    job = submit(dask, attack_job(dask, evil="hang", at=10, once=once), "hangs once").job_id
    assert start("--until-idle", store=impatient).wait() == 0
    assert Path(once).exists()
    assert job_row(dask, job).state == "done"
    assert outcome(dask, job) == undisturbed(dask)


def test_cancel_and_sigterm_reach_a_running_shard(dask: Store, start: Callable) -> None:
    endless = submit(dask, attack_job(dask, steps=100_000, pause=0.05), "endless").job_id
    runner = start()
    wait_for(lambda: checkpoints(dask, endless) >= 1)
    set_wanted(dask, endless, "cancel")
    wait_for(lambda: job_row(dask, endless).state == "cancelled")

    other = submit(dask, attack_job(dask, steps=100_000, pause=0.05, seed=3), "let go").job_id
    wait_for(lambda: checkpoints(dask, other) >= 1)
    runner.terminate()
    assert runner.wait() == 0
    assert (job_row(dask, other).state, job_row(dask, other).lease_owner) == ("queued", None)
    assert first_shard(dask, other).checkpoint_sha is not None


def launch_and_say(settings: Settings, answers: multiprocessing.Queue) -> None:
    """An app: open the store, start the runner, tell its pid, and stay."""
    open_store(settings)
    answers.put(ensure_runner(settings))
    time.sleep(1000)


def test_two_apps_at_once_share_one_runner_that_outlives_them(store: Store) -> None:
    answers: multiprocessing.Queue = SPAWN.Queue()
    apps = [SPAWN.Process(target=launch_and_say, args=(store.settings, answers)) for _ in range(2)]
    for app in apps:
        app.start()
    pids = {answers.get(timeout=120) for _ in apps}
    assert len(pids) == 1
    runner = psutil.Process(pids.pop())
    for app in apps:
        app.kill()
        app.join()
    assert runner.is_running()
    assert ensure_runner(store.settings) == runner.pid
    assert living_runner(store.settings).pid == runner.pid

    command = [sys.executable, "-m", "core", "worker"]
    second = subprocess.run(command, cwd=PROJECT, env=environment_of(store.settings), capture_output=True, text=True)
    assert second.returncode == 1
    assert "A runner works on" in second.stderr

    runner.kill()  # -9: the lock is stale from now on, and taken over
    runner.wait()
    assert living_runner(store.settings) is None
    successor = psutil.Process(ensure_runner(store.settings))
    assert successor.pid != runner.pid
    gone = store.settings.home.rename(store.settings.home.with_name("gone"))  # a runner does not outlive its home
    wait_for(lambda: not successor.is_running())
    assert not store.settings.home.exists()
    shutil.rmtree(gone)


def test_a_runner_of_older_code_is_replaced_and_a_younger_one_is_not(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ensure_runner(store.settings)
    monkeypatch.setattr(launch, "code_version", lambda: "other code")
    assert ensure_runner(store.settings) == first  # we are older than that runner: it is ours that is out of date
    monkeypatch.setattr(launch, "STARTED", time.time())
    second = ensure_runner(store.settings)
    assert second != first
    os.kill(second, signal.SIGTERM)
    wait_for(lambda: living_runner(store.settings) is None)

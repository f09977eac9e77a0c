"""One runner for one home: who holds the lock is alive, because the system lets go of a dead process's lock."""

import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import IO

from core.errors import UserError
from core.settings import Settings

PROJECT = Path(__file__).resolve().parents[2]
STARTED = time.time()  # of this process, near enough: this module is imported early
WAIT_SECONDS = 60.0  # a machine busy with other things may take long to start Python


@dataclass(frozen=True)
class RunnerMark:
    """What a live runner writes into its lock."""

    pid: int
    started: float
    code: str


def ensure_runner(settings: Settings) -> int:
    """Pid of the home's runner, which is started if none lives. Cheap when one does.

    The runner is detached: it outlives the app, and logs to home/logs/runner.log. A runner of other code is asked to
    end (its job goes on from the checkpoint) and replaced, unless it is younger than this process.
    Raises UserError when the runner does not come up.
    """
    mark = living_runner(settings)
    if mark is not None and not _outdated(mark):
        return mark.pid
    settings.home.mkdir(parents=True, exist_ok=True)
    with (settings.home / "runner.launch.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # apps that start at once take turns; the second finds the first one's runner
        mark = living_runner(settings)
        if mark is not None and not _outdated(mark):
            return mark.pid
        if mark is not None:
            _stop(settings, mark)
        return _start(settings)


def living_runner(settings: Settings) -> RunnerMark | None:
    """The mark of the runner that holds the home's lock, or None."""
    try:
        with _lock_file(settings).open() as file:
            if _try_lock(file, fcntl.LOCK_SH):
                return None
            text = file.read()
    except FileNotFoundError:
        return None
    try:
        return RunnerMark(**json.loads(text))
    except ValueError:  # it holds the lock but has not written its mark yet
        return RunnerMark(0, time.time(), code_version())


@contextmanager
def runner_lock(settings: Settings) -> Iterator[None]:
    """Hold the home's lock for as long as this process runs jobs; UserError when another runner lives."""
    settings.home.mkdir(parents=True, exist_ok=True)
    with _lock_file(settings).open("a+") as file:
        deadline = time.monotonic() + 2.0  # someone who only looks holds it for an instant
        while not _try_lock(file, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                raise UserError(f"A runner works on {settings.home} already; stop it first, or use another home.")
            time.sleep(0.05)
        file.truncate(0)
        file.write(json.dumps(asdict(RunnerMark(os.getpid(), time.time(), code_version()))))
        file.flush()
        yield


@cache
def code_version() -> str:
    """16 hex digits over core's source: a runner of other code is replaced."""
    digest = hashlib.sha256()
    for file in sorted((PROJECT / "core").rglob("*.py")):
        digest.update(str(file.relative_to(PROJECT)).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def environment_of(settings: Settings) -> dict[str, str]:
    """This process's environment with the SEMSIGHT_* variables that say the same as `settings`."""
    values = {
        "SEMSIGHT_HOME": str(settings.home),
        "SEMSIGHT_DATABASE_URL": settings.database_url,
        "SEMSIGHT_WEIGHTS": str(settings.weights),
        "SEMSIGHT_DATASETS": str(settings.datasets),
        "SEMSIGHT_FOLDERS": os.pathsep.join(map(str, settings.folders)),
        "SEMSIGHT_SCHEDULER": settings.scheduler or "",
        "SEMSIGHT_EXECUTOR": settings.executor,
        "SEMSIGHT_DEVICE": settings.device,
        "SEMSIGHT_THREADS": str(settings.threads),
        "SEMSIGHT_LEASE_SECONDS": str(settings.lease_seconds),
        "SEMSIGHT_CHECKPOINT_SECONDS": str(settings.checkpoint_seconds),
        "SEMSIGHT_SILENCE_SECONDS": str(settings.silence_seconds),
        "SEMSIGHT_PROBE": "on" if settings.probe else "off",
    }
    return {**os.environ, **values}


def _lock_file(settings: Settings) -> Path:
    return settings.home / "runner.lock"


def _try_lock(file: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _outdated(mark: RunnerMark) -> bool:
    return mark.code != code_version() and mark.started < STARTED


def _start(settings: Settings) -> int:
    log = settings.home / "logs" / "runner.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "core", "worker"],
            cwd=PROJECT,
            env=environment_of(settings),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # no signal meant for the app reaches it
        )
    threading.Thread(target=process.wait, daemon=True).start()  # leaves no zombie when it ends before the app
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        mark = living_runner(settings)
        if mark is not None and mark.pid:
            return mark.pid
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise UserError(f"The runner did not start; {log} says why.")


def _stop(settings: Settings, mark: RunnerMark) -> None:
    os.kill(mark.pid, signal.SIGTERM)
    deadline = time.monotonic() + WAIT_SECONDS / 2
    while living_runner(settings) is not None:
        if time.monotonic() > deadline:
            os.kill(mark.pid, signal.SIGKILL)  # its job goes on from the last checkpoint
            deadline = float("inf")
        time.sleep(0.05)

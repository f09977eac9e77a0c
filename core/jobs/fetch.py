"""Pretrained weights fetched in the background, by a process of its own for each file. No torch here.

A page starts it and asks how far it is; both answer at once. One process at a time fetches a file of a home; it goes
on when the app ends. Where it is at lies in home/fetch/NAME.json.
"""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.jobs.launch import environment_of
from core.models.pretrained import PRETRAINED
from core.models.weights import WEIGHTS
from core.registry import look_up
from core.settings import Settings

PROJECT = Path(__file__).resolve().parents[2]
COMMAND = (sys.executable, "-m", "core.jobs.fetch_child")
PRETRAINED_NAMES = {record.name: architecture for architecture, record in PRETRAINED.items()}
SAID_FOR = 3600.0  # seconds for which a failure is shown
_children: dict[tuple[Path, str], subprocess.Popen[bytes]] = {}  # of this process


@dataclass(frozen=True)
class Fetch:
    """Where a file's download is. share: of its bytes, None where unknown; words: how far, or "" before it began;
    problem: why the last attempt failed, in a sentence."""

    running: bool = False
    share: float | None = None
    words: str = ""
    problem: str = ""


def start(settings: Settings, name: str) -> None:
    """Begin to fetch the file, unless that is under way. UserError for a name that there is not.

    name: of a metric's weights, or NAME-imagenet for what a training of torchvision's NAME may start from.
    """
    if name not in PRETRAINED_NAMES:
        look_up(WEIGHTS, name, "pretrained weights")
    begin(settings, name, [*COMMAND, name])


def begin(settings: Settings, name: str, command: Sequence[str]) -> None:
    """Start the process that reports under this name, unless one runs."""
    if _running(settings, name):
        return
    folder = settings.home / "fetch"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").unlink(missing_ok=True)
    child = subprocess.Popen(
        command,
        cwd=PROJECT,
        env=environment_of(settings),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    _children[settings.home, name] = child
    threading.Thread(target=child.wait, daemon=True).start()  # leaves no zombie where nobody asks again


def fetched(settings: Settings, name: str) -> Fetch:
    """Where the file's download is, at once; Fetch() where none runs and none failed lately."""
    running = _running(settings, name)  # first: what is written last, is written before the process ends
    path = settings.home / "fetch" / f"{name}.json"
    values, age = _read(path)
    if running:
        return Fetch(True, *_how_far(values))
    if values is None or age > SAID_FOR or values.get("done"):
        return Fetch()
    return Fetch(problem=str(values.get("problem") or "The download ended before it was done; try again."))


def _how_far(values: dict[str, Any] | None) -> tuple[float | None, str]:
    so_far, total = (values or {}).get("bytes"), (values or {}).get("total")
    if not so_far:
        return None, "asking for it"
    if not total:
        return None, f"{so_far / 2**20:.0f} MiB so far"
    if so_far >= total:
        return 1.0, "checking it and taking it in"
    return so_far / total, f"{so_far / 2**20:.0f} of {total / 2**20:.0f} MiB"


def _running(settings: Settings, name: str) -> bool:
    """Whether this process's child lives, or another app's holds the file's lock."""
    child = _children.get((settings.home, name))
    if child is not None:
        if child.poll() is None:
            return True
        del _children[settings.home, name]
    try:
        with (settings.home / "fetch" / f"{name}.lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _read(path: Path) -> tuple[dict[str, Any] | None, float]:
    try:
        found: dict[str, Any] = json.loads(path.read_text())
        return found, time.time() - path.stat().st_mtime
    except (OSError, ValueError):
        return None, 0.0

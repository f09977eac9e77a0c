"""How quick this machine is with a given attack: measured by a short run of its own, in the background, and kept.

A page never waits: `pace_of` answers at once with what is known, and starts the measurement where nothing is. One
measurement runs at a time in a home, in a process of its own (`core.jobs.pace_child`), and none while a job computes.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sqlalchemy import select

from core.attacks.speed import useful_threads
from core.leakage.threat import ThreatModel
from core.models.spec import ModelSpec
from core.settings import Settings
from core.storage import schema
from core.storage.store import Store

PROJECT = Path(__file__).resolve().parents[2]
# Settings that change the work of an image-step: by their value, or by whether they are on.
BY_VALUE = ("restarts", "cost", "precision", "companions", "own_images", "bins")
IF_ON = ("batchnorm", "label_fit", "consistency", "agreement")
GOOD_SECONDS, FAILED_SECONDS = 7 * 86_400.0, 600.0  # how long a measured pace and a failure are believed
_children: list[subprocess.Popen[bytes]] = []  # of this process, so that they are reaped


@dataclass(frozen=True)
class Question:
    """What is measured. Numbers of images and steps are no part of it: they do not change the pace.

    spec names no weights: they are drawn, as the pace does not depend on them.
    """

    spec: ModelSpec
    attack: str
    config: Mapping[str, Any]
    threat: ThreatModel
    device: str
    threads: int

    def to_json(self) -> str:
        """For the measuring process."""
        values = {**asdict(self), "spec": self.spec.to_json(), "config": dict(self.config)}
        return json.dumps(values, sort_keys=True)

    @property
    def key(self) -> str:
        """Names the answer's file: architecture, sizes, threat model, attack, what of its settings changes the pace,
        device and torch."""
        spec, config = self.spec, self.config
        settings = [config.get(name) for name in BY_VALUE] + [bool(config.get(name)) for name in IF_ON]
        asked = [
            [spec.architecture, dict(spec.arguments), spec.num_classes, spec.channels, spec.height, spec.width],
            [self.attack, settings, asdict(self.threat)],
            [self.device, self.threads, version("torch")],
        ]
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:24]


@dataclass(frozen=True)
class Known:
    """What is known of the pace: image-steps a second, or that it is being measured, or why it could not be."""

    rate: float | None = None
    device: str = ""  # the hardware's name
    measuring: bool = False
    problem: str = ""


def question(
    settings: Settings, spec: ModelSpec, attack: str, config: Mapping[str, Any], threat: ThreatModel
) -> Question:
    """What to measure for an attack with these settings on the device that `settings` names."""
    drawn = replace(spec, weights_sha256="", init_seed=0)
    return Question(drawn, attack, config, threat, settings.device, useful_threads(spec.architecture, settings.threads))


def pace_of(store: Store, asked: Question, *, measure: bool = True) -> Known:
    """The measured pace, at once. Without one, and if `measure`, its measurement starts where nothing else computes."""
    folder = store.settings.home / "pace"
    known = _read(folder, asked.key)
    if known is not None:
        return known
    if not measure or not store.settings.probe:
        return Known()
    if busy(folder):
        return Known(measuring=True)  # this one, or another that it comes after
    if _job_runs(store):
        return Known(problem="no pace was measured, as a run keeps this machine busy")
    folder.mkdir(parents=True, exist_ok=True)
    start(folder, asked)
    return Known(measuring=True)


def busy(folder: Path) -> bool:
    """Whether a measurement runs in this home."""
    _children[:] = [child for child in _children if child.poll() is None]
    if _children:
        return True
    try:
        with (folder / "lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def start(folder: Path, asked: Question) -> None:
    """Begin the measurement; its answer appears in folder/KEY.json."""
    command = [sys.executable, "-m", "core.jobs.pace_child", str(folder), asked.key, asked.to_json()]
    child = subprocess.Popen(
        command,
        cwd=PROJECT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    _children.append(child)


def _read(folder: Path, key: str) -> Known | None:
    path = folder / f"{key}.json"
    try:
        values = json.loads(path.read_text())
        age = time.time() - path.stat().st_mtime
    except (OSError, ValueError):
        return None
    if values.get("rate"):
        return Known(rate=float(values["rate"]), device=str(values["device"])) if age < GOOD_SECONDS else None
    if values.get("running") and busy(folder):
        return Known(measuring=True)
    return Known(problem=str(values.get("problem", ""))) if age < FAILED_SECONDS else None


def _job_runs(store: Store) -> bool:
    running = select(schema.jobs.c.id).where(schema.jobs.c.state == "running").limit(1)
    with store.database.read() as connection:
        return connection.execute(running).first() is not None

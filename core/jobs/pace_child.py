"""The process that measures an attack's pace: a real shard on made-up images, stopped after a few steps.

    python -m core.jobs.pace_child FOLDER KEY QUESTION

QUESTION is the JSON of core.report.pace.Question. The answer is FOLDER/KEY.json: {"rate": image-steps a second, …} or
{"problem": sentence}. Whoever finds FOLDER/lock held leaves at once.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.attacks.speed import most_at_once
from core.jobs.events import Event
from core.jobs.plan import ShardPlan
from core.jobs.shards import AttackShard, run_shard
from core.leakage.threat import ThreatModel
from core.models.spec import ModelSpec

# Timed steps and their seconds that suffice: many quick ones, or few slow ones. Never long: a search drops restarts.
ENOUGH = ((30, 0.0), (12, 1.0), (2, 4.0))
LEAST_STEPS = 2
LONGEST = 120  # seconds of the whole process


def main() -> None:
    """Measure, and write the answer whatever happens."""
    folder, key, text = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    with (folder / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        cut_off = "its pace could not be measured within two minutes"  # what stays if this process is killed
        _write(folder, key, {"problem": cut_off, "running": True})
        signal.alarm(LONGEST)
        os.nice(5)
        _write(folder, key, measure(json.loads(text)))


def measure(asked: dict[str, Any]) -> dict[str, Any]:
    """The pace of one shard of the very attack, as wide as one pass of it is on this device."""
    import torch

    spec, threat = ModelSpec.from_json(asked["spec"]), ThreatModel.from_dict(asked["threat"])
    device = asked["device"]
    kind = "cuda" if device.startswith("cuda") or (device == "auto" and torch.cuda.is_available()) else "cpu"
    restarts = int(asked["config"].get("restarts", 1))
    width = max(1, most_at_once(_parameters(spec), kind) // (threat.batch_size * restarts))
    watch = Stopwatch()
    shard = _shard(spec, threat, asked, width)
    began = time.perf_counter()
    run_shard(shard.to_bytes(), watch.hear, watch.enough)
    images = width * threat.batch_size * restarts
    name = torch.cuda.get_device_name() if kind == "cuda" else "CPU"
    if watch.problem:
        return {"problem": watch.problem}
    steps, seconds = watch.timed()
    if watch.finished and steps < LEAST_STEPS:  # an attack without steps, or with very few
        steps, seconds = max(1, watch.total), time.perf_counter() - began
    if not steps:
        return {"problem": "its pace could not be measured"}
    return {"rate": images * steps / seconds, "device": name, "steps": steps, "seconds": seconds, "images": images}


@dataclass
class Stopwatch:
    """Hears a shard's events and takes the time of its steps after the first, which also prepares."""

    first: tuple[int, float] | None = None
    last: tuple[int, float] | None = None
    total: int = 0
    finished: bool = False
    problem: str = ""

    def hear(self, event: Event) -> None:
        """One event of the shard."""
        if event.kind == "progress":
            self.last = (int(event.values["step"]), time.perf_counter())
            self.first = self.first or self.last
            self.total = int(event.values["total"])
        elif event.kind == "failed" and event.values["reason"] != "cancelled":
            self.problem = str(event.values["sentence"])
        elif event.kind == "reconstructions":
            self.finished = True

    def timed(self) -> tuple[int, float]:
        """Steps and seconds between the first and the last event."""
        if self.first is None or self.last is None:
            return 0, 0.0
        return self.last[0] - self.first[0], self.last[1] - self.first[1]

    def enough(self) -> bool:
        """Whether the shard may stop."""
        steps, seconds = self.timed()
        return any(steps >= least and seconds >= span for least, span in ENOUGH)


def _shard(spec: ModelSpec, threat: ThreatModel, asked: dict[str, Any], width: int) -> AttackShard:
    draw = np.random.default_rng(0)
    shape = (width, threat.batch_size)
    return AttackShard(
        spec=spec,
        weights=None,
        images=draw.integers(0, 256, (*shape, spec.height, spec.width, spec.channels), dtype=np.uint8),
        labels=np.sort(draw.integers(0, spec.num_classes, shape), axis=1),
        threat=threat,
        attack=asked["attack"],
        config=dict(asked["config"]),
        seed=0,
        plan=ShardPlan("attack", tuple(range(width))),
        device=asked["device"],
        threads=asked["threads"],
        checkpoint_seconds=1e9,
        previews=False,
    )


def _parameters(spec: ModelSpec) -> int:
    from core.models.build import build_skeleton

    return sum(parameter.numel() for parameter in build_skeleton(spec).parameters())


def _write(folder: Path, key: str, answer: dict[str, Any]) -> None:
    draft = folder / f"{key}.draft"
    draft.write_text(json.dumps(answer))
    draft.replace(folder / f"{key}.json")


if __name__ == "__main__":
    main()

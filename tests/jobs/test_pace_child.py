"""The measuring process: a real shard that stops after a few steps."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from core.attacks import configure
from core.jobs import pace_child
from core.jobs.events import Event, failed
from core.jobs.pace_child import Stopwatch
from core.leakage.threat import ThreatModel
from core.models.spec import ModelSpec
from core.report.pace import Question

SPEC = ModelSpec("mlp", 4, height=8, width=8)


def test_the_process_writes_the_pace_of_a_real_attack(tmp_path: Path):
    config = asdict(configure("inverting-gradients", {"steps": 100_000}))  # far more than it may take
    asked = Question(SPEC, "inverting-gradients", config, ThreatModel(), "cpu", 1)
    command = [sys.executable, "-m", "core.jobs.pace_child", str(tmp_path), asked.key, asked.to_json()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150, check=True)
    assert done.stderr == ""
    answer = json.loads((tmp_path / f"{asked.key}.json").read_text())
    assert answer["device"] == "CPU"
    assert answer["steps"] >= 2
    assert answer["rate"] == pytest.approx(answer["images"] * answer["steps"] / answer["seconds"])


def test_an_attack_that_cannot_run_says_why():
    asked = json.loads(Question(SPEC, "no-such-attack", {}, ThreatModel(), "cpu", 1).to_json())
    assert "no-such-attack" in pace_child.measure(asked)["problem"]


def test_the_stopwatch_leaves_out_the_first_step_and_stops_when_it_has_enough(monkeypatch):
    clock = iter([10.0, 14.0, 14.1, 20.0])
    monkeypatch.setattr(pace_child.time, "perf_counter", lambda: next(clock))
    watch = Stopwatch()
    for step in (1, 2, 3):
        assert not watch.enough()
        watch.hear(Event("progress", {"step": step, "total": 50, "curve": True}))
    assert watch.timed() == (2, pytest.approx(4.1))
    assert watch.enough()
    watch.hear(failed("cancelled", "It was stopped."))
    assert not watch.problem
    watch.hear(failed("error", "The model has no parameters."))
    assert watch.problem == "The model has no parameters."

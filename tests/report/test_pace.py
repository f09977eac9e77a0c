"""The measured pace: asked for without waiting, measured once, kept, and never made up."""

import fcntl
import json
import os
import time
from dataclasses import asdict, replace

import pytest

from core.attacks import configure
from core.leakage.threat import ThreatModel
from core.models.spec import ModelSpec
from core.report import pace
from core.report.estimate import Work, estimate, estimate_request
from core.report.estimate_table import COLD_SECONDS
from core.report.pace import GOOD_SECONDS, Known, Question, pace_of, question
from core.storage import schema
from tests.filled_store import fill_store

SPEC = ModelSpec("mlp", 4, height=8, width=8)


@pytest.fixture
def measuring(store, monkeypatch):
    """The store with measurements allowed, and the list of those that were started (none really is)."""
    started: list[Question] = []
    monkeypatch.setattr(pace, "start", lambda _folder, asked: started.append(asked))
    return replace(store, settings=replace(store.settings, probe=True)), started


def asked(store, **settings) -> Question:
    config = asdict(configure("inverting-gradients", settings))
    return question(store.settings, SPEC, "inverting-gradients", config, ThreatModel())


def answer(store, key: str, **values) -> None:
    folder = store.settings.home / "pace"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{key}.json").write_text(json.dumps(values))


def test_an_unknown_pace_is_measured_in_the_background_and_then_kept(measuring):
    store, started = measuring
    one = asked(store)
    assert pace_of(store, one) == Known(measuring=True)
    assert started == [one]
    answer(store, one.key, rate=12.5, device="CPU")
    assert pace_of(store, one) == Known(rate=12.5, device="CPU")
    assert len(started) == 1
    path = store.settings.home / "pace" / f"{one.key}.json"
    long_ago = time.time() - GOOD_SECONDS - 60
    os.utime(path, (long_ago, long_ago))
    assert pace_of(store, one).measuring
    assert len(started) == 2


def test_one_measurement_at_a_time_and_none_beside_a_job(measuring):
    store, started = measuring
    folder = store.settings.home / "pace"
    folder.mkdir(parents=True)
    one = asked(store)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert pace_of(store, one) == Known(measuring=True)
        answer(store, one.key, problem="cut off", running=True)
        assert pace_of(store, one) == Known(measuring=True)
    assert pace_of(store, one) == Known(problem="cut off")  # it died without an answer
    assert started == []
    fill_store(store, originals=2, runs=1)
    with store.database.write() as connection:
        connection.execute(schema.jobs.update().values(state="running"))
    other = asked(store, restarts=2)
    assert "busy" in pace_of(store, other).problem
    assert started == []


def test_nothing_is_measured_when_it_is_not_wanted(measuring):
    store, started = measuring
    assert pace_of(store, asked(store), measure=False) == Known()
    off = replace(store, settings=replace(store.settings, probe=False))
    assert pace_of(off, asked(off)) == Known()
    assert started == []


def test_what_changes_the_pace_changes_the_key_and_nothing_else_does(measuring):
    store, _ = measuring
    config = asdict(configure("inverting-gradients", {}))
    base = asked(store)
    assert asked(store, steps=3, lr=0.5, total_variation=0.1).key == base.key
    uploaded = replace(SPEC, weights_sha256="ab" * 32, init_seed=7, origin="upload")
    assert question(store.settings, uploaded, base.attack, config, ThreatModel()).key == base.key
    others = [
        asked(store, restarts=2),
        question(store.settings, replace(SPEC, height=16), base.attack, config, ThreatModel()),
        question(store.settings, SPEC, base.attack, config, ThreatModel(batch_size=2)),
        question(store.settings, SPEC, "inverting-gradients-paper", config, ThreatModel()),
        question(replace(store.settings, device="cuda"), SPEC, base.attack, config, ThreatModel()),
        asked(store, cost="sapag"),
        question(store.settings, SPEC, base.attack, {**config, "batchnorm": 0.1}, ThreatModel()),  # a prior more
        question(store.settings, SPEC, base.attack, {**config, "companions": 9}, ThreatModel()),  # DeepInversion's
    ]
    assert len({base.key, *(other.key for other in others)}) == 9


def test_a_measured_pace_comes_before_runs_and_table(measuring):
    store, started = measuring
    work = Work("lenet", "dlg", images=8, batch_size=1, restarts=2, iterations=100, controls=2)
    found = estimate(store, work, Known(rate=24.0, device="CPU"))
    assert found.at_most == pytest.approx(COLD_SECONDS + 2400 / 24)
    assert "measured just for this" in found.basis
    config = asdict(configure("inverting-gradients", {"steps": 50}))
    request = {"spec": SPEC, "attack": "inverting-gradients", "config": config, "threat": ThreatModel()}
    first = estimate_request(store, images=4, controls=2, **request)
    assert first.measuring
    answer(store, started[0].key, rate=10.0, device="CPU")
    second = estimate_request(store, images=4, controls=2, **request)
    assert not second.measuring
    assert second.seconds == pytest.approx(COLD_SECONDS + (4 + 2 * 2) * 50 / 10)
    answer(store, started[0].key, problem="it needs more memory than there is")
    third = estimate_request(store, images=4, controls=2, **request)
    assert "more memory" in third.basis


def test_the_easy_case_and_an_attack_without_iterations_count_too():
    work = Work("lenet", "dlg", images=8, batch_size=4, restarts=1, iterations=0, controls=2)
    assert work.image_steps == (2 + 2 * 2) * 4
    assert replace(work, easy=True).image_steps == (2 + 2 * 2) * 4 + 2

"""More and less effort for one question: what is queued, and what stands side by side."""

from dataclasses import replace

import pytest

from core.attacks import ATTACKS
from core.errors import UserError
from core.jobs.effort import submit_efforts, with_effort
from core.jobs.queue import submit
from core.report.effort import effort_curve
from core.report.evidence import threshold
from core.storage.store import Store
from tests.jobs.conftest import attack_job
from tests.jobs.test_runner import run_until_idle


def test_only_the_steps_change_and_stay_within_their_limits(store: Store) -> None:
    payload = attack_job(store, attack="inverting-gradients", steps=20)
    doubled = with_effort(payload, 2.0)
    assert doubled.config["steps"] == 40
    assert replace(doubled, config={**doubled.config, "steps": 20}) == payload
    assert with_effort(payload, 1e-9).config["steps"] == 1
    assert with_effort(payload, 1e9).config["steps"] == 1_000_000  # the most that the attack takes


def test_dlg_counts_its_effort_in_iterations(store: Store) -> None:
    payload = attack_job(store, attack="dlg")
    assert with_effort(payload, 0.5).config["iterations"] == payload.config["iterations"] // 2


def test_an_attack_without_effort_says_so(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ATTACKS, "fake", replace(ATTACKS["fake"], effort=""))
    job = submit(store, attack_job(store), "fake")
    with pytest.raises(UserError, match="more effort changes nothing"):
        submit_efforts(store, job.job_id)
    assert effort_curve(store, job.job_id, threshold()) == ()


def test_runs_of_other_effort_stand_side_by_side(store: Store) -> None:
    payload = attack_job(store, attack="fake", steps=8)
    mine = submit(store, payload, "mine").job_id
    others = submit_efforts(store, mine, (0.5, 1.0, 2.0))  # 1.0 is the run itself: nothing is queued for it
    assert [other.already for other in others] == [False, False]
    assert [other.already for other in submit_efforts(store, mine, (0.5, 2.0))] == [True, True]
    submit(store, replace(payload, seed=payload.seed + 1), "another question")
    run_until_idle(store)
    points = effort_curve(store, mine, threshold("mse", 0.05))
    assert [(point.steps, point.restarts, point.state) for point in points] == [
        (4, 2, "done"),
        (8, 2, "done"),
        (16, 2, "done"),
    ]
    assert [point.budget for point in points] == [8, 16, 32]
    assert points[1].run == mine
    assert all(point.score is not None and point.score > 0 for point in points)
    assert all(point.judged.verdict.originals == len(payload.originals) for point in points)
    assert all(point.seconds is not None for point in points)


def test_an_unknown_run_is_named(store: Store) -> None:
    with pytest.raises(UserError, match="no run 99"):
        submit_efforts(store, 99)

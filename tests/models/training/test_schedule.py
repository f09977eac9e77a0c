"""Schedules against closed forms and torch's own schedulers."""

import math
import warnings
from dataclasses import fields, replace

import pytest
import torch

from core.models.training.recipe import Recipe
from core.models.training.schedule import DIVISORS, learning_rate, milestones

BASE = Recipe(epochs=10, learning_rate=0.8)
STEPS = 7  # an epoch


def rates(recipe: Recipe) -> list[float]:
    return [learning_rate(recipe, step, STEPS) for step in range(recipe.epochs * STEPS)]


def test_the_papers_milestones() -> None:
    # By hand 74.99, 125 and 175.1; Python's own 200 // 1.6 is 124.0, since 1.6 as a float is a little more.
    assert milestones(200) == (74, 124, 175)
    assert milestones(1) == ()
    assert milestones(3) == (1, 1, 2)


def test_step_falls_between_epochs() -> None:
    found = rates(replace(BASE, schedule="step"))
    falls = [step for step in range(1, len(found)) if found[step] < found[step - 1]]
    assert falls == [3 * STEPS, 6 * STEPS, 8 * STEPS]  # ⌊10/2.667⌋, ⌊10/1.6⌋, ⌊10/1.142⌋
    assert [found[0], *(found[step] for step in falls)] == pytest.approx([0.8, 0.08, 0.008, 0.0008])


@pytest.mark.parametrize(
    ("schedule", "at"),
    [
        ("cosine", lambda t: 0.8 * (1 + math.cos(math.pi * t)) / 2),
        ("linear", lambda t: 0.8 * (1 - t)),
        ("constant", lambda t: 0.8),
    ],
)
@pytest.mark.parametrize("warm", [0, 14])
def test_closed_forms(schedule: str, at: object, warm: int) -> None:
    found = rates(replace(BASE, schedule=schedule, warmup=warm / 70))
    assert found[:warm] == pytest.approx([0.8 * (step + 1) / 14 for step in range(warm)])
    expected = [at((step - warm) / (70 - warm)) for step in range(warm, 70)]  # type: ignore[operator]
    assert found[warm:] == pytest.approx(expected)


def test_one_cycle_is_torchs() -> None:
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.1, momentum=0.9)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.8, total_steps=70, cycle_momentum=False)
    expected = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no optimiser step before the scheduler's: none is needed here
        for _ in range(70):
            expected.append(optimiser.param_groups[0]["lr"])
            if len(expected) < 70:
                theirs.step()
    assert rates(replace(BASE, schedule="one-cycle")) == pytest.approx(expected)


def test_the_knobs_help_says_when_the_steps_are() -> None:
    (schedule,) = (field for field in fields(Recipe) if field.name == "schedule")
    said = schedule.metadata["help"]
    assert all(f"⌊T/{divisor:g}⌋" in said for divisor in DIVISORS)
    assert "{}, {} and {} of 200".format(*milestones(200)) in said

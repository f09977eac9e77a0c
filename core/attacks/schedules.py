"""Step sizes over a run, what Adam gets of a gradient, and which problems have converged."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from core.attacks.active import Active
from core.attacks.recipe import Recipe

DROPS = (2.667, 1.6, 1.142)  # the step size falls after ⌊T / each⌋ steps, as in the study's code
CUTS = 3  # times that a stalled problem's step size is divided by ten; the next stall ends it


def step_size(recipe: Recipe, done: int) -> float:
    """The step size after `done` steps, without the drops of the `steps` schedule (see `drops`)."""
    warm = min(1.0, (done + 1) / recipe.warm_up) if recipe.warm_up else 1.0
    if recipe.schedule == "cosine":
        rest = max(1, recipe.steps - recipe.warm_up)
        return recipe.lr * warm * 0.5 * (1 + math.cos(math.pi * max(0, done - recipe.warm_up) / rest))
    return recipe.lr * warm


def drops(recipe: Recipe, done: int) -> int:
    """How often the `steps` schedule has divided the step size by ten after `done` steps."""
    return sum(done >= int(recipe.steps // drop) for drop in DROPS) if recipe.schedule == "steps" else 0


def direction(recipe: Recipe, gradient: Tensor, done: int) -> Tensor:
    """What Adam gets. `soft` is tanh(s·g)/s with s = 1 − done/steps: nearly linear at the end."""
    if recipe.sign == "hard":
        return gradient.sign()
    if recipe.sign == "soft":
        scale = 1 - done / recipe.steps
        return (gradient * scale).tanh() / scale
    return gradient


class Plateau:
    """Which of P problems have stalled. The rule: a problem whose best loss fell by less than the share `gain` within
    `patience` steps goes on with a tenth of its step size; after CUTS such cuts, those of the schedule included, the
    next stall ends it."""

    def __init__(self, recipe: Recipe, count: int, device: torch.device) -> None:
        self.recipe = recipe
        self.cuts = torch.zeros(count, dtype=torch.int64, device=device)
        self.mark = torch.full((count,), torch.inf, device=device)
        self.marked_at = torch.zeros_like(self.cuts)

    def judge(self, active: Active, done: int) -> None:
        """Take in the best losses after step `done`; problems that have converged leave `active`."""
        due = done - self.marked_at >= self.recipe.patience
        stalled = due & (active.best > (1 - self.recipe.gain) * self.mark)
        stage = self.cuts.clamp(min=drops(self.recipe, done))
        self.cuts = torch.where(stalled, stage + 1, self.cuts)
        self.mark = torch.where(due, active.best, self.mark)
        self.marked_at = torch.where(due, done, self.marked_at)
        active.retire(self.cuts > CUTS)

    def factor(self, rows: Tensor, done: int) -> Tensor:
        """(Q,): the power of ten by which the step size of problems `rows` has fallen."""
        return torch.pow(0.1, self.cuts[rows].clamp(min=drops(self.recipe, done)))

    def state(self) -> dict[str, Tensor]:
        """All that is needed to go on."""
        return {name: getattr(self, name) for name in self._OWN}

    def load(self, state: dict[str, Tensor]) -> None:
        """Take over what `state` gave."""
        for name in self._OWN:
            setattr(self, name, state[name].to(self.cuts.device))

    _OWN = ("cuts", "mark", "marked_at")

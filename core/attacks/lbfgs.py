"""L-BFGS for P independent problems at once: each has its own history, step length and end.

The two optimisers below make one iteration at a time, so that an attack can report, stop and store between them.
evaluate(points (Q, D), rows (Q,)) -> values (Q,), gradients (Q, D) for the problems `rows`. All state is tensors with
leading axis P.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Evaluate = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class History:
    """The last `size` steps and gradient changes of each problem, and the inverse Hessian that they imply."""

    def __init__(self, problems: int, size: int, like: Tensor) -> None:
        self.steps = like.new_zeros(problems, size, like.shape[1])
        self.changes = torch.zeros_like(self.steps)
        self.inverse = like.new_zeros(problems, size)  # 1 / (step · change)
        self.scale = like.new_ones(problems)  # first guess of the inverse Hessian, times the identity
        self.count = torch.zeros(problems, dtype=torch.int64, device=like.device)
        self.head = torch.zeros_like(self.count)  # slot of the next pair

    @property
    def size(self) -> int:
        """Pairs kept for a problem."""
        return self.steps.shape[1]

    def push(self, rows: Tensor, step: Tensor, change: Tensor, curvature: Tensor) -> None:
        """Add one pair for each of `rows`; curvature = step · change, positive."""
        slot = self.head[rows]
        self.steps[rows, slot], self.changes[rows, slot] = step, change
        self.inverse[rows, slot] = 1 / curvature
        self.scale[rows] = curvature / change.square().sum(1)
        self.head[rows] = (slot + 1) % self.size
        self.count[rows] = (self.count[rows] + 1).clamp(max=self.size)

    def forget(self, rows: Tensor) -> None:
        """Start these problems' histories anew."""
        self.count[rows] = 0
        self.head[rows] = 0
        self.scale[rows] = 1.0

    def direction(self, rows: Tensor, gradient: Tensor) -> Tensor:
        """− inverse Hessian · gradient, (Q, D), by the two-loop recursion (Nocedal & Wright, algorithm 7.4)."""
        q, kept = -gradient, self.count[rows]
        depth = int(kept.max()) if len(rows) else 0
        pairs = []
        for age in range(1, depth + 1):
            slot = (self.head[rows] - age) % self.size
            step, change = self.steps[rows, slot], self.changes[rows, slot]
            inverse = self.inverse[rows, slot] * (age <= kept)
            weight = (step * q).sum(1) * inverse
            q = torch.addcmul(q, weight[:, None], change, value=-1)
            pairs.append((step, change, inverse, weight))
        q = q * self.scale[rows][:, None]
        for step, change, inverse, weight in reversed(pairs):
            back = (change * q).sum(1) * inverse
            q = torch.addcmul(q, (weight - back)[:, None], step)
        return q

    def state(self, rows: Tensor) -> dict[str, Tensor]:
        """What `load` needs to go on with `rows` alone."""
        deep = int(self.count[rows].max()) if len(rows) else 0
        parts = {"steps": self.steps, "changes": self.changes, "inverse": self.inverse}
        state = {f"history.{name}": part[rows, :deep] for name, part in parts.items()}
        own = {"history.scale": self.scale, "history.count": self.count, "history.head": self.head}
        return state | own | {"history.rows": rows}

    def load(self, state: dict[str, Tensor]) -> None:
        """Take over what `state` gave."""
        for name in ("scale", "count", "head"):
            getattr(self, name).copy_(state[f"history.{name}"])
        if "history.steps" in state:  # absent when no problem had any
            rows = state["history.rows"].to(self.head)
            deep = state["history.steps"].shape[1]
            for name in ("steps", "changes", "inverse"):
                getattr(self, name)[rows, :deep] = state[f"history.{name}"].to(self.steps)


class LineSearchLbfgs:
    """L-BFGS with a backtracking line search: the value of a problem never rises.

    A trial point is taken when it gains at least `SUFFICIENT` of what the slope promises (Armijo); else the step is
    cut at the minimum of the parabola through what is known. Problems whose trial is accepted wait, and only the
    others are evaluated again.
    """

    SUFFICIENT = 1e-4
    TRIALS = 20
    CURVATURE = 1e-8  # smallest cosine of step and gradient change that goes into the history

    def __init__(self, evaluate: Evaluate, start: Tensor, history: int) -> None:
        self.evaluate = evaluate
        self.point = start.clone()
        self.history = History(len(start), history, start)
        self.value, self.gradient = evaluate(self.point, torch.arange(len(start), device=start.device))

    def step(self, rows: Tensor) -> Tensor:
        """One iteration for the problems `rows`; True (Q,) for those that found no lower value in any direction."""
        old, value, slope_of = self.point[rows], self.value[rows], self.gradient[rows]
        direction = self.history.direction(rows, slope_of)
        slope = (direction * slope_of).sum(1)
        lost = ~(slope < 0)  # rounding has eaten the descent, or it is not finite: steepest descent instead
        if bool(lost.any()):
            self.history.forget(rows[lost])
            direction[lost] = -slope_of[lost]
            slope = (direction * slope_of).sum(1)
        fresh = self.history.count[rows] == 0
        length = torch.where(fresh, 1 / slope_of.norm(dim=1).clamp_min(1e-30), torch.ones_like(value))
        point, reached, gradient, stuck = self._search(rows, old, value, slope_of, direction, slope, length)
        step, change = point - old, gradient - slope_of
        curvature = (step * change).sum(1)
        useful = ~stuck & (curvature > self.CURVATURE * step.norm(dim=1) * change.norm(dim=1))
        self.history.push(rows[useful], step[useful], change[useful], curvature[useful])
        self.point[rows], self.value[rows], self.gradient[rows] = point, reached, gradient
        self.history.forget(rows[stuck])
        return stuck & fresh  # not even steepest descent helped

    def _search(
        self,
        rows: Tensor,
        old: Tensor,
        value: Tensor,
        slope_of: Tensor,
        direction: Tensor,
        slope: Tensor,
        length: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        point, reached, gradient, length = old.clone(), value.clone(), slope_of.clone(), length.clone()
        open_ = torch.arange(len(rows), device=rows.device)
        for _ in range(self.TRIALS):
            t = length[open_]
            trial = old[open_] + t[:, None] * direction[open_]
            found, its_gradient = self.evaluate(trial, rows[open_])
            good = found <= value[open_] + self.SUFFICIENT * t * slope[open_]
            good &= its_gradient.isfinite().all(1)
            taken, open_ = open_[good], open_[~good]
            point[taken], reached[taken], gradient[taken] = trial[good], found[good], its_gradient[good]
            if not len(open_):
                break
            rise = found[~good] - value[open_] - slope[open_] * t[~good]
            parabola = -slope[open_] * t[~good].square() / (2 * rise)
            parabola = torch.where(parabola.isfinite(), parabola, torch.zeros_like(parabola))
            length[open_] = torch.maximum(torch.minimum(parabola, 0.5 * t[~good]), 0.1 * t[~good])
        stuck = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
        stuck[open_] = True
        return point, reached, gradient, stuck

    def state(self, rows: Tensor) -> dict[str, Tensor]:
        """All that is needed to go on; the histories of `rows` only."""
        own = {"point": self.point, "value": self.value, "gradient": self.gradient}
        return own | self.history.state(rows)

    def load(self, state: dict[str, Tensor]) -> None:
        """Take over what `state` gave."""
        for name in ("point", "value", "gradient"):
            getattr(self, name).copy_(state[name])
        self.history.load(state)


class PaperLbfgs:
    """L-BFGS as `torch.optim.LBFGS` runs it without a line search, for each problem as if it were alone.

    The first step is min(1, 1/‖g‖₁) × lr long, later ones lr. One outer step is up to `evaluations` iterations and
    ends early when the gradient, the step or the gain is tiny; after `outer` of them a problem is done.
    """

    TOLERANCE_GRADIENT = 1e-7
    TOLERANCE_CHANGE = 1e-9
    CURVATURE = 1e-10

    def __init__(
        self, evaluate: Evaluate, start: Tensor, *, history: int, lr: float, outer: int, evaluations: int
    ) -> None:
        self.evaluate, self.lr, self.outer, self.evaluations = evaluate, lr, outer, evaluations
        self.point = start.clone()
        self.history = History(len(start), history, start)
        self.value, self.gradient = evaluate(self.point, torch.arange(len(start), device=start.device))
        self.old_gradient, self.direction = torch.zeros_like(start), torch.zeros_like(start)
        self.length = torch.zeros_like(self.value)
        self.iterations = torch.zeros(len(start), dtype=torch.int64, device=start.device)
        self.inner = torch.zeros_like(self.iterations)
        self.outer_done = torch.zeros_like(self.iterations)

    def step(self, rows: Tensor) -> Tensor:
        """One iteration for the problems `rows`; True (Q,) for those that are done."""
        gradient = self.gradient[rows]
        done = gradient.abs().amax(1) <= self.TOLERANCE_GRADIENT  # where every further outer step returns at once
        first = self.iterations[rows] == 0
        change, step = gradient - self.old_gradient[rows], self.direction[rows] * self.length[rows][:, None]
        curvature = (change * step).sum(1)
        useful = ~first & ~done & (curvature > self.CURVATURE)
        self.history.push(rows[useful], step[useful], change[useful], curvature[useful])
        direction = self.history.direction(rows, gradient)
        length = torch.where(first, (1 / gradient.abs().sum(1)).clamp(max=1.0), torch.ones_like(curvature)) * self.lr
        flat = (gradient * direction).sum(1) > -self.TOLERANCE_CHANGE
        go = ~done
        self.old_gradient[rows[go]], self.direction[rows[go]], self.length[rows[go]] = (
            gradient[go],
            direction[go],
            length[go],
        )
        self.iterations[rows[go]] += 1
        go &= ~flat
        moved = rows[go]
        before = self.value[moved]
        if len(moved):
            self.point[moved] += length[go][:, None] * direction[go]
            self.value[moved], self.gradient[moved] = self.evaluate(self.point[moved], moved)
        small = flat.clone()
        tiny_step = (direction[go] * length[go][:, None]).abs().amax(1) <= self.TOLERANCE_CHANGE
        tiny_gain = (self.value[moved] - before).abs() < self.TOLERANCE_CHANGE
        small[go] = tiny_step | tiny_gain
        self.inner[rows] += 1
        ended = small | (self.inner[rows] >= self.evaluations)
        self.outer_done[rows[ended]] += 1
        self.inner[rows[ended]] = 0
        return done | (self.outer_done[rows] >= self.outer)

    def state(self, rows: Tensor) -> dict[str, Tensor]:
        """All that is needed to go on; the histories of `rows` only."""
        return {name: getattr(self, name) for name in self._OWN} | self.history.state(rows)

    def load(self, state: dict[str, Tensor]) -> None:
        """Take over what `state` gave."""
        for name in self._OWN:
            getattr(self, name).copy_(state[name])
        self.history.load(state)

    _OWN = (
        "point",
        "value",
        "gradient",
        "old_gradient",
        "direction",
        "length",
        "iterations",
        "inner",
        "outer_done",
    )

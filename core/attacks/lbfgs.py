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
    """The last `size` steps and gradient changes of the problems at work, and the inverse Hessian that they imply.

    The problems at work move in step, so one slot an iteration serves them all, and a refused pair leaves its place
    empty. Storage is (slot, problem, dimension). Asked for other problems than the last time, it keeps those that stay
    and starts the others anew.
    """

    def __init__(self, size: int, like: Tensor) -> None:
        self.size, self.used = size, 0  # pairs pushed in all
        self.members = torch.zeros(0, dtype=torch.int64, device=like.device)
        self.steps = like.new_zeros(size, 0, like.shape[1])
        self.changes = torch.zeros_like(self.steps)
        self.inverse = like.new_zeros(size, 0)  # 1 / (step · change); 0 where there is no pair
        self.scale = like.new_zeros(0)  # first guess of the inverse Hessian, times the identity; 0: no pair yet

    def select(self, rows: Tensor) -> None:
        """Make `rows` (Q,) the problems at work."""
        if torch.equal(rows, self.members):
            return
        same = rows[:, None] == self.members
        stays = torch.nonzero(same.any(1)).flatten()
        old = torch.nonzero(same)[:, 1]
        self.members = rows.clone()
        for name in ("steps", "changes", "inverse"):
            part = getattr(self, name)
            moved = part.new_zeros(self.size, len(rows), *part.shape[2:])
            moved[:, stays] = part[:, old]
            setattr(self, name, moved)
        scale = self.scale.new_zeros(len(rows))
        scale[stays] = self.scale[old]
        self.scale = scale

    def push(self, useful: Tensor, step: Tensor, change: Tensor, curvature: Tensor) -> None:
        """One pair (Q, D) for each problem at work, kept where `useful` (Q,); curvature (Q,) = step · change > 0."""
        slot = self.used % self.size
        self.used += 1
        self.steps[slot], self.changes[slot] = step, change
        self.inverse[slot] = torch.where(useful, 1 / curvature, 0.0)
        self.scale = torch.where(useful, curvature / change.square().sum(1), self.scale)
        if not bool(useful.all()):  # what is refused may not be finite
            self.steps[slot, ~useful] = 0
            self.changes[slot, ~useful] = 0

    def forget(self, which: Tensor) -> None:
        """Start the problems at work that are True in `which` (Q,) anew."""
        self.scale[which] = 0
        self.inverse[:, which] = 0

    @property
    def empty(self) -> Tensor:
        """(Q,), True for problems without any pair."""
        return self.scale == 0

    def direction(self, gradient: Tensor) -> Tensor:
        """− inverse Hessian · gradient, (Q, D), by the two-loop recursion (Nocedal & Wright, algorithm 7.4)."""
        q = -gradient
        slots = [(self.used - age) % self.size for age in range(1, min(self.used, self.size) + 1)]
        weights = []
        for slot in slots:
            weight = _dot(self.steps[slot], q) * self.inverse[slot]
            q = torch.addcmul(q, weight[:, None], self.changes[slot], value=-1)
            weights.append(weight)
        q = q * torch.where(self.empty, 1.0, self.scale)[:, None]
        for slot, weight in zip(reversed(slots), reversed(weights), strict=True):
            back = _dot(self.changes[slot], q) * self.inverse[slot]
            q = torch.addcmul(q, (weight - back)[:, None], self.steps[slot])
        return q

    def state(self) -> dict[str, Tensor]:
        """What `load` needs to go on."""
        deep = min(self.used, self.size)
        parts = {"steps": self.steps, "changes": self.changes, "inverse": self.inverse}
        state = {f"history.{name}": part[:deep] for name, part in parts.items()}
        used = torch.tensor([self.used])
        return state | {"history.scale": self.scale, "history.members": self.members, "history.used": used}

    def load(self, state: dict[str, Tensor]) -> None:
        """Take over what `state` gave; a history without a pair has nothing to take over."""
        self.used = int(state["history.used"])
        if "history.steps" not in state:
            return
        self.select(state["history.members"].to(self.members))
        self.scale.copy_(state["history.scale"])
        for name in ("steps", "changes", "inverse"):
            part = state[f"history.{name}"]
            getattr(self, name)[: len(part)] = part.to(self.steps)


def _dot(one: Tensor, other: Tensor) -> Tensor:
    """(Q, D), (Q, D) -> (Q,)."""
    return torch.bmm(one[:, None], other[:, :, None])[:, 0, 0]


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
        self.history = History(history, start)
        self.value, self.gradient = evaluate(self.point, torch.arange(len(start), device=start.device))

    def step(self, rows: Tensor) -> Tensor:
        """One iteration for the problems `rows`; True (Q,) for those that found no lower value in any direction."""
        old, value, slope_of = self.point[rows], self.value[rows], self.gradient[rows]
        self.history.select(rows)
        direction = self.history.direction(slope_of)
        slope = (direction * slope_of).sum(1)
        lost = ~(slope < 0)  # rounding has eaten the descent, or it is not finite: steepest descent instead
        if bool(lost.any()):
            self.history.forget(lost)
            direction[lost] = -slope_of[lost]
            slope = (direction * slope_of).sum(1)
        fresh = self.history.empty
        length = torch.where(fresh, 1 / slope_of.norm(dim=1).clamp_min(1e-30), torch.ones_like(value))
        point, reached, gradient, stuck = self._search(rows, old, value, slope_of, direction, slope, length)
        stuck |= ~(reached < value)  # a step that gains nothing is none
        step, change = point - old, gradient - slope_of
        curvature = (step * change).sum(1)
        useful = ~stuck & (curvature > self.CURVATURE * step.norm(dim=1) * change.norm(dim=1))
        self.history.push(useful, step, change, curvature)
        self.point[rows], self.value[rows], self.gradient[rows] = point, reached, gradient
        self.history.forget(stuck)
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

    def state(self) -> dict[str, Tensor]:
        """All that is needed to go on."""
        own = {"point": self.point, "value": self.value, "gradient": self.gradient}
        return own | self.history.state()

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
        self.history = History(history, start)
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
        self.history.select(rows)
        self.history.push(useful, step, change, curvature)
        direction = self.history.direction(gradient)
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

    def state(self) -> dict[str, Tensor]:
        """All that is needed to go on."""
        return {name: getattr(self, name) for name in self._OWN} | self.history.state()

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

"""Which problems still run, and why the others ended: the books that the loops of `core.attacks.matching` keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from core.attacks.lbfgs import LineSearchLbfgs, PaperLbfgs

if TYPE_CHECKING:
    from core.attacks.dlg import SearchConfig

RUNNING, DONE, STALLED, STUCK, DIVERGED, SPENT = range(6)
REASONS = {
    RUNNING: "stopped: all iterations used, loss {loss:.1e}",
    DONE: "ok",
    STALLED: "stalled: the loss stopped falling at {loss:.1e}",
    STUCK: "stopped: no step lowers the loss of {loss:.1e} any more",
    SPENT: "stopped: all iterations used, loss {loss:.1e}",
    DIVERGED: "diverged: loss is not finite",
}


class Search:
    """Restarts tried together, then the best of each update carried on until its loss says that it is done.

    When the best one stalls or sticks, the next best of the same update goes on in its place.
    """

    def __init__(self, solver: LineSearchLbfgs, config: SearchConfig, restarts: int) -> None:
        self.solver, self.config, self.restarts = solver, config, restarts
        value = solver.value
        self.codes = torch.where(value.isfinite(), RUNNING, DIVERGED)
        self.iterations = torch.zeros_like(self.codes)
        self.mark, self.marked_at = value.clone(), torch.zeros_like(self.codes)
        self._judge_solved(torch.arange(len(value), device=value.device))

    def rows(self, tick: int) -> Tensor:
        """The problems that take part in the next iteration."""
        running = (self.codes == RUNNING).reshape(-1, self.restarts)
        solved = (self.codes == DONE).reshape(-1, self.restarts).any(1)
        running = running & ~solved[:, None]
        if tick >= self.config.trial:
            values = self.solver.value.reshape(-1, self.restarts)
            best = torch.where(running, values, torch.inf).argmin(1)
            only = torch.zeros_like(running)
            only[torch.arange(len(best), device=best.device), best] = True
            running = running & only
        return torch.nonzero(running.flatten()).flatten()

    def step(self, rows: Tensor) -> None:
        """One iteration of `rows`, and what it means for them."""
        lost = self.solver.step(rows)
        self.iterations[rows] += 1
        value = self.solver.value
        due = rows[self.iterations[rows] - self.marked_at[rows] >= self.config.stall]
        self.codes[due[value[due] > (1 - self.config.gain) * self.mark[due]]] = STALLED
        self.mark[due], self.marked_at[due] = value[due], self.iterations[due]
        self.codes[rows[lost]] = STUCK
        self._judge_solved(rows)

    def _judge_solved(self, rows: Tensor) -> None:
        self.codes[rows[self.solver.value[rows] <= self.config.tolerance]] = DONE

    def outcome(self) -> tuple[Tensor, Tensor]:
        """Points and losses: the line search only ever goes down, so the last is the best."""
        return self.solver.point, self.solver.value

    def state(self) -> dict[str, Tensor]:
        """All that is needed to go on."""
        own = {name: getattr(self, name) for name in self._OWN}
        return own | self.solver.state()

    def load(self, found: tuple[int, dict[str, Tensor]] | None) -> int:
        """Take over a checkpoint, if there is one; the number of iterations that it has done."""
        if found is None:
            return 0
        tick, state = found
        for name in self._OWN:
            getattr(self, name).copy_(state[name])
        self.solver.load(state)
        return tick

    _OWN = ("codes", "iterations", "mark", "marked_at")


class PaperSearch:
    """Every problem runs to the end of its outer steps; a diverged one keeps the best that it had."""

    def __init__(self, solver: PaperLbfgs, tolerance: float) -> None:
        self.solver, self.tolerance = solver, tolerance
        self.codes = torch.where(solver.value.isfinite(), RUNNING, DIVERGED)
        self.best_point, self.best_value = solver.point.clone(), solver.value.clone()

    @property
    def iterations(self) -> Tensor:
        """(P,)."""
        return self.solver.iterations

    def rows(self, _tick: int) -> Tensor:
        """The problems that take part in the next iteration."""
        return torch.nonzero(self.codes == RUNNING).flatten()

    def step(self, rows: Tensor) -> None:
        """One iteration of `rows`, and what it means for them."""
        done = self.solver.step(rows)
        value = self.solver.value[rows]
        self.codes[rows[done]] = SPENT  # also where the gradient vanished: every further step would stay there
        self.codes[rows[value < self.tolerance]] = DONE
        self.codes[rows[~value.isfinite()]] = DIVERGED
        better = rows[value < self.best_value[rows]]
        self.best_point[better], self.best_value[better] = self.solver.point[better], self.solver.value[better]

    def outcome(self) -> tuple[Tensor, Tensor]:
        """Points and losses: the last ones, as in the paper; the best ones where it diverged."""
        fell = self.codes == DIVERGED
        point = torch.where(fell[:, None], self.best_point, self.solver.point)
        return point, torch.where(fell, self.best_value, self.solver.value)

    def state(self) -> dict[str, Tensor]:
        """All that is needed to go on."""
        own = {"codes": self.codes, "best_point": self.best_point, "best_value": self.best_value}
        return own | self.solver.state()

    def load(self, found: tuple[int, dict[str, Tensor]] | None) -> int:
        """Take over a checkpoint, if there is one; the number of iterations that it has done."""
        if found is None:
            return 0
        tick, state = found
        for name in ("codes", "best_point", "best_value"):
            getattr(self, name).copy_(state[name])
        self.solver.load(state)
        return tick

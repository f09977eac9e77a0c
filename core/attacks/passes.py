"""Costs and their gradients for many problems, in passes that fit into memory, in the arithmetic that was chosen.

The first call measures, on this very cost: which precision holds (`core.attacks.precision`), and how many problems fit
into the free memory (`core.attacks.memory`). A pass that runs out of memory all the same is halved.
Runs long enough to repay it go on with a recorded step (`core.attacks.compiled`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from core.attacks import compiled, memory, precision

Objective = Callable[[Tensor, Tensor], Tensor]  # points (Q, …), rows (Q,) -> cost of each (Q,)
WARM = 3  # evaluations before the pace is taken: the first ones allocate
RECHECKED = 64  # evaluations after which a coarse precision is checked again, then at every doubling


class Passes:
    """How the problems of one run are evaluated, and what there is to tell of it.

    ceiling: problems a pass of which more would not be quicker. steps: evaluations that the run will ask for, if known.
    """

    def __init__(self, device: torch.device, ceiling: int, asked: str = "auto", steps: int = 0) -> None:
        precision.check_asked(asked, device)
        self.device, self.ceiling, self.asked, self.steps = device, max(1, ceiling), asked, steps
        self.size = 0  # problems a pass; 0 until it is settled
        self.choice = precision.Choice("float32")
        self.fit: memory.Fit | None = None
        self.halved = 0
        self.recorded = compiled.Recorded(device)
        self._done, self._seconds, self._recheck = 0, 0.0, RECHECKED

    def evaluate(
        self, objective: Objective, points: Tensor, rows: Tensor, *, fixed: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Costs (Q,) and their gradients (Q, …) at points (Q, …) of the problems `rows` (Q,); Q ≥ 1.

        fixed: the cost depends on points and rows alone, the whole run long, so that a recorded step may stand for it.
        """
        self._settle(objective, points, rows)
        began = time.perf_counter()
        values, gradients, first = [], [], 0
        with precision.using(self.choice.mode):
            while first < len(rows):
                part = slice(first, first + self.size)
                found = self._attempt(objective, points[part], rows[part], fixed)
                if found is None:
                    continue  # memory ran out: the same place again, with a smaller pass
                values.append(found[0])
                gradients.append(found[1])
                first = part.stop
        self._done += 1
        if self.device.type == "cuda" and self._done <= 2 * WARM:
            torch.cuda.synchronize(self.device)  # only while the pace is taken
        if fixed and self.steps and WARM < self._done <= 2 * WARM:
            self._take_pace(time.perf_counter() - began)
        return torch.cat(values), torch.cat(gradients)

    def record(self) -> dict[str, Any]:
        """For the run's record: precision and its check, problems a pass and what they rest on, form of the step."""
        found: dict[str, Any] = {"precision": self.choice.mode, "step": self.recorded.path}
        if self.choice.checks:
            found["precision_checks"] = self.choice.checks
        if self.size:
            found["problems_a_pass"] = self.size
        if self.fit is not None:
            found["memory_probe"] = self.fit.record()
        if self.halved:
            found["out_of_memory"] = f"{self.halved} times; each halved the pass"
        return found

    def _settle(self, objective: Objective, points: Tensor, rows: Tensor) -> None:
        """Measure once, on the first problems that come; check a coarse precision again now and then."""
        if not self.size:
            self.choice = precision.choose(self.asked, *self._checked(objective, points, rows))
            self.size = min(self.ceiling, self._fitting(objective, points, rows))
        elif self._done >= self._recheck and self.choice.mode != "float32" and self.asked == "auto":
            self._recheck *= 2
            again = precision.choose(self.asked, *self._checked(objective, points, rows))
            if precision.is_finer(again.mode, self.choice.mode):
                self.choice = again
                self.recorded.forget()

    def _checked(self, objective: Objective, points: Tensor, rows: Tensor) -> tuple[Callable[[Tensor], Tensor], Tensor]:
        some = slice(0, precision.CHECKED_PROBLEMS)
        return lambda places: step(objective, places, rows[some])[1], points[some].detach()

    def _fitting(self, objective: Objective, points: Tensor, rows: Tensor) -> int:
        if len(rows) == 1:
            return self.ceiling  # nothing to divide
        try:
            with precision.using(self.choice.mode):
                self.fit = memory.probe(lambda n: step(objective, points[:n], rows[:n]), self.device)
        except (RuntimeError, MemoryError) as error:
            if not memory.is_out_of_memory(error):
                raise
        else:
            return self.ceiling if self.fit is None else self.fit.problems
        memory.let_go(self.device)
        self.halved += 1
        return 1  # not even two problems fit

    def _attempt(self, objective: Objective, points: Tensor, rows: Tensor, fixed: bool) -> tuple[Tensor, Tensor] | None:
        """One pass, or None when memory ran out and the pass was halved; one problem that does not fit raises."""
        plain = partial(step, objective)
        try:
            return (fixed and self.recorded.run(plain, points, rows)) or plain(points, rows)
        except (RuntimeError, MemoryError) as error:
            if not memory.is_out_of_memory(error) or len(rows) == 1:
                raise
        # here the error, whose frames hold the pass's tensors, is gone
        self.recorded.forget()
        memory.let_go(self.device)
        self.size = -(-len(rows) // 2)
        self.halved += 1
        return None

    def _take_pace(self, seconds: float) -> None:
        """After a few evaluations the pace is known, and whether what is left of the run repays a recorded step."""
        self._seconds = min(self._seconds or seconds, seconds)
        if self._done == 2 * WARM:
            self.recorded.consider(self._seconds * max(0, self.steps - self._done))


def step(objective: Objective, points: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """The plain form of one pass: costs (Q,), gradients (Q, …) by double backward."""
    with torch.enable_grad():
        places = points.detach().requires_grad_(True)
        costs = objective(places, rows)
        (gradients,) = torch.autograd.grad(costs.sum(), places)
    return costs.detach(), gradients

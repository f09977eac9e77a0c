"""Which problems of a run are still worth a step: those that are finite and still get better."""

from __future__ import annotations

import torch
from torch import Tensor

RUNNING, CONVERGED, DIVERGED = 0, 1, 2
STATUS = {RUNNING: "ok", CONVERGED: "ok", DIVERGED: "diverged: loss is not finite"}


class Active:
    """The books of `count` problems. A loop evaluates `rows` alone, so that no arithmetic is spent on the others.

    A problem leaves for good when its loss or its gradient is not finite; and, if `patience` is not 0, when its best
    loss fell by less than the share `gain` of itself within `patience` steps. `codes` (P,) says which; `steps` (P,)
    counts the steps of each. After `judge` the loop takes `rows` anew.
    """

    def __init__(self, count: int, device: torch.device, *, patience: int = 0, gain: float = 1e-3) -> None:
        self.patience, self.gain = patience, gain
        self.codes = torch.zeros(count, dtype=torch.int64, device=device)
        self.steps = torch.zeros_like(self.codes)
        self.best = torch.full((count,), torch.inf, device=device)
        self.mark, self.marked_at = self.best.clone(), torch.zeros_like(self.codes)
        self.rows = torch.arange(count, device=device)

    def judge(self, losses: Tensor, gradients: Tensor) -> tuple[Tensor, Tensor]:
        """Take in the losses (Q,) and gradients (Q, …) of `rows`. Two (Q,) masks of them: finite, and better than ever.

        Whoever is not finite or has converged is gone from `rows` afterwards.
        """
        rows = self.rows
        finite = losses.isfinite() & gradients.flatten(1).isfinite().all(1)
        better = finite & (losses < self.best[rows])
        self.best[rows] = torch.where(better, losses.to(self.best), self.best[rows])
        self.steps[rows] += 1
        self.codes[rows] = torch.where(finite, self.codes[rows], DIVERGED)
        if self.patience:
            due = rows[self.steps[rows] - self.marked_at[rows] >= self.patience]
            stalled = due[self.best[due] > (1 - self.gain) * self.mark[due]]
            self.codes[stalled] = torch.where(self.codes[stalled] == RUNNING, CONVERGED, self.codes[stalled])
            self.mark[due], self.marked_at[due] = self.best[due], self.steps[due]
        self.rows = torch.nonzero(self.codes == RUNNING).flatten()
        return finite, better

    def retire(self, converged: Tensor) -> None:
        """Take the running problems of a (P,) mask for converged: they are gone from `rows`."""
        self.codes = torch.where(converged & (self.codes == RUNNING), CONVERGED, self.codes)
        self.rows = torch.nonzero(self.codes == RUNNING).flatten()

    def state(self) -> dict[str, Tensor]:
        """All that is needed to go on."""
        return {name: getattr(self, name) for name in self._OWN}

    def load(self, state: dict[str, Tensor]) -> None:
        """Take over what `state` gave."""
        for name in self._OWN:
            getattr(self, name).copy_(state[name])
        self.rows = torch.nonzero(self.codes == RUNNING).flatten()

    _OWN = ("codes", "steps", "best", "mark", "marked_at")

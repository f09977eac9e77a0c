"""MI-Face's search: gradient descent in [0, 1] on each picture by itself, until the model is sure of its class."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from core.attacks.costs import total_variation
from core.attacks.synthesis import NOT_FINITE, Search, set_up
from core.leakage.observation import Observation

if TYPE_CHECKING:
    from core.attacks.mi_face import MiFaceConfig

NOISE = 0.1  # standard deviation of what sets further restarts apart from the first, of the range [0, 1]
RUNNING, REACHED, STALLED, DIVERGED = 0, 1, 2, 3


class MiFace(Search):
    """Gradient descent in [0, 1] on each of P·B pictures by itself. Tensors have the leading axis P·B."""

    _OWN = ("image", "best", "best_cost", "losses", "waited", "codes", "made")

    def __init__(self, observation: Observation, config: MiFaceConfig, seed: int) -> None:
        self.config = config
        self.bench = set_up(observation, config.restarts, precision=config.precision, steps=config.steps, together=1)
        sure = config.confidence
        enough = 1 - sure if config.cost == "confidence" else -math.log(sure) if sure > 0 else math.inf
        self.enough = config.matching * enough if config.matching else -math.inf  # no class: nothing to reach

    def begin(self, noise: Tensor) -> None:
        """The first restart starts as the setting says; the others have noise on it."""
        if self.config.start == "noise":
            start = 0.5 + NOISE * noise
        else:
            first = torch.arange(len(noise), device=noise.device) % self.bench.restarts == 0
            level = 0.5 if self.config.start == "grey" else 0.0
            start = level + torch.where(first.reshape(-1, 1, 1, 1, 1), 0.0, NOISE * noise)
        self.image = start.clamp(0, 1).flatten(0, 1)
        self.best = self.image.clone()
        self.best_cost = self.image.new_full((len(self.image),), torch.inf)
        self.waited = torch.zeros(len(self.image), dtype=torch.int64, device=self.image.device)
        self.losses = self.best_cost.reshape(self.bench.labels.shape).mean(1)
        self.codes, self.made = torch.zeros_like(self.waited), torch.zeros_like(self.waited)

    def objective(self, images: Tensor, rows: Tensor) -> Tensor:
        """(Q,): weighted cost of the class + weighted total variation of pictures (Q, C, H, W) in [0, 1]."""
        cost = images.flatten(1).sum(1) * 0
        if self.config.matching:
            labels = self.bench.labels.flatten()[rows]
            logs = -F.cross_entropy(self.bench.model(self.bench.normalised(images)), labels, reduction="none")
            cost = cost + self.config.matching * (-logs if self.config.cost == "log" else 1 - logs.exp())
        if self.config.total_variation:
            cost = cost + self.config.total_variation * total_variation(images)
        return cost

    def going(self) -> bool:
        """Until every picture has reached its class, gains no more, or diverged."""
        return bool((self.codes == RUNNING).any())

    def step(self, done: int) -> None:
        """One step of those that still go on."""
        rows = torch.nonzero(self.codes == RUNNING).flatten()
        costs, gradients = self.bench.passes.evaluate(self.objective, self.image[rows], rows)
        finite = costs.isfinite() & gradients.flatten(1).isfinite().all(1)
        better = finite & (costs < self.best_cost[rows])
        self.best_cost[rows] = torch.where(better, costs, self.best_cost[rows])
        self.best[rows] = torch.where(better[:, None, None, None], self.image[rows], self.best[rows])
        self.waited[rows] = torch.where(better, 0, self.waited[rows] + 1)
        self.made[rows] += 1
        codes = torch.where(self.waited[rows] >= self.config.patience, STALLED, RUNNING)
        codes = torch.where(costs <= self.enough, REACHED, codes)
        self.codes[rows] = torch.where(finite, codes, DIVERGED)
        moved = (self.image[rows] - self.config.lr * gradients).clamp(0, 1)
        self.image[rows] = torch.where(finite[:, None, None, None], moved, self.best[rows])
        self.losses = self.best_cost.reshape(self.bench.labels.shape).mean(1)

    def unit_images(self) -> Tensor:
        """The pictures of lowest cost."""
        return self.best.reshape(-1, *self.bench.shape)

    def judged(self, images: Tensor) -> Tensor:
        """Mean over the problem's pictures."""
        flat = images.flatten(0, 1)
        rows = torch.arange(len(flat), device=flat.device)
        costs, _ = self.bench.passes.evaluate(self.objective, flat, rows)
        return costs.reshape(self.bench.labels.shape).mean(1)

    def steps_made(self) -> Tensor:
        """Of the picture that took longest."""
        return self.made.reshape(self.bench.labels.shape).amax(1)

    def status(self, problem: int, confidence: float) -> str:
        """Stalled when a picture gained no more before the model was sure enough."""
        codes = self.codes.reshape(self.bench.labels.shape)[problem]
        if bool((codes == DIVERGED).any()):
            return NOT_FINITE
        if self.config.matching and bool((codes == STALLED).any()):
            return f"stalled: no gain in {self.config.patience} steps, confidence {confidence:.2f}"
        if self.config.matching and bool((codes == RUNNING).any()):
            return f"all steps used: confidence {confidence:.2f}"
        return "ok"

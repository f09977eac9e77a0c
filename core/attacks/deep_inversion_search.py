"""DeepInversion's search: Adam on pictures whose features should have the statistics that BatchNorm keeps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.attacks.deep_inversion import NO_BATCHNORM
from core.attacks.synthesis import NOT_FINITE, Search, set_up
from core.errors import UserError
from core.leakage.observation import Observation

if TYPE_CHECKING:
    from core.attacks.deep_inversion import DeepInversionConfig

BETAS, EPSILON = (0.9, 0.999), 1e-8  # torch's defaults for Adam


class DeepInversion(Search):
    """Adam in normalised space; the M = B + companions pictures of a problem share their statistics. Leading axis P."""

    _OWN = ("image", "mean", "square", "losses", "best", "best_cost", "alive", "made")

    def __init__(self, observation: Observation, config: DeepInversionConfig, seed: int) -> None:
        self.config, self.seed = config, seed
        size = observation.batch_size + config.companions
        self.bench = set_up(observation, config.restarts, precision=config.precision, steps=config.steps, together=size)
        if config.batchnorm and not self.bench.statistics:
            raise UserError(NO_BATCHNORM)
        first = self.bench.labels[:, :1] + 1
        others = first + torch.arange(config.companions, device=first.device)
        self.labels = torch.cat([self.bench.labels, others % observation.spec.num_classes], 1)  # (P, M)
        unit = torch.ones(self.shape, device=observation.device)
        self.low, self.high = self.bench.normalised(0 * unit), self.bench.normalised(unit)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(M, C, H, W), the companions last."""
        size, channels, height, width = self.bench.shape
        return (size + self.config.companions, channels, height, width)

    def begin(self, noise: Tensor) -> None:
        """The start is the noise itself."""
        self.image, self.mean, self.square = noise, torch.zeros_like(noise), torch.zeros_like(noise)
        self.losses = noise.new_full((len(noise),), torch.nan)
        self.best, self.best_cost = noise.clone(), noise.new_full((len(noise),), torch.inf)
        self.alive = torch.ones(len(noise), dtype=torch.bool, device=noise.device)
        self.made = self.alive.long() * 0

    def objective(self, images: Tensor, rows: Tensor) -> Tensor:
        """(Q,) at normalised images (Q, M, C, H, W) of problems `rows`; the terms are those of the paper's code."""
        config, cost = self.config, images.flatten(1).sum(1) * 0
        if config.matching or config.batchnorm:
            logits, distances = self.features(images)
            losses = F.cross_entropy(logits.flatten(0, 1), self.labels[rows].flatten(), reduction="none")
            if config.matching:
                cost = cost + config.matching * losses.reshape(len(images), -1).mean(1)
            if config.batchnorm:
                cost = cost + config.batchnorm * (distances.sum(1) + (config.first_layer - 1) * distances[:, 0])
        if config.total_variation:
            cost = cost + config.total_variation * neighbour_norms(images)
        return cost + config.l2 * torch.linalg.vector_norm(images.flatten(1), dim=1) if config.l2 else cost

    def features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (Q, M, K), and (Q, L): ‖mean − running mean‖ + ‖variance − running variance‖ of each BatchNorm layer.

        Means and (biased) variances of what goes into the layer, over the M pictures of a problem and all places.
        """
        found: list[Tensor] = []

        def hear(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
            inputs = given[0].reshape(len(images), len(given[0]) // len(images), given[0].shape[1], -1)
            variance, mean = torch.var_mean(inputs, dim=(1, 3), correction=0)  # of (Q, M, channels, places)
            off = (mean - layer.get_buffer("running_mean"), variance - layer.get_buffer("running_var"))
            found.append(sum((torch.linalg.vector_norm(one, dim=1) for one in off), mean.new_zeros(len(images))))

        handles = [layer.register_forward_pre_hook(hear) for layer in self.bench.statistics if self.config.batchnorm]
        try:
            logits = self.bench.model(images.flatten(0, 1))
            logits = logits.reshape(*images.shape[:2], -1)
        finally:
            for handle in handles:
                handle.remove()
        return logits, torch.stack(found, 1) if found else logits.new_zeros(len(images), 0)

    def going(self) -> bool:
        """As long as one problem is finite."""
        return bool(self.alive.any())

    def step(self, done: int) -> None:
        """One step of Adam for every problem that is still finite."""
        down, across, mirrored = self._jitter(done)
        shown = torch.roll(self.image.flip(-1) if mirrored else self.image, (down, across), (-2, -1))
        rows = torch.arange(len(shown), device=shown.device)
        self.losses, gradient = self.bench.passes.evaluate(self.objective, shown, rows, fixed=True)
        gradient = torch.roll(gradient, (-down, -across), (-2, -1))
        gradient = gradient.flip(-1) if mirrored else gradient
        self._judge(gradient)
        lr = self.config.lr
        if self.config.decay:
            lr *= 0.5 * (1 + math.cos(math.pi * done / self.config.steps))
        one, two = BETAS
        self.mean.mul_(one).add_(gradient, alpha=1 - one)
        self.square.mul_(two).addcmul_(gradient, gradient, value=1 - two)
        scale = (self.square.sqrt() / (1 - two ** (done + 1)) ** 0.5).add_(EPSILON)
        moved = self.image - lr / (1 - one ** (done + 1)) * self.mean / scale
        if self.config.boxed:
            moved = torch.maximum(torch.minimum(moved, self.high), self.low)
        self.image = torch.where(self._mask(self.alive), moved, self.image)

    def _jitter(self, done: int) -> tuple[int, int, bool]:
        """Shift and mirroring of this step, the same for all problems, and so the same in every shard."""
        source = np.random.default_rng(np.random.SeedSequence([self.seed, done, 0, 1]))
        down, across = source.integers(-self.config.jitter, self.config.jitter + 1, 2)
        return int(down), int(across), self.config.flip and bool(source.random() < 0.5)

    def _judge(self, gradient: Tensor) -> None:
        """Problems that are no longer finite stop for good, at the best that they had."""
        finite = self.losses.isfinite() & gradient.flatten(1).isfinite().all(1)
        fell = self.alive & ~finite
        self.alive = self.alive & finite
        self.made = self.made + self.alive
        better = self.alive & (self.losses < self.best_cost)
        self.best_cost = torch.where(better, self.losses, self.best_cost)
        self.best = torch.where(self._mask(better), self.image, self.best)
        self.image = torch.where(self._mask(fell), self.best, self.image)

    @staticmethod
    def _mask(which: Tensor) -> Tensor:
        return which.reshape(-1, 1, 1, 1, 1)

    def unit_images(self) -> Tensor:
        """The pictures as they stand: the last ones count, or the best of a problem that diverged."""
        mean, std = self.bench.scale()
        return self.image[:, : self.bench.shape[0]] * std + mean

    def judged(self, images: Tensor) -> Tensor:
        """Beside the companions as they stand, without shift or mirroring."""
        rows = torch.arange(len(images), device=images.device)
        shown = torch.cat([self.bench.normalised(images), self.image[:, images.shape[1] :]], 1)
        return self.bench.passes.evaluate(self.objective, shown, rows)[0]

    def steps_made(self) -> Tensor:
        """Those that were finite."""
        return self.made

    def status(self, problem: int, confidence: float) -> str:
        """Ok, unless it diverged."""
        return "ok" if bool(self.alive[problem]) else NOT_FINITE


def neighbour_norms(images: Tensor) -> Tensor:
    """(Q, …, H, W) -> (Q,): L2 norms of the differences across, down and along both diagonals, summed."""
    pairs = (
        (images[..., :, 1:], images[..., :, :-1]),
        (images[..., 1:, :], images[..., :-1, :]),
        (images[..., 1:, :-1], images[..., :-1, 1:]),
        (images[..., 1:, 1:], images[..., :-1, :-1]),
    )
    return torch.stack([torch.linalg.vector_norm((one - other).flatten(1), dim=1) for one, other in pairs]).sum(0)

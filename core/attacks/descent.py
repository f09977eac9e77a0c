"""The loop behind Inverting Gradients: signed Adam on P images at once, each as if it were alone."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from core.attacks import engine
from core.attacks.base import Progress, Reconstructions
from core.attacks.costs import cosine_distance, total_variation
from core.attacks.labels import recover_labels
from core.leakage.observation import Observation

if TYPE_CHECKING:
    from core.attacks.inverting import InvertingConfig

BETAS, EPSILON = (0.9, 0.999), 1e-8  # torch's defaults for Adam
DROPS = (2.667, 1.6, 1.142)  # the step size falls after ⌊T / each⌋ steps


def descend(
    name: str,
    observation: Observation,
    config: InvertingConfig,
    *,
    seed: int,
    progress: Progress | None,
    targets: Sequence[int] | None,
) -> Reconstructions:
    """Run all steps for all problems; the last image counts, as in the paper, or the best of one that diverged."""
    began = time.monotonic()
    positions = engine.global_targets(observation, targets)
    problems = engine.set_up(observation, config.restarts, steps=config.steps)
    labels = observation.labels if observation.labels is not None else recover_labels(observation)
    descent = Descent(problems, config, labels)
    pixels = int(np.prod(problems.image_shape))
    start = engine.draw(config.start, seed, positions, config.restarts, pixels)
    descent.begin(start.reshape(-1, *problems.image_shape).to(labels.device))
    reporter = engine.Reporter(progress, name, engine.identity(name, observation, config, seed, positions))
    found, step = reporter.resume(), 0
    if found is not None:
        step, state = found
        descent.load(state)
    reporter.check_cancelled()
    while step < config.steps:
        descent.step(step)
        step += 1
        losses = descent.losses.reshape(-1, config.restarts)
        reporter.after(step, config.steps, losses, partial(descent.frame, losses), descent.state)
    return _finish(descent, labels, began)


class Descent:
    """P images in normalised space with their Adam state. All tensors have the leading axis P."""

    def __init__(self, problems: engine.Problems, config: InvertingConfig, labels: Tensor) -> None:
        self.problems, self.config = problems, config
        like = next(iter(problems.observation.gradients.values()))
        classes = problems.observation.spec.num_classes
        self.targets = engine.one_hot(labels[problems.owner], classes, like)  # (P, B, K)
        shape = problems.image_shape
        self.low = problems.normalised(like.new_zeros(shape))
        self.high = problems.normalised(like.new_ones(shape))
        self.milestones = [int(config.steps // drop) for drop in DROPS] if config.decay else []

    def begin(self, start: Tensor) -> None:
        """Place the P images, in normalised space."""
        self.image, self.mean, self.square = start, torch.zeros_like(start), torch.zeros_like(start)
        self.losses = start.new_full((len(start),), torch.nan)
        self.best, self.best_loss = start.clone(), start.new_full((len(start),), torch.inf)
        self.alive = torch.ones(len(start), dtype=torch.bool, device=start.device)

    def objective(self, images: Tensor, rows: Tensor) -> Tensor:
        """(Q,): weighted cosine distance + weighted total variation of the images of problems `rows`."""
        cost = self.config.total_variation * total_variation(images)
        if self.config.matching:
            cost = cost + self.config.matching * self.problems.matching(
                cosine_distance, images, self.targets[rows], rows
            )
        return cost

    def evaluate(self) -> tuple[Tensor, Tensor]:
        """Losses (P,) and their gradients at the present images."""
        rows = torch.arange(len(self.image), device=self.image.device)
        return self.problems.evaluate(self.objective, self.image, rows, fixed=True)

    def step(self, done: int) -> None:
        """One step of Adam for every problem that is still finite; `done` steps were made before."""
        self.losses, gradient = self.evaluate()
        self._judge(gradient)
        if self.config.signed:
            gradient = gradient.sign()
        lr = self.config.lr * 0.1 ** sum(done >= milestone for milestone in self.milestones)
        one, two = BETAS
        self.mean.mul_(one).add_(gradient, alpha=1 - one)
        self.square.mul_(two).addcmul_(gradient, gradient, value=1 - two)
        scale = (self.square.sqrt() / (1 - two ** (done + 1)) ** 0.5).add_(EPSILON)
        moved = self.image - lr / (1 - one ** (done + 1)) * self.mean / scale
        if self.config.boxed:
            moved = torch.maximum(torch.minimum(moved, self.high), self.low)
        self.image = torch.where(self._mask(), moved, self.image)

    def _judge(self, gradient: Tensor) -> None:
        """Problems that are no longer finite stop for good, at the best that they had."""
        finite = self.losses.isfinite() & gradient.flatten(1).isfinite().all(1)
        fell = self.alive & ~finite
        self.alive &= finite
        better = self.alive & (self.losses < self.best_loss)
        self.best_loss = torch.where(better, self.losses, self.best_loss)
        mask = better.reshape(-1, 1, 1, 1, 1)
        self.best = torch.where(mask, self.image, self.best)
        if bool(fell.any()):
            self.image = torch.where(fell.reshape(-1, 1, 1, 1, 1), self.best, self.image)

    def _mask(self) -> Tensor:
        return self.alive.reshape(-1, 1, 1, 1, 1)

    def unit_images(self) -> Tensor:
        """(P, B, C, H, W) on the [0, 1] scale."""
        spec = self.problems.observation.spec
        std, mean = (self.image.new_tensor(values)[:, None, None] for values in (spec.std, spec.mean))
        return self.image * std + mean

    def frame(self, losses: Tensor) -> np.ndarray:
        """(N, B, H, W, C) uint8, the best restart of each update."""
        best = losses.nan_to_num(torch.inf).argmin(1)
        images = self.unit_images().reshape(*losses.shape, *self.problems.image_shape)
        return engine.to_pixels(images[torch.arange(len(best), device=best.device), best])

    def state(self) -> dict[str, Tensor]:
        """All that is needed to go on."""
        return {name: getattr(self, name) for name in self._OWN}

    def load(self, state: dict[str, Tensor]) -> None:
        """Take over what `state` gave."""
        for name in self._OWN:
            setattr(self, name, state[name].to(self.image.device))

    _OWN = ("image", "mean", "square", "losses", "best", "best_loss", "alive")


def _finish(descent: Descent, labels: Tensor, began: float) -> Reconstructions:
    problems, config = descent.problems, descent.config
    final, gradient = descent.evaluate()
    descent.losses = final
    descent._judge(gradient)
    shape = (problems.observation.count, config.restarts)
    losses = torch.where(descent.alive, final, descent.best_loss).double().cpu().numpy().reshape(shape)
    chosen = np.where(np.isfinite(losses), losses, np.inf).argmin(1)
    alive = descent.alive.cpu().numpy().reshape(shape)
    images = engine.to_pixels(descent.unit_images())
    recovered = problems.observation.labels is None
    return Reconstructions(
        images=images.reshape(*shape, *images.shape[1:]),
        losses=losses,
        chosen=chosen,
        labels=labels[problems.owner].cpu().numpy().reshape(*shape, -1),
        iterations=np.full(shape, config.steps),
        status=tuple("ok" if alive[n, r] else "diverged: loss is not finite" for n, r in enumerate(chosen)),
        seconds=time.monotonic() - began,
        record=engine.record_of(problems, labels="recovered" if recovered else "known"),
    )

"""The loop behind SME: a gradient at a learned model between the sent and the returned weights stands for all steps."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from core.attacks import engine
from core.attacks.base import Progress, Reconstructions
from core.attacks.descent import BETAS, EPSILON, Descent, drive
from core.attacks.fedavg import SmeConfig
from core.attacks.gradients import Field, frozen_copy
from core.attacks.labels import recover_labels
from core.attacks.own_weights import GradientOf, One, per_problem
from core.attacks.recipe import Recipe
from core.attacks.schedules import drops
from core.attacks.simulated import local_training
from core.attacks.starts import first_images
from core.leakage.observation import Observation


def extend(
    name: str,
    observation: Observation,
    config: SmeConfig,
    *,
    seed: int,
    progress: Progress | None,
    targets: Sequence[int] | None,
) -> Reconstructions:
    """Run all steps for all problems; the last images count, as in the paper."""
    began = time.monotonic()
    local = local_training(observation)
    positions = engine.global_targets(observation, targets)
    surrogate = Surrogate()
    problems = engine.set_up(
        observation, config.restarts, precision=config.precision, steps=config.steps, make_field=surrogate.field
    )
    labels = observation.labels
    if labels is None:
        labels = recover_labels(observation, config.label_rule)
    descent = SurrogateDescent(problems, config, labels, surrogate, local.lr * local.steps)
    descent.begin(first_images(problems, descent.recipe, seed, positions))
    reporter = engine.Reporter(progress, name, engine.identity(name, observation, config, seed, positions))
    found = drive(descent, reporter, labels, began)
    found.record["alpha"] = [round(float(value), 4) for value in descent.alpha]
    return found


class Surrogate:
    """Gradients of Q problems at `weights`, (Q, *shape) in the order of names: set them before every evaluation."""

    weights: Sequence[Tensor]

    def field(
        self, model: nn.Module, names: Sequence[str], batchnorm: Any, shape: tuple[int, ...], classes: int
    ) -> Field:
        """What `engine.set_up` calls."""
        frozen = frozen_copy(model, batchnorm)
        self.sent = dict(frozen.named_parameters())
        draw, device = torch.Generator().manual_seed(0), next(model.parameters()).device
        batch = min(shape[0], 3)
        images = torch.randn(2, batch, *shape[1:], generator=draw, dtype=torch.float64).to(device)
        targets = torch.randn(2, batch, classes, generator=draw, dtype=torch.float64).softmax(-1).to(device)
        weights = [torch.stack([self.sent[name], 0.9 * self.sent[name]]) for name in names]
        self.form, path = per_problem(
            lambda _, gradient: at_weights(gradient, names), frozen, [images, targets, *weights]
        )
        return Field(self.evaluate, tuple(names), path)

    def evaluate(self, images: Tensor, targets: Tensor) -> tuple[list[Tensor], Tensor]:
        """As a Field's; the losses are not known."""
        return self.form(images, targets, *self.weights), images.new_full((len(images),), torch.nan)


def at_weights(gradient: GradientOf, names: Sequence[str]) -> One:
    """The function (images (B, C, H, W), targets (B, K), weights in the order of names) -> gradients in that order."""

    def one(images: Tensor, targets: Tensor, *weights: Tensor) -> list[Tensor]:
        found = gradient(dict(zip(names, weights, strict=True)), images, targets)
        return [found[name] for name in names]

    return one


class SurrogateDescent(Descent):
    """Adam on P problems' images, and on alpha (P,): where each one's model lies between sent (0) and returned (1).

    length: learning rate × steps, so that returned = sent − length · shared mean gradient.
    """

    def __init__(
        self, problems: engine.Problems, config: SmeConfig, labels: Tensor, surrogate: Surrogate, length: float
    ) -> None:
        super().__init__(problems, Recipe.of(config), labels)
        self.config, self.surrogate, self.length = config, surrogate, length
        self._alphas: Tensor | None = None

    def begin(self, start: Tensor) -> None:
        """Place the images and alpha."""
        super().begin(start)
        self.alpha = start.new_full((len(start),), self.config.alpha)
        self.alpha_mean, self.alpha_square = torch.zeros_like(self.alpha), torch.zeros_like(self.alpha)

    def evaluate(self, points: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Objective (Q,) of problems `rows` at images `points`, and its gradient; that of alpha is kept for `step`."""
        packed = torch.cat([points.flatten(1), self.alpha[rows, None]], 1)
        losses, gradient = self.problems.evaluate(self._packed, packed, rows, fixed=True)
        self.alpha_gradient = gradient[:, -1]
        return losses, gradient[:, :-1].reshape(points.shape)

    def _packed(self, packed: Tensor, rows: Tensor) -> Tensor:
        self._alphas = packed[:, -1]
        cost = self.objective(packed[:, :-1].reshape(-1, *self.problems.image_shape), rows)
        self._alphas = None
        return cost

    def match(self, images: Tensor, rows: Tensor) -> Tensor:
        """(Q,): distance of the gradients at each problem's surrogate model from the shared mean gradient."""
        alpha = self.alpha[rows] if self._alphas is None else self._alphas
        owner, weights = self.problems.owner[rows], []
        for name in self.problems.field.names:
            moved = self.problems.observation.gradients[name][owner]
            scale = (alpha * self.length).reshape(-1, *[1] * (moved.ndim - 1))
            weights.append(self.surrogate.sent[name] - scale * moved)
        self.surrogate.weights = weights
        return super().match(images, rows)

    def step(self, done: int) -> None:
        """One step of Adam for the images, then one for alpha, which stays in [0, 1]."""
        rows = self.active.rows
        if not len(rows):
            return
        super().step(done)
        if self.config.alpha_lr:
            self._move_alpha(rows, done)

    def _move_alpha(self, rows: Tensor, done: int) -> None:
        one, two = BETAS
        gradient = self.alpha_gradient.nan_to_num(0.0, 0.0, 0.0)
        mean = one * self.alpha_mean[rows] + (1 - one) * gradient
        square = two * self.alpha_square[rows] + (1 - two) * gradient.square()
        scale = (square / (1 - two ** (done + 1))).sqrt() + EPSILON
        lr = self.config.alpha_lr * 0.1 ** drops(self.recipe, done)
        moved = self.alpha[rows] - lr * mean / (1 - one ** (done + 1)) / scale
        self.alpha_mean[rows], self.alpha_square[rows], self.alpha[rows] = mean, square, moved.clamp(0, 1)

    _OWN = (*Descent._OWN, "alpha", "alpha_mean", "alpha_square")

"""The loop behind Inverting Gradients and its kin: Adam on P images at once, each as if it were alone.

What it does is said by a `Recipe`: the cost, the priors (`core.attacks.priors`), the start and the noise
(`core.attacks.starts`), the step sizes and the end (`core.attacks.schedules`), and the pull of an update's restarts to
each other (`core.attacks.consistency`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.attacks import engine
from core.attacks.active import CONVERGED, DIVERGED, STATUS, Active
from core.attacks.base import Progress, Reconstructions
from core.attacks.consistency import pull
from core.attacks.costs import COSTS
from core.attacks.labels import recover_labels, unreadable
from core.attacks.priors import VARIATIONS, ModelTerms, image_norm
from core.attacks.recipe import Recipe
from core.attacks.schedules import Plateau, direction, drops, step_size
from core.attacks.starts import first_images, noise, noise_keys
from core.leakage.observation import Observation

BETAS, EPSILON = (0.9, 0.999), 1e-8  # torch's defaults for Adam


def descend(
    name: str,
    observation: Observation,
    config: Any,
    *,
    seed: int,
    progress: Progress | None,
    targets: Sequence[int] | None,
) -> Reconstructions:
    """Run all steps for all problems; which image counts, the last or the best, the recipe says."""
    began = time.monotonic()
    recipe = Recipe.of(config)
    positions = engine.global_targets(observation, targets)
    problems = engine.set_up(observation, recipe.restarts, precision=recipe.precision, steps=recipe.steps)
    labels = observation.labels
    if labels is None:
        labels = recover_labels(observation, recipe.label_rule)
    descent = Descent(problems, recipe, labels, noise_keys(seed, positions, recipe.restarts))
    descent.begin(first_images(problems, recipe, seed, positions))
    reporter = engine.Reporter(progress, name, engine.identity(name, observation, config, seed, positions))
    return drive(descent, reporter, labels, began)


def drive(descent: Descent, reporter: engine.Reporter, labels: Tensor, began: float) -> Reconstructions:
    """From where the descent stands, or its checkpoint, to the result; labels (N, B), began: by time.monotonic."""
    recipe = descent.recipe
    found, step = reporter.resume(), 0
    if found is not None:
        step, state = found
        descent.load(state)
    reporter.check_cancelled()
    while step < recipe.steps:
        descent.step(step)
        step = step + 1 if len(descent.active.rows) else recipe.steps
        losses = descent.losses.reshape(-1, recipe.restarts)
        reporter.after(step, recipe.steps, losses, partial(descent.frame, losses), descent.state)
    return _finish(descent, labels, began, reporter.record)


class Descent:
    """P images in normalised space with their Adam state. All tensors have the leading axis P.

    config: a Recipe, or an attack's config. labels: (N, B). noise_keys: (P,), for Langevin noise only.
    """

    def __init__(self, problems: engine.Problems, config: Any, labels: Tensor, keys: Tensor | None = None) -> None:
        self.problems, self.recipe = problems, config if isinstance(config, Recipe) else Recipe.of(config)
        like = next(iter(problems.observation.gradients.values()))
        classes = problems.observation.spec.num_classes
        self.targets = engine.one_hot(labels[problems.owner], classes, like)  # (P, B, K)
        shape = problems.image_shape
        self.low = problems.normalised(like.new_zeros(shape))
        self.high = problems.normalised(like.new_ones(shape))
        self.keys = None if keys is None else keys.to(like.device)
        needed = self.recipe.batchnorm or self.recipe.label_fit
        self.terms = ModelTerms(problems.observation, self.recipe) if needed else None

    def begin(self, start: Tensor) -> None:
        """Place the P images, in normalised space."""
        self.image, self.mean, self.square = start, torch.zeros_like(start), torch.zeros_like(start)
        self.losses = start.new_full((len(start),), torch.nan)
        self.best = start.clone()
        self.active = Active(len(start), start.device)
        self.plateau = Plateau(self.recipe, len(start), start.device)

    @property
    def alive(self) -> Tensor:
        """(P,) bool: the problems that have stayed finite."""
        return self.active.codes != DIVERGED

    def match(self, images: Tensor, rows: Tensor) -> Tensor:
        """(Q,): distance of the gradients of problems `rows` from the observed ones."""
        return self.problems.matching(COSTS[self.recipe.cost], images, self.targets[rows], rows)

    def objective(self, images: Tensor, rows: Tensor) -> Tensor:
        """(Q,): the weighted match and priors of problems `rows`. The pull of a group is no part of it."""
        recipe = self.recipe
        cost = recipe.total_variation * VARIATIONS[recipe.variation](images)
        if recipe.matching:
            cost = cost + recipe.matching * self.match(images, rows)
        if recipe.norm:
            cost = cost + recipe.norm * image_norm(images)
        if self.terms is not None:
            cost = cost + self.terms(images, self.targets[rows], self.problems.owner[rows])
        return cost

    def evaluate(self, points: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Objective (Q,) of problems `rows` at images `points`, and its gradient."""
        return self.problems.evaluate(self.objective, points, rows, fixed=True)

    def step(self, done: int) -> None:
        """One step of Adam for every problem that is still running; `done` steps were made before."""
        rows = self.active.rows
        if not len(rows):
            return
        part: Any = slice(None) if len(rows) == len(self.image) else rows
        points = self.image[part]
        losses, gradient = self.evaluate(points, rows)
        finite, better = self.active.judge(losses, gradient)
        self.losses[part] = losses
        best = torch.where(_wide(better), points, self.best[part])
        self.best[part] = best
        if self.recipe.patience:
            self.plateau.judge(self.active, done)
        moved = self._moved(points, gradient, rows, part, done)
        self.image[part] = torch.where(_wide(finite), moved, best)  # one that diverged stops at its best

    def _moved(self, points: Tensor, gradient: Tensor, rows: Tensor, part: Any, done: int) -> Tensor:
        """Where Adam, the pull of the group and the noise bring `points`."""
        recipe = self.recipe
        if recipe.consistency and recipe.restarts > 1 and done >= recipe.consistency_from * recipe.steps:
            gradient = gradient + recipe.consistency * self._pull()[part]
        gradient = direction(recipe, gradient, done)
        one, two = BETAS
        mean = self.mean[part].mul_(one).add_(gradient, alpha=1 - one)
        square = self.square[part].mul_(two).addcmul_(gradient, gradient, value=1 - two)
        if not isinstance(part, slice):  # a copy then
            self.mean[part], self.square[part] = mean, square
        scale = (square.sqrt() / (1 - two ** (done + 1)) ** 0.5).add_(EPSILON)
        lr: Any = step_size(recipe, done)
        if recipe.patience:
            lr = lr * self.plateau.factor(rows, done)[:, None, None, None, None]
        else:
            lr = lr * 0.1 ** drops(recipe, done)
        moved: Tensor = points - lr / (1 - one ** (done + 1)) * mean / scale
        if recipe.langevin:
            if self.keys is None:
                raise ValueError("Langevin noise needs keys.")
            moved = moved + lr * recipe.langevin * noise(self.keys[part], done, points.shape[1:])
        if recipe.boxed:
            moved = torch.maximum(torch.minimum(moved, self.high), self.low)
        return moved

    def _pull(self) -> Tensor:
        group = (-1, self.recipe.restarts)
        images = self.image.reshape(*group, *self.problems.image_shape)
        return pull(images, self.alive.reshape(group), self.recipe.shift).reshape(self.image.shape)

    def finish(self) -> tuple[Tensor, Tensor]:
        """Take in the last images. (P,) losses of what is handed back, and (P,) the match alone, for the choice."""
        rows = torch.arange(len(self.image), device=self.image.device)
        losses, gradient = self.evaluate(self.image, rows)
        finite = self.alive & losses.isfinite() & gradient.flatten(1).isfinite().all(1)
        better = finite & (losses < self.active.best)
        self.best = torch.where(_wide(better), self.image, self.best)
        self.active.best = torch.where(better, losses.to(self.active.best), self.active.best)
        self.active.codes = torch.where(finite, self.active.codes, DIVERGED)
        kept = finite if self.recipe.keep == "last" else torch.zeros_like(finite)
        self.image = torch.where(_wide(kept), self.image, self.best)
        final = torch.where(kept, losses, self.active.best.to(losses))
        if not self.recipe.matching or self.recipe.restarts == 1:
            return final, final
        return final, self.problems.evaluate(self.match, self.image, rows)[0]

    def unit_images(self) -> Tensor:
        """(P, B, C, H, W) on the [0, 1] scale."""
        spec = self.problems.observation.spec
        std, mean = (self.image.new_tensor(values)[:, None, None] for values in (spec.std, spec.mean))
        return self.image * std + mean

    def frame(self, losses: Tensor) -> np.ndarray:
        """(N, B, H, W, C) uint8, the best restart of each update."""
        best = losses.nan_to_num(torch.inf).argmin(1)
        images = self.unit_images()
        images = images.reshape(*losses.shape, *images.shape[1:])
        return engine.to_pixels(images[torch.arange(len(best), device=best.device), best])

    def state(self) -> dict[str, Tensor]:
        """All that is needed to go on."""
        own = {name: getattr(self, name) for name in self._OWN}
        books = {"active": self.active.state(), "plateau": self.plateau.state()}
        return own | {f"{book}.{name}": value for book, part in books.items() for name, value in part.items()}

    def load(self, state: dict[str, Tensor]) -> None:
        """Take over what `state` gave."""
        for name in self._OWN:
            setattr(self, name, state[name].to(self.image.device))
        for book, part in (("active", self.active), ("plateau", self.plateau)):
            part.load({name: state[f"{book}.{name}"] for name in part.state()})

    _OWN: tuple[str, ...] = ("image", "mean", "square", "losses", "best")


def _wide(mask: Tensor) -> Tensor:
    return mask.reshape(-1, 1, 1, 1, 1)


def _finish(descent: Descent, labels: Tensor, began: float, resumed: Mapping[str, str]) -> Reconstructions:
    problems, recipe = descent.problems, descent.recipe
    shape = (problems.observation.count, recipe.restarts)
    losses, match = (values.double().cpu().numpy().reshape(shape) for values in descent.finish())
    chosen = np.where(np.isfinite(match) & np.isfinite(losses), match, np.inf).argmin(1)
    codes = descent.active.codes.cpu().numpy().reshape(shape)
    images = engine.to_pixels(descent.unit_images())
    recovered = problems.observation.labels is None
    status = [STATUS[int(codes[n, r])] for n, r in enumerate(chosen)]
    if recovered:
        status = [why or said for why, said in zip(unreadable(problems.observation), status, strict=True)]
    more: dict[str, Any] = {"labels": f"recovered by rule {recipe.label_rule}" if recovered else "known"}
    if descent.terms is not None and descent.terms.known is not None:
        more["batchnorm_prior"] = f"{len(descent.terms.known.layers)} layers, {descent.terms.known.source}"
    if recipe.patience:
        more["converged_early"] = int((codes == CONVERGED).sum())
    return Reconstructions(
        images=images.reshape(*shape, *images.shape[1:]),
        losses=losses,
        chosen=chosen,
        labels=labels[problems.owner].cpu().numpy().reshape(*shape, -1),
        iterations=descent.active.steps.cpu().numpy().reshape(shape),
        status=tuple(status),
        seconds=time.monotonic() - began,
        record=engine.record_of(problems, **more, **resumed),
    )

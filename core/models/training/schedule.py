"""How the learning rate runs along a training, as closed forms. Imports no torch."""

from __future__ import annotations

import math

from core.models.catalogue import CATALOGUE
from core.models.spec import ModelSpec
from core.models.training.privacy import private_steps
from core.models.training.recipe import Recipe

STEP_FACTOR = 0.1
DIVISORS = (2.667, 1.6, 1.142)  # of the epochs, as the paper's code divides them
RISE, FIRST, LAST = 0.3, 25.0, 1e4  # one-cycle: share of the rise, peak / start, start / end (torch's OneCycleLR)


def milestones(epochs: int) -> tuple[int, ...]:
    """Epochs after which `step` multiplies by 0.1: ⌊T/2.667⌋, ⌊T/1.6⌋, ⌊T/1.142⌋; one that is 0 does not count.

    74, 124 and 175 of 200. In epochs, not steps, because the paper's code counts so.
    """
    return tuple(place for place in (int(epochs // divisor) for divisor in DIVISORS) if place > 0)


def steps_per_epoch(recipe: Recipe, spec: ModelSpec, count: int) -> int:
    """Steps of an epoch. The last batch may be smaller; with BatchNorm one of a single image is left out."""
    if recipe.defence == "dp-sgd":
        return private_steps(recipe, count)
    full, rest = divmod(count, recipe.batch_size)
    if rest == 0 or (rest == 1 and CATALOGUE[spec.architecture].batchnorm):
        return full
    return full + 1


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """The learning rate of a step (from 0).

    `step` changes between epochs, the others at each step. With t in [0, 1) the share of the steps after the warm-up
    that is done: cosine lr·(1 + cos πt)/2, linear lr·(1 − t). The warm-up's step s of w takes lr·(s + 1)/w.
    one-cycle rises from lr/25 to lr over 30 % of the steps and falls to lr/250,000, both along a cosine.
    """
    total = recipe.epochs * steps_per_epoch
    warm = round(recipe.warmup * total)
    if step < warm:
        return recipe.learning_rate * (step + 1) / warm
    share = (step - warm) / (total - warm)
    if recipe.schedule == "cosine":
        return recipe.learning_rate * (1 + math.cos(math.pi * share)) / 2
    if recipe.schedule == "linear":
        return recipe.learning_rate * (1 - share)
    if recipe.schedule == "one-cycle":
        return _one_cycle(recipe.learning_rate, step, total)
    if recipe.schedule == "step":
        epoch = step // steps_per_epoch
        return recipe.learning_rate * STEP_FACTOR ** sum(epoch >= place for place in milestones(recipe.epochs))
    return recipe.learning_rate


def _one_cycle(peak: float, step: int, total: int) -> float:
    start, end = peak / FIRST, peak / FIRST / LAST
    top = RISE * total - 1
    if step <= top:
        return _along_cosine(start, peak, step / top)
    return _along_cosine(peak, end, (step - top) / max(1e-9, total - 1 - top))


def _along_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))

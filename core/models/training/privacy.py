"""ε of DP-SGD before it is run, so that a page can show it. Imports no torch.

The training itself asks Opacus's accountant, which needs torch; this is the same quantity by another way, the integral
that defines it, so that the two check each other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from core.models.training.recipe import Recipe

ORDERS = (*(1 + x / 10 for x in range(1, 100)), *range(12, 64))  # of Rényi's divergence: Opacus's default
UNIT = "one image (add or remove one)"
# Of a training's curve: computed from the private images, and without noise.
UNCOVERED = ("train_loss", "train_accuracy", "gradient_norm")
CURVE_NOTE = (
    "ε covers the weights. It does not cover the curve: training loss, training accuracy and gradient norm are "
    "computed from the private images without noise. Share the weights, not the curve."
)
NOTE = (
    "Sampling and noise are drawn from a secret key of 128 bits by ordinary generators. The key is deleted when the "
    "training ends; whoever knew it could take the noise away. ε covers the weights alone: training loss, training "
    "accuracy and gradient norm are computed from the private images without noise and are not covered. Choosing "
    "settings by looking at the images, and the held-out accuracy, are not counted."
)
LEAST_NOISE = 1e-3  # below it ε has no meaning left, and the integral needs a grid without end
_REACH = 12.0  # standard deviations beyond the outermost peak; the rest is below 1e-31
_FINENESS = 4.0  # points a standard deviation: the trapezoid rule is exact to rounding for sums of Gaussians


def epsilon_of(recipe: Recipe, count: int, steps: int | None = None) -> float:
    """ε at recipe.dp_delta of training on `count` images, after all steps or the first `steps`; inf without noise.

    Poisson sampling at rate B / N, one image added or removed, by Rényi's divergence of the sampled Gaussian mechanism
    (arXiv 1908.10530), converted as arXiv 2004.00010, proposition 12, as Opacus does.
    """
    if recipe.dp_noise == 0:
        return math.inf
    if steps is None:
        steps = recipe.epochs * private_steps(recipe, count)
    rate = recipe.batch_size / count
    return min(
        max(0.0, steps * _divergence(order, recipe.dp_noise, rate) + _conversion(order, recipe.dp_delta))
        for order in ORDERS
    )


def covered(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What may be told of a private model beside its weights: without the figures that ε does not cover."""
    return {name: value for name, value in facts.items() if name not in UNCOVERED}


def private_steps(recipe: Recipe, count: int) -> int:
    """Steps of an epoch with DP-SGD: ⌊N / B⌋, so that an epoch expects at most N images."""
    return count // recipe.batch_size


def _conversion(order: float, delta: float) -> float:
    return math.log1p(-1 / order) - math.log(delta * order) / (order - 1)


def _divergence(order: float, noise: float, rate: float) -> float:
    """One step's: log E[(1 − q + q·exp((2z − 1) / 2σ²))^α] / (α − 1) over z ~ N(0, σ²)."""
    if rate >= 1:
        return order / (2 * noise**2)
    z = np.arange(-_REACH * noise, order + _REACH * noise, noise / _FINENESS)
    density = -(z**2) / (2 * noise**2) - math.log(math.sqrt(2 * math.pi) * _FINENESS)
    ratio = np.logaddexp(math.log1p(-rate), math.log(rate) + (2 * z - 1) / (2 * noise**2))
    return float(np.logaddexp.reduce(density + order * ratio)) / (order - 1)

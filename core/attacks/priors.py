"""What is known of images before any gradient: smooth, small, and like the training data in every BatchNorm layer.

Images are (Q, B, C, H, W) in normalised space; every prior gives (Q,) ≥ 0 and can be differentiated.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.attacks.costs import total_variation
from core.attacks.gradients import frozen_copy
from core.attacks.recipe import NO_BATCHNORM, NO_STATISTICS, NOT_THE_BATCHS, Recipe
from core.errors import UserError
from core.leakage.observation import Observation
from core.models.build import build_model

SMALL = 1e-8  # under the root of the opponents' variation, as its derivative at 0 is not finite


def opponent_variation(images: Tensor) -> Tensor:
    """Mean of √(dx² + dy²) over places, channels and the differences of each two channels ("double opponents", as in
    breaching's modern recipe). At the last row and column the difference counts as 0. Grey images have no opponents."""
    channels = images.shape[2]
    pairs = [(one, other) for one in range(channels) for other in range(one + 1, channels)]
    if pairs:
        opponents = [images[:, :, one] - images[:, :, other] for one, other in pairs]
        images = torch.cat([images, torch.stack(opponents, 2)], 2)
    across = F.pad(images[..., :, 1:] - images[..., :, :-1], (0, 1))
    down = F.pad(images[..., 1:, :] - images[..., :-1, :], (0, 0, 0, 1))
    return (across.square() + down.square() + SMALL).sqrt().flatten(1).mean(1)


VARIATIONS = {"channels": total_variation, "opponents": opponent_variation}


def image_norm(images: Tensor) -> Tensor:
    """‖x‖₂ over all images of a problem: GradInversion's R_l2."""
    return images.flatten(1).square().sum(1).clamp_min(1e-30).sqrt()


@dataclass(frozen=True)
class Statistics:
    """What every BatchNorm layer should see: layer -> (mean, variance), each (1, C) or (N, C); and whose they are."""

    layers: dict[str, tuple[Tensor, Tensor]]
    source: str


def known_statistics(observation: Observation, recipe: Recipe, model: nn.Module) -> Statistics:
    """The statistics that the recipe asks for, of those that the threat model grants; UserError when there are none.

    With the matching term off (the control) the private batch's are left out: they too are of the private images. What
    is left then may be nothing, and the prior has no such term.
    """
    names = [name for name, layer in model.named_modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    if not names:
        raise UserError(NO_BATCHNORM.format(observation.spec.architecture))
    granted = bool(observation.statistics) and recipe.matching != 0
    if recipe.statistics != "running" and granted:
        return Statistics({n: _private(observation, n) for n in names}, "the private batch")
    if recipe.statistics == "batch" and recipe.matching != 0:
        raise UserError(NOT_THE_BATCHS)
    running = {n: _running(observation, n) for n in names} if observation.running_statistics else {}
    layers = {n: found for n, found in running.items() if found is not None}
    if len(layers) < len(names):
        if recipe.matching == 0 and observation.statistics:
            return Statistics({}, "none: the private batch's are no prior")
        raise UserError(NO_STATISTICS)
    return Statistics(layers, "the model's running statistics")


def _running(observation: Observation, layer: str) -> tuple[Tensor, Tensor] | None:
    mean, var = (observation.weights.get(f"{layer}.running_{what}") for what in ("mean", "var"))
    return None if mean is None or var is None else (mean[None], var[None])


def _private(observation: Observation, layer: str) -> tuple[Tensor, Tensor]:
    mean, var = (observation.statistics.get(f"{layer}.{what}") for what in ("mean", "var"))
    if mean is None or var is None:
        raise UserError(f"The granted statistics say nothing of the BatchNorm layer {layer}; observe the update anew.")
    return mean, var


class ModelTerms:
    """Terms that one forward pass of the images gives: the BatchNorm prior and the fit of the labels.

    BatchNorm prior (DeepInversion, arXiv 1912.08795, eq. 4; GradInversion, eq. 8): Σ over layers of
    ‖mean − μ‖₂ + ‖var − σ²‖₂ of the layer's input over a problem's batch and places (var divided by the count); the
    first layer counts `first_layer` times. Label fit (CPL, arXiv 2004.10397): mean over the batch of
    ‖softmax(f(x)) − y‖₂².
    """

    def __init__(self, observation: Observation, recipe: Recipe) -> None:
        self.recipe = recipe
        model = build_model(observation.spec, observation.weights)
        model = model.to(next(iter(observation.gradients.values())))  # its device and its precision
        self.known = known_statistics(observation, recipe, model) if recipe.batchnorm else None
        self.model = frozen_copy(model, observation.batchnorm)
        self.problems = 1
        self.seen: list[tuple[str, Tensor, Tensor]] = []
        for name, layer in self.model.named_modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                layer.forward = _Measured(self, name, layer)  # type: ignore[method-assign, assignment]  # ours knows problems

    def __call__(self, images: Tensor, targets: Tensor, owner: Tensor) -> Tensor:
        """(Q,): images (Q, B, C, H, W), targets (Q, B, K) probabilities, owner (Q,) the update of each problem."""
        self.problems, self.seen = len(images), []
        logits = self.model(images.flatten(0, 1))
        cost = images.new_zeros(len(images))
        if self.known is not None and self.known.layers:
            cost = cost + self.recipe.batchnorm * self._batchnorm(self.known, owner)
        if self.recipe.label_fit:
            wrong = logits.softmax(-1).unflatten(0, images.shape[:2]) - targets
            cost = cost + self.recipe.label_fit * wrong.square().sum(-1).mean(-1)
        self.seen = []
        return cost

    def _batchnorm(self, known: Statistics, owner: Tensor) -> Tensor:
        terms = []
        for place, (name, mean, variance) in enumerate(self.seen):
            aims = [aim if len(aim) == 1 else aim[owner] for aim in known.layers[name]]
            term = _norm(mean - aims[0]) + _norm(variance - aims[1])
            terms.append(term * self.recipe.first_layer if place == 0 else term)
        return torch.stack(terms).sum(0)


class _Measured:
    """A BatchNorm layer's forward for Q problems that notes the mean and variance of its input, (Q, C) each."""

    def __init__(self, terms: ModelTerms, name: str, layer: nn.modules.batchnorm._BatchNorm) -> None:
        self.terms, self.name, self.layer = terms, name, layer

    def __call__(self, x: Tensor) -> Tensor:
        layer = self.layer
        grouped = x.reshape(self.terms.problems, -1, x.shape[1], x[0, 0].numel())  # (Q, B, C, places)
        mean = grouped.mean(dim=(1, 3))
        variance = (grouped - mean[:, None, :, None]).square().mean(dim=(1, 3))
        self.terms.seen.append((self.name, mean, variance))
        if layer.running_mean is not None and layer.running_var is not None:
            return F.batch_norm(x, layer.running_mean, layer.running_var, layer.weight, layer.bias, eps=layer.eps)
        scale = (variance + layer.eps).rsqrt()
        normal = (grouped - mean[:, None, :, None]) * scale[:, None, :, None]
        if layer.weight is not None:
            normal = normal * layer.weight[:, None] + layer.bias[:, None]
        return normal.reshape(x.shape)


def _norm(difference: Tensor) -> Tensor:
    """(Q, C) -> (Q,), with a derivative of 0 at 0."""
    return difference.square().sum(1).clamp_min(1e-30).sqrt()

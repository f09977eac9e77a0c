"""Gradients of many independent updates of one model at once, in a form that can be differentiated again.

A problem is one update of B images. P problems share the model's weights, so one forward and one backward pass through
the shared layers give every problem's activations and their gradients; only the weight gradients are per problem, and
they are products of those two: one batched product a layer, with no grouped convolution (`core.attacks.layers`). No
gradient flows to the shared weights, so neither pass spends time on them. Models that use their weights in a way that
has no rule there take the general path of `core.attacks.plain`; `Field.path` says which was taken.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from core.attacks import plain
from core.attacks.layers import Taps
from core.attacks.layers_rules import RULES

FieldFunction = plain.FieldFunction


@dataclass(frozen=True)
class Field:
    """evaluate(images (P, B, C, H, W) normalised, targets (P, B, K) class probabilities) -> gradients, losses.

    gradients: one (P, *shape) for each name in `names`, of the cross-entropy averaged over the B images; losses (P,).
    Both can be differentiated with respect to images and targets.
    """

    evaluate: FieldFunction
    names: tuple[str, ...]
    path: str  # how it is computed, for the record of a run


def gradient_field(
    model: nn.Module,
    names: Sequence[str],
    batchnorm: Literal["eval", "train"],
    image_shape: tuple[int, int, int, int],
    num_classes: int,
) -> Field:
    """Choose the fastest form that gives this model's gradients; image_shape is (B, C, H, W).

    The model is copied, never changed. What is chosen has agreed with plain double backward, in float64 on a random
    update, in the gradients and in their derivative.
    """
    model = frozen_copy(model, batchnorm)
    check = plain.Check(model, names, image_shape, num_classes)
    reason = check.objection(tapped_field(check.model, names))
    if not reason:
        return Field(tapped_field(model, names), tuple(names), "shared weights, batched products")
    objection = check.objection(plain.mapped_field(check.model, names))
    if not objection:
        return Field(plain.mapped_field(model, names), tuple(names), f"torch.func.vmap of grad ({reason})")
    path = f"a loop over problems ({reason}; torch.func.vmap {objection})"
    return Field(plain.looped_field(model, names), tuple(names), path)


def frozen_copy(model: nn.Module, batchnorm: Literal["eval", "train"]) -> nn.Module:
    """A copy whose weights need no gradient, in eval mode; BatchNorm uses the batch's statistics if `train`."""
    model = copy.deepcopy(model).eval().requires_grad_(False)
    for layer in model.modules():
        if isinstance(getattr(layer, "inplace", None), bool):
            layer.inplace = False  # type: ignore[assignment]  # an activation in place would overwrite a layer's output, which is needed later
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and batchnorm == "train":
            layer.running_mean = layer.running_var = None  # without them it takes the batch's, and keeps nothing
            layer.track_running_stats = False
    return model


def tapped_field(model: nn.Module, names: Sequence[str]) -> FieldFunction:
    """The fast form, for a frozen model; raises NoFastForm when it is run on a model that has none."""
    model = copy.deepcopy(model).requires_grad_(True)
    parameters = dict(model.named_parameters())
    wanted = [parameters[name] for name in names]

    def evaluate(images: Tensor, targets: Tensor) -> tuple[list[Tensor], Tensor]:
        create_graph = torch.is_grad_enabled()
        with torch.enable_grad():
            rows = images.flatten(0, 1)
            rows = rows if rows.requires_grad else rows.detach().requires_grad_(True)
            with Taps(parameters.values(), RULES, len(images), len(rows)) as taps:
                logits = model(rows)
            losses = plain.cross_entropy(logits.unflatten(0, images.shape[:2]), targets)
            gradients = taps.gradients(losses.sum(), wanted, create_graph)
        return gradients, losses if create_graph else losses.detach()

    return evaluate

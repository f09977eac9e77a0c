"""Gradients of many independent updates of one model at once, in a form that can be differentiated again.

A problem is one update of B images. P problems share the model's weights, so one forward and one backward pass through
the shared layers give every problem's activations and their gradients; only the weight gradients are per problem, and
they are products of those two: one batched product a layer, with no grouped convolution. Weights never require a
gradient, so neither pass spends time on shared weight gradients. Layers that this does not know, and models that use
their weights otherwise, take the general path of `core.attacks.plain`; `Field.path` says which was taken.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.attacks import plain

KNOWN = (nn.Conv2d, nn.Linear, nn.BatchNorm2d)
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
    reason = _unknown_layer(model) or check.objection(tapped_field(check.model, names))
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
    """The fast form for a frozen model made of convolutions, linear layers and BatchNorm."""
    model = copy.deepcopy(model)
    taps: list[_Tap] = []
    problems = 1

    def record(prefix: str, layer: nn.Module) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            taps.append(_Tap(prefix, layer, inputs[0], output))

        return hook

    for prefix, layer in model.named_modules():
        if isinstance(layer, nn.BatchNorm2d):
            normalise = _BatchNorm(layer, lambda: problems)
            layer.forward = normalise  # type: ignore[method-assign, assignment]
        if isinstance(layer, KNOWN):
            layer.register_forward_hook(record(prefix + "." if prefix else "", layer))

    def evaluate(images: Tensor, targets: Tensor) -> tuple[list[Tensor], Tensor]:
        nonlocal problems
        problems = images.shape[0]
        taps.clear()
        losses = plain.cross_entropy(model(images.flatten(0, 1)).unflatten(0, images.shape[:2]), targets)
        used = list(taps)
        taps.clear()
        outer = torch.autograd.grad(
            losses.sum(), [tap.output for tap in used], create_graph=torch.is_grad_enabled(), allow_unused=True
        )
        found: dict[str, Tensor] = {}
        for tap, gradient in zip(used, outer, strict=True):
            if gradient is not None:
                for name, value in tap.weight_gradients(gradient, problems).items():
                    found[name] = found[name] + value if name in found else value
        shapes = dict(model.named_parameters())
        zero = [images.new_zeros(problems, *shapes[name].shape) for name in names if name not in found]
        missing = iter(zero)
        return [found[name] if name in found else next(missing) for name in names], losses

    return evaluate


@dataclass(frozen=True)
class _Tap:
    prefix: str
    layer: nn.Module
    input: Tensor
    output: Tensor

    def weight_gradients(self, outer: Tensor, problems: int) -> dict[str, Tensor]:
        """Parameter name -> (P, *shape) from the layer's input and the gradient of its output."""
        layer, found = self.layer, {}
        if isinstance(layer, nn.Conv2d):
            weight = conv_weight_gradient(layer, self.input, outer, problems)
            bias = _sum_maps(outer, problems) if layer.bias is not None else None
        elif isinstance(layer, nn.Linear):
            rows = outer.reshape(problems, -1, outer.shape[-1])
            weight = rows.transpose(1, 2) @ self.input.reshape(problems, -1, self.input.shape[-1])
            bias = rows.sum(dim=1) if layer.bias is not None else None
        elif isinstance(layer, nn.BatchNorm2d) and layer.affine:
            product = outer * _normalised(layer, self.input, problems)
            weight = _sum_maps(product, problems)
            bias = _sum_maps(outer, problems)
        else:
            return {}
        found[self.prefix + "weight"] = weight
        if bias is not None:
            found[self.prefix + "bias"] = bias
        return found


def conv_weight_gradient(layer: nn.Conv2d, x: Tensor, outer: Tensor, problems: int) -> Tensor:
    """(P, *weight.shape) from the input (P·B, C, H, W) and the output's gradient (P·B, O, H', W').

    The input's patches (im2col) times the output's gradient: for each problem one matrix product, summed over
    positions and images; groups are further problems.
    """
    groups, kernel = layer.groups, layer.kernel_size
    x = F.pad(x, layer._reversed_padding_repeated_twice, _PAD_MODES[layer.padding_mode])
    if kernel == (1, 1):
        patches = x[..., :: layer.stride[0], :: layer.stride[1]].flatten(2)
    else:
        patches = F.unfold(x, kernel, dilation=layer.dilation, stride=layer.stride)  # (P·B, C·k·k, L)
    images = x.shape[0] // problems
    rows = patches.view(problems, images, groups, -1, patches.shape[-1])
    outs = outer.reshape(problems, images, groups, -1, patches.shape[-1])
    if images == 1:
        product = outs[:, 0] @ rows[:, 0].transpose(-1, -2)
    else:  # one contraction over images and positions together
        product = outs.permute(0, 2, 3, 1, 4).flatten(3) @ rows.permute(0, 2, 1, 4, 3).flatten(2, 3)
    return product.reshape(problems, *layer.weight.shape)


def _grouped(x: Tensor, problems: int) -> Tensor:
    """(P·B, …) -> (P, B, …)."""
    return x.reshape(problems, -1, *x.shape[1:])


def _sum_maps(x: Tensor, problems: int) -> Tensor:
    """(P·B, C, H, W) -> (P, C)."""
    return _grouped(x, problems).sum(dim=(1, 3, 4))


_PAD_MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "replicate", "circular": "circular"}


class _BatchNorm:
    """BatchNorm2d.forward for P problems: each normalised by its own batch, or all by the running statistics."""

    def __init__(self, layer: nn.BatchNorm2d, problems: Callable[[], int]) -> None:
        self.layer, self.problems = layer, problems

    def __call__(self, x: Tensor) -> Tensor:
        normal = _normalised(self.layer, x, self.problems())
        if not self.layer.affine:
            return normal
        return normal * self.layer.weight[:, None, None] + self.layer.bias[:, None, None]


def _normalised(layer: nn.BatchNorm2d, x: Tensor, problems: int) -> Tensor:
    if layer.running_mean is not None and layer.running_var is not None:
        scale = (layer.running_var + layer.eps).rsqrt()
        return (x - layer.running_mean[:, None, None]) * scale[:, None, None]
    grouped = _grouped(x, problems)
    centred = grouped - grouped.mean(dim=(1, 3, 4), keepdim=True)
    variance = centred.square().mean(dim=(1, 3, 4), keepdim=True)
    return (centred * (variance + layer.eps).rsqrt()).flatten(0, 1)


def _unknown_layer(model: nn.Module) -> str:
    for name, layer in model.named_modules():
        own = next(layer.parameters(recurse=False), None)
        if own is not None and type(layer) not in KNOWN:
            return f"{type(layer).__name__} at {name or 'the top'} has no fast form"
    return ""

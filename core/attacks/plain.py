"""The general form of per-problem gradients, for any model: torch.func, or one problem after another.

Same contract as the fast form in `core.attacks.gradients`; slower, and correct for every layer that has a double
backward.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

FieldFunction = Callable[[Tensor, Tensor], tuple[list[Tensor], Tensor]]


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """(P, B, K) logits and class probabilities -> (P,), averaged over the B images."""
    return -(targets * logits.log_softmax(-1)).sum(-1).mean(-1)


def plain_field(
    model: nn.Module, names: Sequence[str], image_shape: tuple[int, int, int, int], num_classes: int
) -> tuple[FieldFunction, str]:
    """The general form and its name: vmap of grad where this model allows it, else a loop over the problems."""
    mapped = mapped_field(model, names)
    weight = next(model.parameters())
    images = torch.zeros((2, *image_shape), dtype=weight.dtype, device=weight.device, requires_grad=True)
    targets = torch.full((2, image_shape[0], num_classes), 1 / num_classes, dtype=weight.dtype, device=weight.device)
    try:
        with torch.enable_grad():
            mapped(images, targets)
    except RuntimeError as error:  # vmap's word for an operation or a data-dependent branch that it cannot batch
        first = (str(error).splitlines() or ["no reason given"])[0]
        return looped_field(model, names), f"a loop over problems, because torch.func.vmap failed: {first[:120]}"
    return mapped, "torch.func.vmap of grad"


def mapped_field(model: nn.Module, names: Sequence[str]) -> FieldFunction:
    """vmap over problems of the gradient of one problem's loss."""
    state = _state(model)
    fixed = {name: value for name, value in state.items() if name not in set(names)}

    def loss(parameters: dict[str, Tensor], images: Tensor, targets: Tensor) -> Tensor:
        logits = functional_call(model, {**fixed, **parameters}, (images,))
        return cross_entropy(logits[None], targets[None])[0]

    each = vmap(grad_and_value(loss), in_dims=(None, 0, 0))

    def evaluate(images: Tensor, targets: Tensor) -> tuple[list[Tensor], Tensor]:
        gradients, losses = each({name: state[name] for name in names}, images, targets)
        return [gradients[name] for name in names], losses

    return evaluate


def looped_field(model: nn.Module, names: Sequence[str]) -> FieldFunction:
    """One problem after another by plain double backward: the definition that the other forms are tested against."""
    state = _state(model)

    def evaluate(images: Tensor, targets: Tensor) -> tuple[list[Tensor], Tensor]:
        rows: list[tuple[Tensor, ...]] = []
        losses = []
        for image, target in zip(images, targets, strict=True):
            weights = {name: state[name].detach().requires_grad_(True) for name in names}
            logits = functional_call(model, {**state, **weights}, (image,))
            value = cross_entropy(logits[None], target[None])[0]
            rows.append(torch.autograd.grad(value, list(weights.values()), create_graph=True, materialize_grads=True))
            losses.append(value)
        return [torch.stack(column) for column in zip(*rows, strict=True)], torch.stack(losses)

    return evaluate


def _state(model: nn.Module) -> dict[str, Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}

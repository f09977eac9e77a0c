"""Gradients of many problems whose weights differ, as attacks on FedAvg need them: torch.func, or a loop.

The fast form of `core.attacks.gradients` shares one set of weights among all problems. After one local step, or at a
point between sent and returned weights, every problem has weights of its own, so that form does not apply.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

State = dict[str, Tensor]
GradientOf = Callable[[State, Tensor, Tensor], State]  # weights, images (b, C, H, W), targets (b, K)
One = Callable[..., list[Tensor]]  # what one problem's inputs give
Make = Callable[[nn.Module, GradientOf], One]
TOLERANCE = 1e-6  # relative, in float64


def per_problem(make: Make, model: nn.Module, inputs: Sequence[Tensor], small: Make | None = None) -> tuple[One, str]:
    """The function of one problem for P of them at once, and how it is computed.

    make(frozen model, gradient) gives the function: tensors -> list of tensors, differentiable. inputs: a small example
    of two problems (2, …), images first; `small` makes the function for it where the whole is too long for a check.
    torch.func.vmap is taken where it agrees on it with plain double backward in
    float64, in values and in their derivative by the images; else one problem after another.
    """
    checked, double = small or make, copy.deepcopy(model).double()
    example = [tensor.double() if tensor.is_floating_point() else tensor for tensor in inputs]
    right = _answer(looped(checked(double, by_autograd(double))), example)
    try:
        found = _answer(vmap(checked(double, by_func(double))), example)
        gap = max(float((a - b).norm() / b.norm().clamp_min(1e-30)) for a, b in zip(found, right, strict=True))
        objection = "" if gap <= TOLERANCE else f"was off by {gap:.1e}"
    except RuntimeError as error:  # vmap's word for an operation or a branch that it cannot batch
        objection = f"failed: {(str(error).splitlines() or ['no reason given'])[0][:100]}"
    if not objection:
        return vmap(make(model, by_func(model))), "weights of its own for each problem, torch.func.vmap"
    form = looped(make(model, by_autograd(model)))
    return form, f"weights of its own for each problem, a loop (torch.func.vmap {objection})"


def by_func(model: nn.Module) -> GradientOf:
    """The gradient of the mean cross-entropy by torch.func, which vmap can batch."""
    loss = _loss_of(model)
    return lambda weights, images, targets: grad(loss)(weights, images, targets)


def by_autograd(model: nn.Module) -> GradientOf:
    """The same by plain autograd: the definition."""
    loss = _loss_of(model)

    def gradient(weights: State, images: Tensor, targets: Tensor) -> State:
        own = {name: w if w.requires_grad else w.detach().requires_grad_(True) for name, w in weights.items()}
        value = loss(own, images, targets)
        found = torch.autograd.grad(value, list(own.values()), create_graph=True, materialize_grads=True)
        return dict(zip(own, found, strict=True))

    return gradient


def looped(one: One) -> One:
    """The function of one problem for (P, …) inputs, one problem after another."""

    def evaluate(*inputs: Tensor) -> list[Tensor]:
        rows = [one(*row) for row in zip(*inputs, strict=True)]
        return [torch.stack(column) for column in zip(*rows, strict=True)]

    return evaluate


def _loss_of(model: nn.Module) -> Callable[[State, Tensor, Tensor], Tensor]:
    buffers = dict(model.named_buffers())

    def loss(weights: State, images: Tensor, targets: Tensor) -> Tensor:
        logits = functional_call(model, {**buffers, **weights}, (images,))
        value: Tensor = -(targets * logits.log_softmax(-1)).sum(-1).mean()
        return value

    return loss


def _answer(form: One, inputs: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        images = inputs[0].detach().requires_grad_(True)
        values = form(images, *inputs[1:])
        cost = torch.stack([value.square().sum() for value in values]).sum()
        (derivative,) = torch.autograd.grad(cost, images)
    return torch.cat([value.detach().flatten() for value in values]), derivative.flatten()

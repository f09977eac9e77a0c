"""The general form of per-problem gradients, for any model: torch.func, or one problem after another.

Same contract as the fast form in `core.attacks.gradients`; slower, and correct for every layer that has a double
backward.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

FieldFunction = Callable[[Tensor, Tensor], tuple[list[Tensor], Tensor]]


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """(P, B, K) logits and class probabilities -> (P,), averaged over the B images."""
    return -(targets * logits.log_softmax(-1)).sum(-1).mean(-1)


class Check:
    """Plain double backward of a frozen model on two random updates, in float64: what every other form must give.

    The weights are moved a little, so that layers which begin at zero (the last one of a ViT, ConvNeXt's scales) hide
    nothing. Three images an update say as much as a hundred: with one, two and three, every branch of every form runs.
    """

    TOLERANCE = 1e-6  # rounding gives 1e-15; torch 2.15's LayerNorm under vmap is off by 3e-4 in the second derivative

    def __init__(
        self, model: nn.Module, names: Sequence[str], image_shape: tuple[int, int, int, int], num_classes: int
    ) -> None:
        device = next(model.parameters()).device
        draw = torch.Generator().manual_seed(0)
        self.model = copy.deepcopy(model).double()
        for weight in self.model.parameters():
            noise = torch.randn(weight.shape, generator=draw, dtype=torch.float64).to(device)
            weight.data.add_(noise, alpha=0.1 / max(1, weight[:1].numel()) ** 0.5)
        batch = min(image_shape[0], 3)
        self.images = torch.randn((2, batch, *image_shape[1:]), generator=draw, dtype=torch.float64).to(device)
        targets = torch.randn((2, batch, num_classes), generator=draw, dtype=torch.float64)
        self.targets = targets.softmax(-1).to(device)
        self.expected = self._answer(looped_field(self.model, names))

    def objection(self, form: FieldFunction) -> str:
        """What speaks against a form of this check's `model`, or ""."""
        try:
            found = self._answer(form)
        except RuntimeError as error:  # vmap's word for an operation or a branch that it cannot batch
            return f"failed: {(str(error).splitlines() or ['no reason given'])[0][:100]}"
        for order, ours, right in zip(("gradient", "gradient's derivative"), found, self.expected, strict=True):
            gap = torch.stack([(a - b).norm() for a, b in zip(ours, right, strict=True)]).norm()
            size = torch.stack([b.norm() for b in right]).norm()
            if not bool(gap <= self.TOLERANCE * size):
                return f"was off by {float(gap / size):.1e} of the {order}"
        return ""

    def _answer(self, form: FieldFunction) -> tuple[list[Tensor], list[Tensor]]:
        with torch.enable_grad():
            images = self.images.detach().requires_grad_(True)
            gradients = form(images, self.targets)[0]
            cost = torch.stack([gradient.square().sum() for gradient in gradients]).sum()
            derivative = torch.autograd.grad(cost, images)[0]
        return [gradient.detach() for gradient in gradients], [derivative]


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

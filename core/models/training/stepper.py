"""One optimiser step: loss, gradient, defence on the gradient, update."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.models.training import state
from core.models.training.draws import torch_seed
from core.models.training.feed import Batch
from core.models.training.recipe import Recipe

HALF_TYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class StepResult:
    """Of one batch, on the device and detached: nothing here has waited for it."""

    loss: Tensor  # mean cross entropy in nats
    correct: Tensor  # images whose largest logit is their label
    norm: Tensor  # L2 of the mean loss's gradient over all parameters, before any defence


class Stepper(Protocol):
    """Moves the weights by one step, and can say and take back all that it remembers."""

    def step(self, batch: Batch, number: int, rate: float) -> StepResult:
        """Step `number` (from 0) at this learning rate."""

    def epsilon(self) -> float | None:
        """ε that is spent so far; None without DP-SGD."""

    def privacy(self) -> dict[str, Any] | None:
        """What the guarantee says, and of whom; None without DP-SGD."""

    def save(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors, and a JSON-able rest."""

    def restore(self, tensors: Mapping[str, Tensor], rest: Mapping[str, Any]) -> None:
        """Put back what `save` gave."""


def make_optimiser(recipe: Recipe, model: nn.Module) -> torch.optim.Optimizer:
    """The recipe's optimiser with torch's defaults for all that the recipe does not name."""
    parameters, rate, decay = list(model.parameters()), recipe.learning_rate, recipe.weight_decay
    if recipe.optimiser == "sgd":
        nesterov = recipe.nesterov and recipe.momentum > 0
        return torch.optim.SGD(parameters, rate, recipe.momentum, nesterov=nesterov, weight_decay=decay)
    if recipe.optimiser == "rmsprop":
        return torch.optim.RMSprop(parameters, rate, momentum=recipe.momentum, weight_decay=decay)
    kinds: dict[str, Callable[..., torch.optim.Optimizer]] = {
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "adagrad": torch.optim.Adagrad,
    }
    return kinds[recipe.optimiser](parameters, rate, weight_decay=decay)


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of every group."""
    for group in optimiser.param_groups:
        group["lr"] = rate


def loss_of(logits: Tensor, batch: Batch, smoothing: float) -> Tensor:
    """Mean cross entropy in nats; with mixup λ of the labels' and 1 − λ of the partners'."""
    loss = F.cross_entropy(logits, batch.labels, label_smoothing=smoothing)
    if batch.partners is None:
        return loss
    other = F.cross_entropy(logits, batch.partners, label_smoothing=smoothing)
    return batch.share * loss + (1 - batch.share) * other


class PlainStepper:
    """Every training but DP-SGD."""

    def __init__(self, model: nn.Module, recipe: Recipe, device: torch.device) -> None:
        self._model, self._recipe, self._device = model, recipe, device
        self._optimiser = make_optimiser(recipe, model)
        self._half = HALF_TYPES[recipe.precision]
        # Gradients of fp16 underflow: the loss is scaled up, and the gradient back down before it is looked at.
        self._scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision == "fp16")
        self._noise = torch.Generator(device)

    def step(self, batch: Batch, number: int, rate: float) -> StepResult:
        """As Stepper.step."""
        set_rate(self._optimiser, rate)
        with torch.autocast(self._device.type, dtype=self._half, enabled=self._half is not None):
            logits = self._model(batch.images)
        loss = loss_of(logits.float(), batch, self._recipe.label_smoothing)
        self._optimiser.zero_grad()
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self._scaler.unscale_(self._optimiser)
        gradients = [p.grad for p in self._model.parameters() if p.grad is not None]
        norm = norm_of(gradients)
        self._defend(gradients, number)
        self._scaler.step(self._optimiser)
        self._scaler.update()
        return StepResult(loss.detach(), (logits.detach().argmax(1) == batch.labels).sum(), norm)

    def epsilon(self) -> float | None:
        """None: no guarantee."""
        return None

    def privacy(self) -> dict[str, Any] | None:
        """None: no guarantee."""
        return None

    def save(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """As Stepper.save."""
        tensors, rest = state.optimiser_tensors(self._optimiser)
        return tensors, {"optimiser": rest, "scaler": self._scaler.state_dict()}

    def restore(self, tensors: Mapping[str, Tensor], rest: Mapping[str, Any]) -> None:
        """As Stepper.restore."""
        state.restore_optimiser(self._optimiser, tensors, rest["optimiser"])
        self._scaler.load_state_dict(rest["scaler"])

    def _defend(self, gradients: list[Tensor], number: int) -> None:
        if self._recipe.defence == "gaussian":
            self._noise.manual_seed(torch_seed(self._recipe.seed, "noise", number))
            add_gaussian_(gradients, self._recipe.noise, self._noise)
        elif self._recipe.defence == "prune":
            prune_(gradients, self._recipe.prune)


def norm_of(gradients: list[Tensor]) -> Tensor:
    """L2 norm over all tensors together."""
    result: Tensor = torch.stack(torch._foreach_norm(gradients)).norm()
    return result


def add_gaussian_(gradients: list[Tensor], std: float, generator: torch.Generator) -> None:
    """Every entry + std · N(0, 1), in place: core.leakage.defences.noise on the gradient of a training."""
    for gradient in gradients:
        drawn = torch.randn(gradient.shape, generator=generator, device=gradient.device, dtype=gradient.dtype)
        gradient.add_(drawn, alpha=std)


def prune_(gradients: list[Tensor], share: float) -> None:
    """The share of each tensor's entries that is smallest in magnitude to 0, in place.

    As core.leakage.defences.sparse counts: ⌈share · (n − 1)⌉ entries, those below numpy's linear percentile.
    """
    for gradient in gradients:
        size = gradient.numel()
        count = math.ceil(round(share * (size - 1), 9))
        if count:
            kept = gradient.abs().flatten().topk(size - count, sorted=False).indices
            mask = torch.zeros(size, dtype=torch.bool, device=gradient.device)
            mask[kept] = True
            gradient.mul_(mask.view(gradient.shape))

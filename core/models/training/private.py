"""DP-SGD by Opacus: per-image gradients, clipping, noise, and the accountant that states ε."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from core.errors import UserError
from core.models.training import state
from core.models.training.draws import torch_seed
from core.models.training.feed import Batch
from core.models.training.privacy import NOTE, UNIT
from core.models.training.recipe import Recipe
from core.models.training.stepper import StepResult, make_optimiser, norm_of, set_rate

# Gradients of single images that are held at a time. It decides how many images one backward pass takes.
MOST_BYTES = {"cpu": 2**30, "cuda": 2**33}


def _dense(_layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Opacus 1.6 gives wrong per-image gradients of a convolution whose input lies in memory order NHWC (measured)."""
    return tuple(tensor.contiguous() for tensor in inputs)


class _AddNotInPlace(TorchFunctionMode):
    """`y += x` makes a new tensor. torchvision's residual blocks add so to a layer's output, which a hook must keep."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        in_place = getattr(func, "__name__", "") == "add_"  # Python's += arrives as this
        return (Tensor.add if in_place else func)(*args, **(kwargs or {}))


def _adding(model: nn.Module) -> AbstractContextManager[object]:
    """For torchvision's residual blocks alone: elsewhere a call of add_ may not look at what it returns."""
    residual = any(type(layer).__module__ == "torchvision.models.resnet" for layer in model.modules())
    return _AddNotInPlace() if residual else nullcontext()


class PrivateStepper:
    """Per-image gradients by Opacus's GradSampleModule; clipping, noise and update by its DPOptimizer.

    The noise comes from the training's secret key and the step, so that a training can be resumed to the same bytes.
    Whoever knows the key can take the noise away, which `privacy` says.
    """

    def __init__(self, model: nn.Module, recipe: Recipe, device: torch.device, count: int, key: int) -> None:
        from opacus.accountants import RDPAccountant
        from opacus.grad_sample import GradSampleModule
        from opacus.optimizers import DPOptimizer

        self._recipe, self._count, self._device, self._key = recipe, count, device, key
        self._inner = model
        for layer in model.modules():
            if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d):
                layer.register_forward_pre_hook(_dense)
        try:
            self._model: nn.Module = GradSampleModule(model, loss_reduction="sum")
        except NotImplementedError as error:
            raise UserError(
                "Opacus cannot take gradients of single images of this model; choose a victim with GroupNorm, such as "
                "convnet-gn or resnet20-4-gn."
            ) from error
        self._noise = torch.Generator(device)
        self._optimiser = DPOptimizer(
            make_optimiser(recipe, model),
            noise_multiplier=recipe.dp_noise,
            max_grad_norm=recipe.dp_norm,
            expected_batch_size=recipe.batch_size,
            loss_reduction="mean",
            generator=self._noise,
        )
        self._accountant = RDPAccountant()
        size = 4 * sum(parameter.numel() for parameter in model.parameters())
        self._at_once = max(1, MOST_BYTES.get(device.type, 2**30) // size)

    def step(self, batch: Batch, number: int, rate: float) -> StepResult:
        """As Stepper.step; a batch that Poisson sampling left empty is noise alone."""
        set_rate(self._optimiser.original_optimizer, rate)
        self._noise.manual_seed(torch_seed(self._key, "noise", number))
        result = self._step(batch) if len(batch.labels) else self._empty_step()
        self._accountant.step(noise_multiplier=self._recipe.dp_noise, sample_rate=self._sample_rate)
        return result

    def epsilon(self) -> float | None:
        """Of all steps so far, at the recipe's δ."""
        with warnings.catch_warnings():
            # It warns where the best order is its first or last: ε is then only larger than it need be.
            warnings.simplefilter("ignore")
            return float(self._accountant.get_epsilon(self._recipe.dp_delta))

    def privacy(self) -> dict[str, Any] | None:
        """The guarantee, and what it rests on."""
        import opacus

        return {
            "epsilon": self.epsilon(),
            "delta": self._recipe.dp_delta,
            "unit": UNIT,
            "sampling": "Poisson",
            "sampling_rate": self._sample_rate,
            "steps": sum(steps for _, _, steps in self._accountant.history),
            "noise_multiplier": self._recipe.dp_noise,
            "clipping_norm": self._recipe.dp_norm,
            "accountant": "Opacus RDP",
            "accountant_version": opacus.__version__,
            "secure_noise": False,
            "note": NOTE,
        }

    def save(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """As Stepper.save."""
        tensors, rest = state.optimiser_tensors(self._optimiser.original_optimizer)
        return tensors, {"optimiser": rest, "accountant": self._accountant.history}

    def restore(self, tensors: Mapping[str, Tensor], rest: Mapping[str, Any]) -> None:
        """As Stepper.restore."""
        state.restore_optimiser(self._optimiser.original_optimizer, tensors, rest["optimiser"])
        self._accountant.history = [tuple(entry) for entry in rest["accountant"]]

    @property
    def _sample_rate(self) -> float:
        return self._recipe.batch_size / self._count

    def _step(self, batch: Batch) -> StepResult:
        count = len(batch.labels)
        loss = torch.zeros((), device=self._device)
        correct = torch.zeros((), dtype=torch.int64, device=self._device)
        clean: list[Tensor] = []
        for start in range(0, count, self._at_once):
            part = slice(start, start + self._at_once)
            images, labels = batch.images[part], batch.labels[part]
            self._optimiser.zero_grad(set_to_none=True)
            # Without this torch's hooks warn that no input of the first layer wants a gradient.
            with _adding(self._inner):
                logits = self._model(images.requires_grad_())
            total = F.cross_entropy(logits, labels, label_smoothing=self._recipe.label_smoothing, reduction="sum")
            total.backward()  # type: ignore[no-untyped-call]
            gradients = [p.grad for p in self._inner.parameters() if p.grad is not None]
            clean = [a + b for a, b in zip(clean, gradients, strict=True)] if clean else gradients
            loss += total.detach()
            correct += (logits.detach().argmax(1) == labels).sum()
            self._optimiser.signal_skip_step(do_skip=start + self._at_once < count)
            norm = norm_of(clean) / count  # before the step puts the noisy gradient in its place
            self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)
        return StepResult(loss / count, correct, norm)

    def _empty_step(self) -> StepResult:
        self._optimiser.zero_grad(set_to_none=True)
        for parameter in self._inner.parameters():
            parameter.grad_sample = parameter.new_zeros((0, *parameter.shape))  # type: ignore[attr-defined]
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)
        zero = torch.zeros((), device=self._device)
        return StepResult(zero, zero.long(), torch.full((), math.nan, device=self._device))

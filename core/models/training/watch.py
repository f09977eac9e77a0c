"""Losses as they come in: told without waiting for the device, and a training stopped when one is no number."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from core.errors import UserError
from core.models.training.progress import EpochRow
from core.models.training.recipe import Recipe

NEARLY_NO_GRADIENT = 0.01  # mean L2 of the last epoch: below it an update of this victim carries little


class Silent:
    """A TrainingProgress that nobody looks at."""

    def resume(self) -> bytes | None:
        """From the start."""
        return None

    def cancelled(self) -> bool:
        """Never."""
        return False

    def step(self, done: int, total: int, loss: float | None) -> None:
        """Nothing."""

    def looking(self) -> None:
        """Nothing."""

    def epoch(self, row: EpochRow) -> None:
        """Nothing."""

    def kept(self, row: EpochRow, weights: Mapping[str, Tensor]) -> None:
        """Nothing."""

    def checkpoint_due(self) -> bool:
        """Never."""
        return False

    def checkpoint(self, done: int, state: bytes) -> None:
        """Nothing."""


class LossWatch:
    """One loss at a time is on its way from a GPU; on the CPU each is there at once."""

    def __init__(self, recipe: Recipe, per_epoch: int, device: torch.device) -> None:
        self._recipe, self._per_epoch, self._cuda = recipe, per_epoch, device.type == "cuda"
        self._coming: tuple[int, Tensor, torch.cuda.Event] | None = None

    def seen(self, step: int, loss: Tensor) -> float | None:
        """The loss after `step` steps, or an earlier one that has arrived, or None. UserError when it is no number."""
        if not self._cuda:
            return self._checked(step, loss)
        arrived = None
        if self._coming is not None and self._coming[2].query():  # type: ignore[no-untyped-call]
            arrived = self._checked(self._coming[0], self._coming[1])
            self._coming = None
        if self._coming is None:
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            copy = torch.empty(loss.shape, dtype=loss.dtype, pin_memory=True).copy_(loss, non_blocking=True)
            event.record()
            self._coming = (step, copy, event)
        return arrived

    def settle(self, step: int, loss: Tensor) -> None:
        """Wait for the newest loss. UserError when it is no number."""
        self._checked(step, loss)

    def _checked(self, step: int, loss: Tensor) -> float:
        value = float(loss)
        if not math.isfinite(value):
            raise UserError(diverged(self._recipe, step, self._per_epoch))
        return value


def diverged(recipe: Recipe, step: int, per_epoch: int) -> str:
    """What to say when the numbers have run away."""
    epoch = (step - 1) // per_epoch + 1
    also = " or warm up longer" if recipe.schedule != "one-cycle" else ""
    half = "; fp32 or bf16 may help too" if recipe.precision == "fp16" else ""
    return (
        f"The loss is no longer a number after step {step:,}, in epoch {epoch} of {recipe.epochs}: the training ran "
        f"away. Lower learning_rate (now {recipe.learning_rate:g}){also}{half}."
    )


def other_device(then: str, now: str) -> str:
    """What to say when a checkpoint meets another kind of device."""
    names = {"cpu": "the CPU", "cuda": "a GPU"}
    return (
        f"This training was begun on {names.get(then, then)}, and its checkpoint goes on there alone, but now it would "
        f"run on {names.get(now, now)}. The checkpoint is kept: make {names.get(then, then)} available "
        f"(SEMSIGHT_DEVICE={then}) and go on, or begin the training anew."
    )


def warnings_of(recipe: Recipe, count: int, norm: float) -> list[str]:
    """What speaks against trusting an audit of the victim, in sentences."""
    found = []
    if norm < NEARLY_NO_GRADIENT:
        found.append(
            f"The mean gradient norm of the last epoch is {norm:.2g}: updates of this victim carry little, so an "
            "attack may fail for that reason alone."
        )
    if recipe.defence == "dp-sgd" and recipe.dp_delta >= 1 / count:
        found.append(f"δ = {recipe.dp_delta:g} is not below 1 / {count:,} images: ε then promises little.")
    return found

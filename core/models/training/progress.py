"""What a training tells whoever runs it. Imports no torch at import."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from core.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor


class TrainingCancelled(Exception):
    """The training was asked to stop; its newest checkpoint goes on from there."""


class OtherDevice(UserError):
    """The checkpoint was made on another kind of device and goes on there alone: nothing is lost by waiting."""


@dataclass(frozen=True)
class EpochRow:
    """One epoch of a training curve. Losses are mean cross entropies in nats; accuracies are shares in [0, 1]."""

    epoch: int  # counts from 1
    learning_rate: float  # at its end
    train_loss: float  # of what the model was given, augmented
    train_accuracy: float  # likewise; NaN with mixup, where an image has two classes
    held_out_loss: float  # NaN where nothing is held out
    held_out_accuracy: float
    gradient_norm: float  # L2, mean over the epoch's steps; near 0 means that updates carry little
    images_per_second: float
    epsilon: float | None = None  # spent so far, with DP-SGD


class TrainingProgress(Protocol):
    """What `fit` reports to; every call is cheap where nothing is due."""

    def resume(self) -> bytes | None:
        """The checkpoint to go on from; None at the start."""

    def cancelled(self) -> bool:
        """Whether to stop."""

    def step(self, done: int, total: int, loss: float | None) -> None:
        """After each optimiser step; the loss where it is known without waiting for the device."""

    def looking(self) -> None:
        """A sign of life before each batch of held-out images."""

    def epoch(self, row: EpochRow) -> None:
        """After each epoch."""

    def kept(self, row: EpochRow, weights: Mapping[str, Tensor]) -> None:
        """A chosen epoch's state dict, on the CPU."""

    def checkpoint_due(self) -> bool:
        """Whether it is time to save."""

    def checkpoint(self, done: int, state: bytes) -> None:
        """All that is needed to go on to the same bytes."""


@dataclass(frozen=True)
class Trained:
    """What came of a training."""

    weights: Mapping[str, Tensor]  # state dict in eval mode, on the CPU, float32
    rows: tuple[EpochRow, ...]
    record: dict[str, Any] = field(default_factory=dict)  # privacy (ε, δ, sampling rate, unit), seconds, precision, …

"""The contract that every attack keeps, and what it hands back. Imports no torch: pages list attacks from here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    import torch


Family = Literal["gradient inversion", "analytic", "model only", "malicious server"]


class Progress(Protocol):
    """How an attack talks while it runs. All calls are cheap; the receiver decides what to keep."""

    def resume(self) -> bytes | None:
        """The last checkpoint of this very shard, or None to start afresh."""

    def cancelled(self) -> bool:
        """True when the attack must stop at once; it then raises AttackCancelled."""

    def step(self, done: int, total: int, losses: torch.Tensor) -> None:
        """After each iteration (or every few): losses (N, R), the attack's own objective."""

    def preview_due(self, done: int, total: int) -> bool:
        """True when a frame of the emerging images is wanted now."""

    def preview(self, done: int, images: np.ndarray) -> None:
        """images: (N, B, H, W, C) uint8, the best restart so far of each update."""

    def checkpoint_due(self) -> bool:
        """True when the interval since the last checkpoint is over."""

    def checkpoint(self, done: int, state: bytes) -> None:
        """All that is needed to go on from here to the same bytes; versioned by the attack."""


class AttackCancelled(Exception):
    """The progress asked the attack to stop."""


@dataclass(frozen=True)
class Reconstructions:
    """What an attack hands back for N updates of B images with R restarts.

    images: (N, R, B, H, W, C) uint8. losses: (N, R), the attack's own objective at the returned image.
    chosen: (N,), the restart picked by that objective alone. labels: (N, R, B) int64, granted or recovered.
    iterations: (N, R). status: N entries, "ok" or a short reason ("diverged: loss is not finite").
    seconds: wall-clock of the whole shard. record: how it was run (engine path, versions, precision).
    """

    images: np.ndarray
    losses: np.ndarray
    chosen: np.ndarray
    labels: np.ndarray
    iterations: np.ndarray
    status: tuple[str, ...]
    seconds: float
    record: dict[str, Any]


@dataclass(frozen=True)
class Attack:
    """A registered attack.

    config is a frozen dataclass whose fields carry metadata={"help": …, "unit": …, "minimum": …, "maximum": …};
    one registered Attack is one named preset: its defaults. reconstruct(observation, config, *, seed, progress)
    is a function of the observation alone, and imports torch only when called.

    prepare(spec, weights, config, seed) -> (spec, weights): what a malicious server sends in place of the model,
    before the victim's step; None for an honest one. An attack whose `controls` name "prior" has a config field
    `matching` that 0 switches off.
    """

    name: str
    title: str  # for people, e.g. "Inverting Gradients"
    summary: str  # two sentences: idea and assumptions
    source: str  # paper
    config: Any  # the preset: a frozen dataclass instance; every field is editable
    reconstruct: Callable[..., Reconstructions]
    max_batch: int = 8
    family: Family = "gradient inversion"
    updates: tuple[str, ...] = ("gradients", "weights")  # what may be shared; ("none",): it has the model alone
    prepare: Callable[..., Any] | None = None
    controls: tuple[str, ...] = ("mismatched", "prior")
    effort: str = "steps"  # the field of config that says how long it tries; "" where more effort changes nothing

    @property
    def model_only(self) -> bool:
        """True for an attack that sees no update: its images are of a class, not of one original."""
        return self.updates == ("none",)

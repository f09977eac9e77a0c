"""The record that every metric carries. Imports no torch: pages list metrics from here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    import torch

    from core.settings import Settings


@dataclass(frozen=True)
class Context:
    """What some metrics need beside the two images.

    settings: where weights are looked for; None reads the environment. victim: takes (N, channels, H, W) float32 in
    [0, 1], normalises by itself and gives logits (N, classes); it is in eval mode. labels: (N,) int64, the true
    classes. channels: 3, or 1 for a victim of grey images, which gets the first channel.
    """

    settings: Settings | None = None
    victim: Callable[[torch.Tensor], torch.Tensor] | None = None
    labels: np.ndarray | None = None
    channels: int = 3

    def of(self, rows: np.ndarray) -> Context:
        """The context of these rows only."""
        return self if self.labels is None else replace(self, labels=self.labels[rows])


@dataclass(frozen=True)
class Metric:
    """A score of how alike an original and its reconstruction are.

    compute(originals, reconstructions, context) takes two (N, 3, H, W) float tensors in [0, 1] and a Context or
    None, and gives (N,). Grey images come as three equal channels.
    direction says which end means more leakage. A diagnostic measures the attack's fit and is never leakage.
    """

    name: str  # as in the CSV: mse, psnr, lpips_alex, …
    title: str
    direction: Literal["higher", "lower"]  # this end means MORE leakage (of a diagnostic: a closer fit)
    bounds: tuple[float, float]
    unit: str  # "" or "dB"
    kind: Literal["pair", "set"]
    minimum_size: int  # smallest height or width, pixels
    needs: tuple[str, ...]  # names of weights, empty if none
    input_size: int | None  # pixels it resizes to; None: native size
    version: str
    source: str
    compute: Callable[[torch.Tensor, torch.Tensor, Context | None], torch.Tensor]
    diagnostic: bool = False


@dataclass(frozen=True)
class Score:
    """One metric's answer for one pair: a value, or None with the reason it is unavailable."""

    value: float | None  # ±inf is a value; NaN never is
    reason: str = ""

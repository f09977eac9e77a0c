"""The record that every metric carries. Imports no torch: pages list metrics from here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Metric:
    """A score of how alike an original and its reconstruction are.

    compute(originals, reconstructions, context) takes two (N, 3, H, W) float tensors in [0, 1] and gives (N,).
    direction says which end means more leakage. A diagnostic measures the attack's fit and is never leakage.
    """

    name: str  # as in the CSV: mse, psnr, lpips_alex, …
    title: str
    direction: Literal["higher", "lower"]  # this end means MORE leakage
    bounds: tuple[float, float]
    unit: str  # "" or "dB"
    kind: Literal["pair", "set"]
    minimum_size: int  # smallest height or width, pixels
    needs: tuple[str, ...]  # names of weights, empty if none
    input_size: int | None  # pixels it resizes to; None: native size
    version: str
    source: str
    compute: Callable[[torch.Tensor, torch.Tensor, Any], torch.Tensor]
    diagnostic: bool = False


@dataclass(frozen=True)
class Score:
    """One metric's answer for one pair: a value, or None with the reason it is unavailable."""

    value: float | None  # ±inf is a value; NaN never is
    reason: str = ""

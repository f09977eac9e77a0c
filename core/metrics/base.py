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
    [0, 1], normalises by itself and gives logits (N, classes); it is in eval mode. features: the same for (N, D), what
    the victim's last layer takes. labels: (N,) int64, the true classes as the victim counts them. channels: 3, or 1 for
    a victim of grey images, which gets the first channel. losses: (N,) float64, the attack's own loss, NaN where it has
    none. classes: the N true classes by name, None where a name is not known. names: of the N originals, likewise.
    victim_sha: sha256 of the victim's weights ("" if drawn), so that no victim is taken for an independent judge.
    """

    settings: Settings | None = None
    victim: Callable[[torch.Tensor], torch.Tensor] | None = None
    features: Callable[[torch.Tensor], torch.Tensor] | None = None
    labels: np.ndarray | None = None
    channels: int = 3
    losses: np.ndarray | None = None
    classes: tuple[str | None, ...] | None = None
    names: tuple[str | None, ...] | None = None
    victim_sha: str = ""

    def of(self, rows: np.ndarray) -> Context:
        """The context of these rows only."""
        return replace(
            self,
            labels=None if self.labels is None else self.labels[rows],
            losses=None if self.losses is None else self.losses[rows],
            classes=None if self.classes is None else tuple(self.classes[row] for row in rows),
            names=None if self.names is None else tuple(self.names[row] for row in rows),
        )


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A score of how alike an original and its reconstruction are. Its fields are given by name.

    compute(originals, reconstructions, context) takes two (N, 3, H, W) float tensors in [0, 1] and a Context or
    None, and gives (N,). Grey images come as three equal channels.
    NaN means not defined for this pair. direction says which end means more leakage. A diagnostic measures the attack's
    fit and is never leakage. sees and misses are a sentence each, for people who read a score.
    """

    name: str  # as in the CSV: mse, psnr, lpips_alex, …
    title: str
    direction: Literal["higher", "lower"]  # this end means MORE leakage (of a diagnostic: a closer fit)
    bounds: tuple[float, float]
    unit: str = ""  # "" or "dB"
    kind: Literal["pair", "set"] = "pair"
    minimum_size: int = 1  # smallest height or width, pixels
    needs: tuple[str, ...] = ()  # names of weights
    input_size: int | None = None  # pixels it resizes to; None: native size
    version: str
    source: str
    compute: Callable[[torch.Tensor, torch.Tensor, Context | None], torch.Tensor]
    sees: str  # one sentence: what moves this score
    misses: str  # one sentence: what does not, or moves it for a wrong reason
    # the same (N,), in float64, from two (N, H, W, 3) uint8 tensors: for metrics that cost less than converting does
    compute_bytes: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None
    library: str = ""  # package on the package index whose code or data computes it; "" where it is our own code
    packages: tuple[str, ...] = ()  # modules that must be installed beyond requirements.txt
    carried: Callable[[], str] | None = None  # sha256 of data that a package carries; UserError where it is missing
    files: Callable[[Settings], str] | None = (
        None  # sha256 of its files that are no record of WEIGHTS; UserError as above
    )
    lacks: Callable[[Settings, Context | None], str] | None = None  # why it cannot be computed with this context, or ""
    diagnostic: bool = False
    symmetric: bool = True  # exchanging the two images changes nothing


@dataclass(frozen=True)
class Score:
    """One metric's answer for one pair: a value, or None with the reason it is unavailable."""

    value: float | None  # ±inf is a value; NaN never is
    reason: str = ""

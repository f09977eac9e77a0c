"""Noise on the update: Gaussian and Laplace, absolute or relative to the update's size. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.knobs import knob
from core.leakage.defences.base import ClientStep, Defence

if TYPE_CHECKING:
    import torch

UNIT = (
    "absolute: in the unit of the gradient; relative: in root mean squares of the update's entries, ‖g‖₂/√d, so that 1 "
    "is noise as large as the update."
)
NO_ANSWER = "Independent noise cannot be undone: the attacker knows its level and matches the noisy update as it is."


@dataclass(frozen=True)
class GaussianConfig:
    """N(0, std²) on every entry."""

    std: float = knob(1e-3, "Standard deviation of the noise.", minimum=0.0, maximum=1e6)
    scale: str = knob("absolute", UNIT, choices=("absolute", "relative"))


@dataclass(frozen=True)
class LaplaceConfig:
    """Laplace(0, b) on every entry: density exp(−|x|/b) / 2b, standard deviation b√2."""

    b: float = knob(1e-3, "Scale b of the noise; its standard deviation is b√2.", minimum=0.0, maximum=1e6)
    scale: str = knob("absolute", UNIT, choices=("absolute", "relative"))


def add_gaussian(step: ClientStep, config: GaussianConfig, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Every entry + std · N(0, 1)."""
    import torch

    def draw(shape: torch.Size) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    return _add(step.gradients, config.std, config.scale, draw)


def add_laplace(step: ClientStep, config: LaplaceConfig, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Every entry + b · Laplace(0, 1): an exponential draw with a random sign."""
    import torch

    def draw(shape: torch.Size) -> torch.Tensor:
        size = torch.empty(shape).exponential_(generator=generator)
        return torch.where(torch.rand(shape, generator=generator) < 0.5, size, -size)

    return _add(step.gradients, config.b, config.scale, draw)


def root_mean_square(gradients: dict[str, torch.Tensor]) -> float:
    """‖g‖₂/√d over all tensors together."""
    squares = sum(float(g.double().square().sum()) for g in gradients.values())
    return float((squares / sum(g.numel() for g in gradients.values())) ** 0.5)


def _add(
    gradients: dict[str, torch.Tensor], level: float, scale: str, draw: Callable[[torch.Size], torch.Tensor]
) -> dict[str, torch.Tensor]:
    factor = level * root_mean_square(gradients) if scale == "relative" else level
    return {name: g + factor * draw(g.shape).to(g) for name, g in gradients.items()}


GAUSSIAN = Defence(
    name="gaussian",
    title="Gaussian noise",
    summary="Adds independent Gaussian noise to every entry of the update. Weak noise protects little, strong noise "
    "slows the training; without clipping it gives no privacy guarantee.",
    source="Zhu, Liu and Han 2019, Deep Leakage from Gradients, section 5, arXiv 1906.08935",
    place="update",
    config=GaussianConfig(),
    on_update=add_gaussian,
    adaptation=NO_ANSWER,
    keeps_zeros=False,
)
LAPLACE = Defence(
    name="laplace",
    title="Laplace noise",
    summary="Adds independent Laplace noise to every entry of the update. As Gaussian noise, with heavier tails; "
    "without clipping it gives no privacy guarantee.",
    source="Zhu, Liu and Han 2019, Deep Leakage from Gradients, section 5, arXiv 1906.08935",
    place="update",
    config=LaplaceConfig(),
    on_update=add_laplace,
    adaptation=NO_ANSWER,
    keeps_zeros=False,
)

"""Fewer bits an entry: signs and quantisation. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.knobs import knob
from core.leakage.defences.base import ClientStep, Defence, Match, Sides

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class SignConfig:
    """sign(g) × one number a tensor."""

    scale: str = knob(
        "mean",
        "mean: each tensor's signs times its mean magnitude, as one more number a tensor tells; one: bare signs.",
        choices=("mean", "one"),
    )


@dataclass(frozen=True)
class QuantiseConfig:
    """Each tensor on 2^bits evenly spaced values from its minimum to its maximum."""

    bits: int = knob(8, "Bits an entry.", unit="bits", minimum=1, maximum=16)
    stochastic: bool = knob(
        False, "Round up or down at random, so that the mean stays right; else to the nearest value."
    )


def take_signs(step: ClientStep, config: SignConfig, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """sign(g), with 0 for 0, times the tensor's mean magnitude or 1."""
    return {name: g.sign() * (g.abs().mean() if config.scale == "mean" else 1.0) for name, g in step.gradients.items()}


def quantise(step: ClientStep, config: QuantiseConfig, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Each entry moved to a value of the grid: by at most half a step, or less than one if stochastic."""
    return {name: _on_grid(g, config, generator) for name, g in step.gradients.items()}


def _on_grid(tensor: torch.Tensor, config: QuantiseConfig, generator: torch.Generator) -> torch.Tensor:
    import torch

    values = tensor.double()  # 16 bits on float32 would lose the last of them
    low, high = values.min(), values.max()
    step = (high - low) / (2**config.bits - 1)
    if not bool(step > 0):
        return tensor.clone()
    place = (values - low) / step
    if config.stochastic:
        level = (place + torch.rand(tensor.shape, generator=generator, dtype=torch.float64).to(place)).floor()
    else:
        level = place.round()
    moved: torch.Tensor = low + level.clamp(0, 2**config.bits - 1) * step
    return moved.to(tensor)


def smooth_signs(ours: list[torch.Tensor], observed: list[torch.Tensor], config: SignConfig, match: Match) -> Sides:
    """tanh(g / mean |g|) for the attacker's sign(g), with the same scale: its derivative is nowhere zero."""
    soft = []
    for g in ours:
        size = g.flatten(1).abs().mean(1).clamp_min(1e-30).reshape(-1, *[1] * (g.ndim - 1))
        soft.append((g / size).tanh() * (size if config.scale == "mean" else 1.0))
    return soft, observed


SIGN = Defence(
    name="sign",
    title="Signs",
    summary="Shares the sign of each entry, and at most one size for each tensor. One bit an entry instead of 32; the "
    "direction of the update becomes coarse.",
    source="Bernstein et al. 2018, signSGD, arXiv 1802.04434; Seide et al. 2014, 1-bit SGD",
    place="update",
    config=SignConfig(),
    on_update=take_signs,
    adapt=smooth_signs,
    adaptation="The attacker matches tanh(g / mean |g|) of its own gradient, a smooth stand-in for the signs.",
)
QUANTISE = Defence(
    name="quantise",
    title="Quantisation",
    summary="Shares each tensor on 2^bits evenly spaced values from its minimum to its maximum. Saves traffic; at 8 "
    "bits an attack hardly notices.",
    source="Alistarh et al. 2017, QSGD, arXiv 1610.02132 (stochastic rounding); evenly spaced values for each tensor",
    place="update",
    config=QuantiseConfig(),
    on_update=quantise,
    adaptation="None is needed: the update moved by at most half a step, which the attacker cannot know better.",
    keeps_zeros=False,
)

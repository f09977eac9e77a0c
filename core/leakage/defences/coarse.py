"""Fewer bits an entry: signs and quantisation. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.knobs import knob
from core.leakage.defences.base import ClientStep, Defence, Match, Sides

if TYPE_CHECKING:
    import torch

# Gradients have many entries far below the mean: after 200 to 400 steps of DLG on two faces a margin of 0.05 ended at
# 9 dB, 0.01 at 13, 0.002 and less at 16, and tanh(g / mean |g|) in place of the hinge at 7, as without adaptation.
MARGIN = 0.002


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


def agreeing_signs(ours: list[torch.Tensor], observed: list[torch.Tensor], config: SignConfig, match: Match) -> Sides:
    """s · min(1, s·g / (MARGIN · mean |g|)) at the observed size, for the sign s that was shared, in place of g.

    An entry whose sign agrees, by more than a small margin of its tensor's mean, costs nothing; any other pulls g
    towards its sign. The means are a tensor's own, so that the length of g does not matter.
    """
    sides = []
    for g, o in zip(ours, observed, strict=True):
        sign, dims = o.sign(), (-1, *[1] * (g.ndim - 1))
        least = MARGIN * g.flatten(1).abs().mean(1).clamp_min(1e-30).reshape(dims)
        size = o.flatten(1).abs().mean(1).reshape(dims)
        sides.append(sign * (sign * g / least).clamp(max=1.0) * size)
    return sides, observed


SIGN = Defence(
    name="sign",
    title="Signs",
    summary="Shares the sign of each entry, and at most one size for each tensor. One bit an entry instead of 32; the "
    "direction of the update becomes coarse.",
    source="Bernstein et al. 2018, signSGD, arXiv 1802.04434; Seide et al. 2014, 1-bit SGD",
    place="update",
    config=SignConfig(),
    on_update=take_signs,
    adapt=agreeing_signs,
    adaptation="The attacker counts only entries of its own gradient whose sign does not agree with the shared one.",
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

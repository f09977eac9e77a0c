"""Norm clipping and DP-SGD on the update, and the ε that DP-SGD gives. Imports no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.errors import UserError
from core.knobs import knob
from core.leakage.defences.base import ClientStep, Defence, Match, Sides

if TYPE_CHECKING:
    import torch

BATCHNORM_REFUSED = (
    "DP-SGD needs gradients of single images, and BatchNorm mixes the images of a batch; choose a victim with "
    "GroupNorm, such as convnet-gn or resnet20-4-gn."
)


@dataclass(frozen=True)
class ClipConfig:
    """‖update‖₂ ≤ norm."""

    norm: float = knob(1.0, "Largest L2 norm of the client's update, all tensors together.", minimum=1e-9, maximum=1e9)


@dataclass(frozen=True)
class DpSgdConfig:
    """Σ clip(g_i, C) / B + N(0, (σC/B)²)."""

    clip: float = knob(1.0, "C: largest L2 norm of one image's gradient.", minimum=1e-9, maximum=1e9)
    noise: float = knob(1.0, "σ: the noise has the standard deviation σC/B.", minimum=0.0, maximum=1e6)
    delta: float = knob(1e-5, "δ, for which ε is stated.", minimum=1e-15, maximum=0.5)


def epsilon(config: DpSgdConfig) -> float:
    """ε of (ε, δ)-differential privacy of one step at the config's δ; infinite without noise.

    Unit: one image is added or removed; the images an update, B, are public. Every image takes part (sampling rate 1),
    so nothing is gained by sampling: it is one Gaussian mechanism of sensitivity C and standard deviation σC.
    """
    if config.noise == 0:
        return math.inf
    import dp_accounting

    return float(dp_accounting.get_epsilon_gaussian(config.noise, config.delta))


def clip(step: ClientStep, config: ClipConfig, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """The update times min(1, C / ‖update‖₂)."""
    return clipped(step.gradients, config.norm)


def clipped(gradients: dict[str, torch.Tensor], most: float) -> dict[str, torch.Tensor]:
    """All tensors times one factor, so that their norm together is at most `most`."""
    norm = math.sqrt(sum(float(g.double().square().sum()) for g in gradients.values()))
    factor = 1.0 if norm <= most else most / norm
    return {name: g * factor for name, g in gradients.items()}


def dp_sgd(step: ClientStep, config: DpSgdConfig, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """The mean of the images' clipped gradients, with Gaussian noise. UserError for a victim with BatchNorm."""
    import torch

    refuse_batchnorm(step.model)
    count = len(step.images)
    total = {name: torch.zeros_like(g) for name, g in step.gradients.items()}
    for image, target in zip(step.images, step.targets, strict=True):
        for name, g in clipped(_gradient(step.model, image, target), config.clip).items():
            total[name] += g
    spread = config.noise * config.clip
    return {name: (g + spread * torch.randn(g.shape, generator=generator).to(g)) / count for name, g in total.items()}


def refuse_batchnorm(model: torch.nn.Module) -> None:
    """Raise UserError when a layer of the model computes with statistics of the batch."""
    from torch.nn.modules.batchnorm import _BatchNorm

    if any(isinstance(layer, _BatchNorm) for layer in model.modules()):
        raise UserError(BATCHNORM_REFUSED)


def _gradient(model: torch.nn.Module, image: torch.Tensor, target: torch.Tensor) -> dict[str, torch.Tensor]:
    """The gradient of one image's cross-entropy, by name."""
    import torch
    from torch.func import functional_call

    with torch.enable_grad():
        weights = {name: p.detach().requires_grad_(True) for name, p in model.named_parameters()}
        logits = functional_call(model, weights, (image[None],))
        loss = -(target * logits[0].log_softmax(-1)).sum()
        found = torch.autograd.grad(loss, list(weights.values()), materialize_grads=True)
    return dict(zip(weights, found, strict=True))


def clip_ours(ours: list[torch.Tensor], observed: list[torch.Tensor], config: ClipConfig, match: Match) -> Sides:
    """The attacker clips its own gradient as the client does."""
    return _rescaled(ours, config.norm), observed


def clip_ours_dp(ours: list[torch.Tensor], observed: list[torch.Tensor], config: DpSgdConfig, match: Match) -> Sides:
    """As `clip_ours` with C: exact for one image an update, and for more the bound that their mean keeps."""
    return _rescaled(ours, config.clip), observed


def _rescaled(ours: list[torch.Tensor], most: float) -> list[torch.Tensor]:
    import torch

    squares = torch.stack([g.flatten(1).square().sum(1) for g in ours]).sum(0)
    factor = (most / squares.clamp_min(1e-30).sqrt()).clamp(max=1.0)
    return [g * factor.reshape(-1, *[1] * (g.ndim - 1)) for g in ours]


CLIP = Defence(
    name="clip",
    title="Norm clipping",
    summary="Shortens the client's update to a largest L2 norm. Its direction stays, so attacks on the direction lose "
    "nothing: alone it is a step towards differential privacy, not a protection.",
    source="Abadi et al. 2016, Deep Learning with Differential Privacy, arXiv 1607.00133; on a client's update: "
    "McMahan et al. 2018, arXiv 1710.06963",
    place="update",
    config=ClipConfig(),
    on_update=clip,
    adapt=clip_ours,
    adaptation="The attacker clips its own gradient to the same norm before the match.",
)
DP_SGD = Defence(
    name="dp-sgd",
    title="DP-SGD",
    summary="Clips the gradient of each image, averages them, and adds Gaussian noise: (ε, δ)-differential privacy for "
    "one image in one step. Costs accuracy, and a victim with BatchNorm is refused.",
    source="Abadi et al. 2016, Deep Learning with Differential Privacy, arXiv 1607.00133; ε: Balle and Wang 2018, "
    "arXiv 1805.06530",
    place="update",
    config=DpSgdConfig(),
    on_update=dp_sgd,
    adapt=clip_ours_dp,
    adaptation="The attacker clips its own gradient to C before the match, which is exact for one image an update; the "
    "noise cannot be undone.",
    keeps_zeros=False,
)

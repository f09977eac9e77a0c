"""Entries of the update that are left out: top-k, pruning, and Soteria. Imports no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.errors import UserError
from core.knobs import knob
from core.leakage.defences.base import ClientStep, Defence, Match, Sides

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class TopKConfig:
    """The largest entries alone."""

    share: float = knob(0.1, "The share of the entries that is kept, those of largest magnitude.", minimum=0, maximum=1)
    scope: str = knob(
        "tensor", "Where the largest are looked for: in each tensor, or in all together.", choices=("tensor", "global")
    )


@dataclass(frozen=True)
class PruneConfig:
    """The smallest entries to zero."""

    share: float = knob(
        0.7, "The share of each tensor's entries, those of smallest magnitude, that becomes 0.", minimum=0, maximum=1
    )


@dataclass(frozen=True)
class SoteriaConfig:
    """Columns of the last layer's weight gradient to zero."""

    share: float = knob(
        0.8, "The share of the last layer's features whose weight gradient becomes 0.", minimum=0.0, maximum=1.0
    )


def kept_of(share: float, size: int) -> int:
    """Entries that top-k keeps of `size`: the share, rounded, and at least 1."""
    return max(1, min(size, round(share * size)))


def pruned_of(share: float, size: int) -> int:
    """Entries that fall below the `share` percentile of `size` numbers (numpy's linear one, as in the paper's code)."""
    return math.ceil(round(share * (size - 1), 9))


def largest(values: torch.Tensor, count: int) -> torch.Tensor:
    """(P, n) -> (P, n) of 0 and 1: exactly the `count` largest magnitudes of each row."""
    import torch

    places = values.detach().abs().topk(count, dim=1).indices
    return torch.zeros_like(values).scatter(1, places, 1.0)


def top_k_masks(tensors: list[torch.Tensor], config: TopKConfig) -> list[torch.Tensor]:
    """(P, *shape) each -> masks of the same shapes."""
    import torch

    rows = [g.flatten(1) for g in tensors]
    if config.scope == "tensor":
        return [
            largest(row, kept_of(config.share, row.shape[1])).reshape(g.shape)
            for row, g in zip(rows, tensors, strict=True)
        ]
    together = torch.cat(rows, dim=1)
    mask = largest(together, kept_of(config.share, together.shape[1]))
    parts = torch.split(mask, [row.shape[1] for row in rows], dim=1)
    return [part.reshape(g.shape) for part, g in zip(parts, tensors, strict=True)]


def prune_masks(tensors: list[torch.Tensor], config: PruneConfig) -> list[torch.Tensor]:
    """(P, *shape) each -> masks of the same shapes."""
    masks = []
    for g in tensors:
        row = g.flatten(1)
        masks.append(largest(row, row.shape[1] - pruned_of(config.share, row.shape[1])).reshape(g.shape))
    return masks


def top_k(step: ClientStep, config: TopKConfig, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """The update with all but its largest entries at 0."""
    masks = top_k_masks([g[None] for g in step.gradients.values()], config)
    return {name: g * mask[0] for (name, g), mask in zip(step.gradients.items(), masks, strict=True)}


def prune(step: ClientStep, config: PruneConfig, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """The update with the smallest entries of each tensor at 0."""
    masks = prune_masks([g[None] for g in step.gradients.values()], config)
    return {name: g * mask[0] for (name, g), mask in zip(step.gradients.items(), masks, strict=True)}


def soteria(step: ClientStep, config: SoteriaConfig, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """The gradient of the last layer's weight (K, F) with the columns of the chosen features at 0.

    The chosen features leak most: those with the smallest ‖∂r_f/∂x‖ / (|r_f| + 0.1), summed over the client's images,
    as in the authors' code (the paper's largest ‖r_f (∂r_f/∂x)⁻¹‖). UserError without a last linear layer.
    """
    import torch

    name = _last_weight({key: tuple(g.shape) for key, g in step.gradients.items()}, step.targets.shape[-1])
    ratio = sensitivity(step.model, name.removesuffix(".weight"), step.images)
    count = pruned_of(config.share, len(ratio))
    mask = torch.ones_like(ratio)
    mask[ratio.sort(stable=True).indices[:count]] = 0.0
    return {key: g * mask if key == name else g.clone() for key, g in step.gradients.items()}


def sensitivity(model: torch.nn.Module, layer: str, images: torch.Tensor) -> torch.Tensor:
    """(F,): Σ over images of ‖∂r_f/∂x‖₂ / (|r_f| + 0.1), r (B, F) the input of the linear layer called `layer`."""
    import torch
    from torch.func import functional_call

    seen: list[torch.Tensor] = []
    hook = model.get_submodule(layer).register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0]))
    try:
        with torch.enable_grad():
            images = images.detach().requires_grad_(True)
            buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
            functional_call(model, buffers, (images,))
    finally:
        hook.remove()
    features = seen[-1].reshape(len(images), -1)
    ratio = images.new_zeros(features.shape[1])
    for place in range(len(ratio)):
        slope = torch.autograd.grad(features[:, place].sum(), images, retain_graph=True)[0].flatten(1).norm(dim=1)
        ratio[place] = (slope / (features[:, place].detach().abs() + 0.1)).sum()
    return ratio


def _last_weight(shapes: dict[str, tuple[int, ...]], classes: int) -> str:
    """The last weight with one row a class, by name."""
    found = [name for name, shape in shapes.items() if len(shape) == 2 and shape[0] == classes]
    found = [name for name in found if name.endswith(".weight")]
    if not found:
        raise UserError(
            "Soteria prunes the last fully connected layer, which this model lacks; choose another defence."
        )
    return found[-1]


def keep_observed(ours: list[torch.Tensor], observed: list[torch.Tensor]) -> Sides:
    """Match only where something was shared."""
    return [g * (o != 0) for g, o in zip(ours, observed, strict=True)], observed


def top_k_ours(ours: list[torch.Tensor], observed: list[torch.Tensor], config: TopKConfig, match: Match) -> Sides:
    """Match where something was shared; where a later defence hides that, apply top-k to the own gradient."""
    if match.zeros_kept:
        return keep_observed(ours, observed)
    return [g * mask for g, mask in zip(ours, top_k_masks(ours, config), strict=True)], observed


def prune_ours(ours: list[torch.Tensor], observed: list[torch.Tensor], config: PruneConfig, match: Match) -> Sides:
    """Match where something was shared; where a later defence hides that, prune the own gradient."""
    if match.zeros_kept:
        return keep_observed(ours, observed)
    return [g * mask for g, mask in zip(ours, prune_masks(ours, config), strict=True)], observed


def leave_out(ours: list[torch.Tensor], observed: list[torch.Tensor], config: SoteriaConfig, match: Match) -> Sides:
    """Leave the pruned columns out; where a later defence hides them, the whole last weight."""
    name = _last_weight({key: tuple(g.shape[1:]) for key, g in zip(match.names, ours, strict=True)}, match.classes)
    place = match.names.index(name)
    ours, observed = list(ours), list(observed)
    if match.zeros_kept:
        ours[place] = ours[place] * (observed[place] != 0)
    else:
        ours[place], observed[place] = ours[place] * 0, observed[place] * 0
    return ours, observed


DROPPED = "The attacker matches only entries that are not zero in what it sees"
TOP_K = Defence(
    name="top-k",
    title="Top-k",
    summary="Shares only the entries of largest magnitude. Saves traffic; the largest carry most of the picture, "
    "so it protects little.",
    source="Lin et al. 2018, Deep Gradient Compression, arXiv 1712.01887",
    place="update",
    config=TopKConfig(),
    on_update=top_k,
    adapt=top_k_ours,
    adaptation=f"{DROPPED}; under later noise it applies the same top-k to its own gradient.",
)
PRUNE = Defence(
    name="prune",
    title="Pruning",
    summary="Sets the smallest entries of each tensor to zero. Protects only at shares that also hurt the training.",
    source="Zhu, Liu and Han 2019, arXiv 1906.08935, section 5; 70 % in the human study, arXiv 2309.13038",
    place="update",
    config=PruneConfig(),
    on_update=prune,
    adapt=prune_ours,
    adaptation=f"{DROPPED}; under later noise it prunes its own gradient likewise.",
)
SOTERIA = Defence(
    name="soteria",
    title="Soteria",
    summary="Zeroes the last layer's weight gradient for the features that tell most of the picture. Leaves every "
    "other layer as it is, which an attacker who knows of it uses.",
    source="Sun et al. 2021, Soteria, arXiv 2012.06043; answered by Balunović et al. 2022, arXiv 2111.04706",
    place="update",
    config=SoteriaConfig(),
    on_update=soteria,
    adapt=leave_out,
    adaptation="The attacker leaves the pruned entries out of its match, or under later noise the whole last weight.",
)

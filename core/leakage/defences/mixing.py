"""Defences on the labels of the victim's loss: label smoothing, and mixup with its pictures. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from core.knobs import knob
from core.leakage.defences.base import Defence

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class SmoothingConfig:
    """(1 − ε) y + ε / K."""

    share: float = knob(
        0.1, "ε: the share of each label that is spread evenly over all classes.", minimum=0.0, maximum=1.0
    )


@dataclass(frozen=True)
class MixupConfig:
    """λ x_i + (1 − λ) x_j."""

    weight: float = knob(
        0.75,
        "λ: the weight of a picture and its label in the mixture; the rest is its partner's. Fixed for the run, not "
        "drawn from a Beta distribution.",
        minimum=0.5,
        maximum=1.0,
    )


def smooth(targets: torch.Tensor, config: SmoothingConfig, *, clients: int, ordered: bool) -> torch.Tensor:
    """(1 − ε) targets + ε / K."""
    return (1 - config.share) * targets + config.share / targets.shape[-1]


def mix_pictures(
    pictures: Sequence[np.ndarray], config: MixupConfig, draws: Sequence[np.random.Generator]
) -> list[np.ndarray]:
    """Each picture with the client's next one (the last with the first), rounded to 8 bits."""
    stack = np.stack(pictures).astype(np.float64)
    mixed = config.weight * stack + (1 - config.weight) * np.roll(stack, -1, axis=0)
    return list(np.rint(mixed).astype(np.uint8))


def mix_targets(targets: torch.Tensor, config: MixupConfig, *, clients: int, ordered: bool) -> torch.Tensor:
    """The same mixture of the targets; where the order is not known, the partner's is the mean of the update's."""
    if ordered:
        groups = targets.reshape(*targets.shape[:-2], clients, -1, targets.shape[-1])
        partners = groups.roll(-1, dims=-2).reshape(targets.shape)
    else:
        partners = targets.mean(-2, keepdim=True)
    mixed: torch.Tensor = config.weight * targets + (1 - config.weight) * partners
    return mixed


LABEL_SMOOTHING = Defence(
    name="label-smoothing",
    title="Label smoothing",
    summary="Trains towards labels that give every class a little. Hides no picture; it disturbs rules that read the "
    "labels off the last layer's gradient.",
    source="Szegedy et al. 2016, Rethinking the Inception Architecture, arXiv 1512.00567, section 7",
    place="input",
    config=SmoothingConfig(),
    on_targets=smooth,
    adaptation="The attacker smooths the labels of its own loss likewise.",
)
MIXUP = Defence(
    name="mixup",
    title="Mixup",
    summary="Mixes each picture and its label with the next one of the same client. The mixture is the original that "
    "is attacked and scored; needs two images a client.",
    source="Zhang et al. 2018, mixup, arXiv 1710.09412",
    place="input",
    config=MixupConfig(),
    on_pictures=mix_pictures,
    on_targets=mix_targets,
    adaptation="The attacker mixes the labels of its own loss likewise; it looks for the mixtures, not for what they "
    "are made of.",
)

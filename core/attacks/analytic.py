"""Analytic recovery: divide the images out of a first fully connected layer with a bias. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.attacks.base import Attack, Progress, Reconstructions
from core.attacks.label_rules import label_rule_knob
from core.knobs import knob

if TYPE_CHECKING:
    from core.leakage.observation import Observation

SOURCE = (
    "Phong et al. 2018, Privacy-Preserving Deep Learning via Additively Homomorphic Encryption, section 3; Geiping et "
    "al. 2020, arXiv 2003.14053, proposition 3.1"
)


@dataclass(frozen=True)
class AnalyticConfig:
    """Which rows of the first layer's gradient count."""

    least: float = knob(
        1e-5,
        "Rows whose bias gradient is below this share of the largest are left out: they are rounding.",
        minimum=0.0,
        maximum=1.0,
    )
    tolerance: float = knob(
        1e-3,
        "Rows speak of the same image when the sine of the angle between them is below this (updates of two images and "
        "more).",
        minimum=1e-9,
        maximum=1.0,
    )
    label_rule: str = label_rule_knob()


def reconstruct(
    observation: Observation,
    config: AnalyticConfig,
    *,
    seed: int,
    progress: Progress | None = None,
    targets: Sequence[int] | None = None,
) -> Reconstructions:
    """Read the images off the first layer, see `core.attacks.first_layer`; UserError for a model without such a one."""
    from core.attacks.first_layer import read_images

    return read_images("analytic", observation, config, seed=seed, progress=progress, targets=targets)


ANALYTIC = Attack(
    name="analytic",
    title="Analytic",
    summary="Divides the image out of the gradient of a first fully connected layer with a bias: exact for one image, "
    "and in a batch for every image that has a unit to itself. Needs a model whose first layer is linear (mlp).",
    source=SOURCE,
    config=AnalyticConfig(),
    reconstruct=reconstruct,
    max_batch=128,
    family="analytic",
    controls=("mismatched",),
    effort="",
)

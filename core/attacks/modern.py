"""The "modern" recipe of the breaching library: patterned start, soft sign, colour variation. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from core.attacks import recipe
from core.attacks.base import Attack
from core.attacks.label_rules import label_rule_knob
from core.attacks.speed import precision_knob

SOURCE = (
    "The modern attack of the breaching library (J. Geiping and others), after Geiping et al. 2020, arXiv 2003.14053"
)


@dataclass(frozen=True)
class ModernConfig:
    """1 − cosine + total variation of colours and their differences, from a repeated tile, by Adam on a soft sign."""

    restarts: int = recipe.restarts_knob()
    steps: int = recipe.steps_knob(24_000)
    lr: float = recipe.lr_knob()
    cost: str = recipe.cost_knob("cosine")
    matching: float = recipe.matching_knob()
    sign: str = recipe.sign_knob("soft")
    schedule: str = recipe.schedule_knob("cosine")
    warm_up: int = recipe.warm_up_knob(50)
    boxed: bool = recipe.boxed_knob()
    keep: str = recipe.keep_knob("best")
    langevin: float = recipe.langevin_knob(0.0)
    total_variation: float = recipe.total_variation_knob(0.1)
    variation: str = recipe.variation_knob("opponents")
    start: str = recipe.start_knob("tiles")
    tile: int = recipe.tile_knob(4)
    patience: int = recipe.patience_knob()
    gain: float = recipe.gain_knob()
    label_rule: str = label_rule_knob()
    precision: str = precision_knob()


def _preset(name: str, title: str, summary: str, config: ModernConfig) -> Attack:
    return Attack(name, title, summary, SOURCE, config, recipe.descending(name), max_batch=128)


MODERN = _preset(
    "modern",
    "Modern recipe",
    "Inverting Gradients with a repeated tile to start from, a soft sign and a variation that keeps colours together, "
    "in a number of steps that a CPU finishes on small models.",
    ModernConfig(steps=800, total_variation=1e-3),
)
MODERN_LONG = _preset(
    "modern-long",
    "Modern recipe, at full length",
    "The settings of breaching's modern attack: 24,000 steps, total variation .1 with double opponents. Meant for "
    "a GPU.",
    ModernConfig(),
)

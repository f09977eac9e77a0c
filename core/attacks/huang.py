"""Huang et al.'s variant of Inverting Gradients with BatchNorm statistics. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from core.attacks import recipe
from core.attacks.base import Attack
from core.attacks.label_rules import label_rule_knob
from core.attacks.speed import precision_knob

SOURCE = "Huang et al. 2021, Evaluating Gradient Inversion Attacks and Defenses, arXiv 2112.00059"


@dataclass(frozen=True)
class HuangConfig:
    """1 − cosine of all gradients together + total variation + BatchNorm statistics, by signed Adam."""

    restarts: int = recipe.restarts_knob()
    steps: int = recipe.steps_knob(10_000)
    lr: float = recipe.lr_knob()
    cost: str = recipe.cost_knob("cosine")
    matching: float = recipe.matching_knob()
    sign: str = recipe.sign_knob("hard")
    schedule: str = recipe.schedule_knob("steps")
    boxed: bool = recipe.boxed_knob()
    keep: str = recipe.keep_knob("best")
    total_variation: float = recipe.total_variation_knob(0.052)
    batchnorm: float = recipe.batchnorm_knob(1.6e-4)
    first_layer: float = recipe.first_layer_knob(1.0)
    statistics: str = recipe.statistics_knob()
    start: str = recipe.start_knob("normal")
    tile: int = recipe.tile_knob(4)
    patience: int = recipe.patience_knob()
    gain: float = recipe.gain_knob()
    label_rule: str = label_rule_knob()
    precision: str = precision_knob()


def _preset(name: str, title: str, summary: str, config: HuangConfig) -> Attack:
    return Attack(name, title, summary, SOURCE, config, recipe.descending(name), max_batch=128)


HUANG = _preset(
    "huang-bn",
    "Inverting Gradients with BatchNorm statistics",
    "Inverting Gradients, held to the statistics of the private batch where they are granted, else to the model's, in "
    "a number of steps that a CPU finishes on small models. Needs a model with BatchNorm.",
    HuangConfig(steps=800, total_variation=1e-3),
)
HUANG_PAPER = _preset(
    "huang-bn-paper",
    "Inverting Gradients with BatchNorm statistics, as in the paper",
    "The settings of Huang et al. on CIFAR-10: 10,000 signed Adam steps, total variation .052, BatchNorm prior 1.6e-4. "
    "Needs a model with BatchNorm; meant for a GPU.",
    HuangConfig(),
)

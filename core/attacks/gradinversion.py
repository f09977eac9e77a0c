"""GradInversion: match gradients and BatchNorm statistics, and let several starts agree. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from core.attacks import recipe
from core.attacks.base import Attack
from core.attacks.label_rules import label_rule_knob
from core.attacks.speed import precision_knob

SOURCE = "Yin et al. 2021, See through Gradients, arXiv 2104.07586"


@dataclass(frozen=True)
class GradInversionConfig:
    """Norms of the gradients' differences + BatchNorm, TV and L2 priors + group consistency, by Adam with noise."""

    restarts: int = recipe.restarts_knob(4)
    steps: int = recipe.steps_knob(20_000)
    lr: float = recipe.lr_knob()
    cost: str = recipe.cost_knob("l2-layers")
    matching: float = recipe.matching_knob(1e-3)
    sign: str = recipe.sign_knob("none")
    schedule: str = recipe.schedule_knob("cosine")
    warm_up: int = recipe.warm_up_knob(50)
    boxed: bool = recipe.boxed_knob()
    keep: str = recipe.keep_knob("best")
    langevin: float = recipe.langevin_knob(0.01)
    total_variation: float = recipe.total_variation_knob(1e-4)
    norm: float = recipe.norm_knob(1e-6)
    batchnorm: float = recipe.batchnorm_knob(0.1)
    first_layer: float = recipe.first_layer_knob(10.0)
    statistics: str = recipe.statistics_knob()
    consistency: float = recipe.consistency_knob(0.01)
    consistency_from: float = recipe.consistency_from_knob()
    shift: int = recipe.shift_knob(2)
    start: str = recipe.start_knob("normal")
    tile: int = recipe.tile_knob(4)
    patience: int = recipe.patience_knob()
    gain: float = recipe.gain_knob()
    label_rule: str = label_rule_knob("yin")
    precision: str = precision_knob()


def _preset(name: str, title: str, summary: str, config: GradInversionConfig) -> Attack:
    return Attack(name, title, summary, SOURCE, config, recipe.descending(name), max_batch=128)


GRADINVERSION = _preset(
    "gradinversion",
    "GradInversion",
    "Matches the gradient's direction and the BatchNorm statistics, and pulls two starts to their mean, in a "
    "number of steps that a CPU finishes on small models. Needs a model with BatchNorm, trained, or batchnorm=0.",
    GradInversionConfig(
        restarts=2, steps=800, cost="cosine", matching=1.0, sign="hard", batchnorm=1e-3, first_layer=1.0
    ),
)
GRADINVERSION_PAPER = _preset(
    "gradinversion-paper",
    "GradInversion, as in the paper",
    "The paper's settings: 20,000 steps of Adam with warm-up, cosine decay and noise, BatchNorm, TV and L2 priors, "
    "four starts in agreement, labels by Yin's rule. Needs a trained model with BatchNorm; meant for a GPU.",
    GradInversionConfig(),
)

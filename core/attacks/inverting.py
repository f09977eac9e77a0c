"""Inverting Gradients: match the direction of the gradient, prefer smooth images. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from core.attacks import recipe
from core.attacks.base import Attack
from core.attacks.label_rules import label_rule_knob
from core.attacks.speed import precision_knob
from core.knobs import knob

SOURCE = "Geiping et al. 2020, Inverting Gradients, arXiv 2003.14053; settings of arXiv 2309.13038's code"


@dataclass(frozen=True)
class InvertingConfig:
    """1 − cosine of all gradients together + total variation, by Adam on the sign of the image's gradient."""

    restarts: int = recipe.restarts_knob()
    steps: int = recipe.steps_knob(8000)
    lr: float = recipe.lr_knob()
    cost: str = recipe.cost_knob("cosine")
    decay: bool = knob(True, "Divide the step size by 10 after 3/8, 5/8 and 7/8 of the steps.")
    signed: bool = knob(True, "Give Adam only the sign of the image's gradient.")
    boxed: bool = recipe.boxed_knob()
    total_variation: float = recipe.total_variation_knob(1e-4)
    start: str = recipe.start_knob("normal")
    tile: int = recipe.tile_knob(4)
    patience: int = recipe.patience_knob()
    gain: float = recipe.gain_knob()
    label_rule: str = label_rule_knob()
    precision: str = precision_knob()
    matching: float = recipe.matching_knob()


def _preset(name: str, title: str, summary: str, config: InvertingConfig) -> Attack:
    return Attack(name, title, summary, SOURCE, config, recipe.descending(name), max_batch=128)


INVERTING = _preset(
    "inverting-gradients",
    "Inverting Gradients",
    "Searches for a smooth image whose gradient points the same way as the shared one, in a tenth of the paper's "
    "steps so that small models take minutes on a CPU. Labels are granted, or inferred from the last layer.",
    InvertingConfig(steps=800),
)
INVERTING_PAPER = _preset(
    "inverting-gradients-paper",
    "Inverting Gradients, as in the paper",
    "The settings of the study's code for 32 pixels: 8,000 signed Adam steps, total variation 1e-4, one start. Labels "
    "are granted, or inferred from the last layer.",
    InvertingConfig(),
)
INVERTING_LARGE = _preset(
    "inverting-gradients-large",
    "Inverting Gradients, larger images",
    "The settings of the study's code for 64 pixels and more: 12,000 steps and total variation 1e-2. Meant for a GPU.",
    InvertingConfig(steps=12_000, total_variation=1e-2),
)

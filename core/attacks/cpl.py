"""CPL and SAPAG: two other distances between gradients, in one attack. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from core.attacks import recipe
from core.attacks.base import Attack, Progress, Reconstructions
from core.attacks.label_rules import label_rule_knob
from core.attacks.speed import precision_knob
from core.knobs import knob

if TYPE_CHECKING:
    from core.leakage.observation import Observation

SOURCE = (
    "Wei et al. 2020, A Framework for Evaluating Gradient Leakage Attacks (CPL), arXiv 2004.10397; Wang et al. 2020, "
    "SAPAG, arXiv 2009.06228"
)


@dataclass(frozen=True)
class CplSapagConfig:
    """CPL: squared gradient difference + fit of the labels. SAPAG: Gaussian kernel of each parameter's difference."""

    restarts: int = recipe.restarts_knob(2)
    steps: int = recipe.steps_knob(1000)
    lr: float = recipe.lr_knob(0.05)
    cost: str = knob(
        "cpl",
        "cpl: Σ (g − g*)² with the label fit; sapag: mean over parameters of 1 − exp(−mean (g − g*)² / σ²), σ² the "
        "variance of that parameter's shared gradient, without the label fit.",
        choices=("cpl", "sapag"),
    )
    matching: float = recipe.matching_knob()
    label_fit: float = knob(
        1e-3,
        "cpl only: weight of ‖softmax(f(x)) − y‖², which asks that the model predicts the label.",
        minimum=0.0,
        maximum=1000.0,
    )
    sign: str = recipe.sign_knob("hard")
    schedule: str = recipe.schedule_knob("cosine")
    boxed: bool = recipe.boxed_knob()
    keep: str = recipe.keep_knob("best")
    total_variation: float = recipe.total_variation_knob(0.0)
    start: str = recipe.start_knob("tiles")
    tile: int = recipe.tile_knob(0)
    patience: int = recipe.patience_knob()
    gain: float = recipe.gain_knob()
    label_rule: str = label_rule_knob("idlg")
    precision: str = precision_knob()


def reconstruct(
    observation: Observation,
    config: CplSapagConfig,
    *,
    seed: int,
    progress: Progress | None = None,
    targets: Sequence[int] | None = None,
) -> Reconstructions:
    """Descend, see `core.attacks.descent`."""
    from core.attacks.descent import descend

    asked = replace(config, cost="l2") if config.cost == "cpl" else replace(config, label_fit=0.0)
    return descend("cpl-sapag", observation, asked, seed=seed, progress=progress, targets=targets)


CPL_SAPAG = Attack(
    name="cpl-sapag",
    title="CPL / SAPAG",
    summary="Matches the gradient by CPL's distance, with the model's prediction held to the label, or by SAPAG's "
    "Gaussian kernel of each layer. Starts from a tile repeated over the picture.",
    source=SOURCE,
    config=CplSapagConfig(),
    reconstruct=reconstruct,
    max_batch=128,
)

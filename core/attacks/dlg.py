"""DLG: find the image, and where it is not granted the label, whose gradient is the shared one. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.attacks.base import Attack, Progress, Reconstructions
from core.knobs import knob

if TYPE_CHECKING:
    from core.leakage.observation import Observation

SOURCE = "Zhu, Liu and Han 2019, Deep Leakage from Gradients, arXiv 1906.08935"


@dataclass(frozen=True)
class SearchConfig:
    """L-BFGS as one would run it: restarts, a line search, and an end that its own loss decides."""

    restarts: int = knob(2, "Independent starts for each update; the lowest loss is kept.", minimum=1, maximum=64)
    iterations: int = knob(
        1000, "Most L-BFGS iterations for each update.", unit="iterations", minimum=1, maximum=100_000
    )
    trial: int = knob(
        20, "After so many iterations only the best restart of each update goes on.", unit="iterations", minimum=1
    )
    tolerance: float = knob(
        2e-8, "Solved when the squared gradient difference falls below this share of the gradient's.", minimum=0.0
    )
    stall: int = knob(
        100, "A restart that gains too little over so many iterations is given up.", unit="iterations", minimum=1
    )
    gain: float = knob(0.1, "The share of the loss that must be gained meanwhile.", minimum=0.0, maximum=1.0)
    history: int = knob(100, "Steps that L-BFGS remembers.", minimum=1, maximum=1000)
    start: str = knob("normal", "Distribution of the start's noise.", choices=("normal", "uniform"))
    spread: float = knob(0.01, "The noise is multiplied by this.", minimum=0.0, maximum=100.0)
    centre: float = knob(0.5, "And this is added; images lie in [0, 1].", minimum=-10.0, maximum=10.0)
    smooth: float = knob(
        0.75,
        "How much sooner coarse shapes are searched than fine ones: cosines are weighed by (1 + frequency) to minus "
        "this; 0 searches plain pixels.",
        minimum=0.0,
        maximum=3.0,
    )
    matching: float = knob(1.0, "Weight of the gradient match; 0 leaves the start alone, the control.", minimum=0.0)


@dataclass(frozen=True)
class DlgConfig(SearchConfig):
    """DLG over the practical search."""

    labels: str = knob(
        "observation",
        "Use granted labels if there are any (observation), or always find a soft label with the image (optimise).",
        choices=("observation", "optimise"),
    )


@dataclass(frozen=True)
class PaperSearchConfig:
    """L-BFGS as the paper's code runs it: no line search, no restart."""

    restarts: int = knob(1, "Independent starts for each update; the lowest loss is kept.", minimum=1, maximum=64)
    steps: int = knob(300, "Outer steps of L-BFGS.", unit="steps", minimum=1, maximum=100_000)
    evaluations: int = knob(20, "Most iterations within one outer step.", minimum=1, maximum=1000)
    lr: float = knob(1.0, "Length of a step, in quasi-Newton steps.", minimum=1e-6, maximum=10.0)
    history: int = knob(100, "Steps that L-BFGS remembers.", minimum=1, maximum=1000)
    start: str = knob("normal", "Distribution of the start.", choices=("normal", "uniform"))
    matching: float = knob(1.0, "Weight of the gradient match; 0 leaves the start alone, the control.", minimum=0.0)


@dataclass(frozen=True)
class PaperDlgConfig(PaperSearchConfig):
    """DLG over the paper's search; image and soft label are always found together."""


def reconstruct(
    observation: Observation,
    config: DlgConfig,
    *,
    seed: int,
    progress: Progress | None = None,
    targets: Sequence[int] | None = None,
) -> Reconstructions:
    """Match the update's gradient, see `core.attacks.matching`."""
    from core.attacks.matching import match

    return match("dlg", observation, config, seed=seed, progress=progress, targets=targets)


def reconstruct_paper(
    observation: Observation,
    config: PaperDlgConfig,
    *,
    seed: int,
    progress: Progress | None = None,
    targets: Sequence[int] | None = None,
) -> Reconstructions:
    """Match the update's gradient, see `core.attacks.matching`."""
    from core.attacks.matching import match_as_paper

    return match_as_paper("dlg-paper", observation, config, seed=seed, progress=progress, targets=targets)


DLG = Attack(
    name="dlg",
    title="DLG",
    summary="Searches for the image whose gradient equals the shared one, by L-BFGS with a line search, several starts "
    "and an end that its own loss decides. Assumes smooth activations and small batches.",
    source=SOURCE,
    config=DlgConfig(),
    effort="iterations",
    reconstruct=reconstruct,
)
DLG_PAPER = Attack(
    name="dlg-paper",
    title="DLG, as in the paper",
    summary="The paper's own settings: L-BFGS without a line search on image and soft label together, one start from "
    "N(0, 1). Diverges on some images, which its status says.",
    source=SOURCE,
    config=PaperDlgConfig(),
    reconstruct=reconstruct_paper,
)

"""Inverting Gradients: match the direction of the gradient, prefer smooth images. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.attacks.base import Attack, Progress, Reconstructions
from core.knobs import knob

if TYPE_CHECKING:
    from core.leakage.observation import Observation

SOURCE = "Geiping et al. 2020, Inverting Gradients, arXiv 2003.14053; settings of arXiv 2309.13038's code"


@dataclass(frozen=True)
class InvertingConfig:
    """1 − cosine of all gradients together + total variation, by Adam on the sign of the image's gradient."""

    restarts: int = knob(1, "Independent starts for each update; the lowest loss is kept.", minimum=1, maximum=64)
    steps: int = knob(8000, "Steps of Adam.", unit="steps", minimum=1, maximum=1_000_000)
    lr: float = knob(0.1, "First step size, in normalised pixel values.", minimum=1e-6, maximum=10.0)
    decay: bool = knob(True, "Divide the step size by 10 after 3/8, 5/8 and 7/8 of the steps.")
    signed: bool = knob(True, "Give Adam only the sign of the image's gradient.")
    boxed: bool = knob(True, "After every step, clamp to the values that an image can have.")
    total_variation: float = knob(1e-4, "Weight of the total variation, the prior.", minimum=0.0, maximum=1000.0)
    start: str = knob("normal", "Distribution of the start, in normalised space.", choices=("normal", "uniform"))
    matching: float = knob(1.0, "Weight of the gradient match; 0 leaves the prior alone, the control.", minimum=0.0)


def _reconstruct_as(name: str) -> object:
    def reconstruct(
        observation: Observation,
        config: InvertingConfig,
        *,
        seed: int,
        progress: Progress | None = None,
        targets: Sequence[int] | None = None,
    ) -> Reconstructions:
        """Descend, see `core.attacks.descent`."""
        from core.attacks.descent import descend

        return descend(name, observation, config, seed=seed, progress=progress, targets=targets)

    return reconstruct


def _preset(name: str, title: str, summary: str, config: InvertingConfig) -> Attack:
    return Attack(name, title, summary, SOURCE, config, _reconstruct_as(name))  # type: ignore[arg-type]


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

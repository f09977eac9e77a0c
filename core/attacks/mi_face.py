"""MI-Face: the picture of a class that the model is surest of, from the weights alone. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.attacks.base import Attack, Progress, Reconstructions
from core.attacks.speed import precision_knob
from core.knobs import knob

if TYPE_CHECKING:
    from core.leakage.observation import Observation

SOURCE = "Fredrikson, Jha and Ristenpart 2015, Model Inversion Attacks that Exploit Confidence Information, CCS"


@dataclass(frozen=True)
class MiFaceConfig:
    """Plain gradient descent on 1 − confidence in the class, from a grey picture, inside [0, 1]."""

    restarts: int = knob(
        1,
        "Starts for each picture; the lowest loss is kept. The first starts as chosen, each other with noise on it.",
        minimum=1,
        maximum=64,
    )
    steps: int = knob(10_000, "Most steps of gradient descent.", unit="steps", minimum=1, maximum=1_000_000)
    lr: float = knob(0.1, "Step size, in pixel values from 0 to 1.", minimum=1e-6, maximum=1000.0)
    confidence: float = knob(
        0.99,
        "A picture is done when the model is this sure of its class (total variation counts against it).",
        minimum=0,
        maximum=1,
    )
    patience: int = knob(100, "A picture without any gain in so many steps is done.", unit="steps", minimum=1)
    cost: str = knob(
        "confidence",
        "What falls: 1 − confidence (the paper's), or −log confidence, whose slope does not vanish where the model "
        "takes the class for impossible.",
        choices=("confidence", "log"),
    )
    start: str = knob("grey", "What the search starts from.", choices=("grey", "zeros", "noise"))
    total_variation: float = knob(
        0.0, "Weight of the total variation, for smoother pictures; the paper has none.", minimum=0.0, maximum=1000.0
    )
    matching: float = knob(1.0, "Weight of the class; 0 leaves the start and the prior, the control.", minimum=0.0)
    precision: str = precision_knob()


def _reconstruct(
    observation: Observation,
    config: MiFaceConfig,
    *,
    seed: int,
    progress: Progress | None = None,
    targets: Sequence[int] | None = None,
) -> Reconstructions:
    """Search, see `core.attacks.mi_face_search`."""
    from core.attacks.mi_face_search import MiFace
    from core.attacks.synthesis import synthesise

    return synthesise("mi-face", MiFace, observation, config, seed=seed, progress=progress, targets=targets)


MI_FACE = Attack(
    "mi-face",
    "MI-Face",
    "Changes a grey picture until the model is 99 % sure that it shows the class asked for. Needs the model alone, no "
    "update; what it makes is of a class, not of one original.",
    SOURCE,
    MiFaceConfig(),
    _reconstruct,
    max_batch=128,
    family="model only",
    updates=("none",),
)

"""DeepInversion: pictures of a class whose features have the statistics of the training set's. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.attacks.base import Attack, Progress, Reconstructions
from core.attacks.speed import precision_knob
from core.knobs import knob

if TYPE_CHECKING:
    from core.leakage.observation import Observation

SOURCE = "Yin et al. 2020, Dreaming to Distill, arXiv 1912.08795; the settings are those of its code for CIFAR-10"

DENIED = (
    "An attack on the model alone computes with BatchNorm's running statistics, and this threat model denies them; "
    "grant them, or choose a model without BatchNorm."
)
NO_BATCHNORM = (
    "DeepInversion matches BatchNorm's running statistics, and this model has none; choose a model with BatchNorm, or "
    "set batchnorm to 0 to go without that prior."
)


@dataclass(frozen=True)
class DeepInversionConfig:
    """Cross-entropy of the class + distance to BatchNorm's running statistics + total variation + L2, by Adam."""

    restarts: int = knob(1, "Independent starts for each update; the lowest loss is kept.", minimum=1, maximum=64)
    steps: int = knob(2000, "Steps of Adam.", unit="steps", minimum=1, maximum=1_000_000)
    companions: int = knob(
        3,
        "Further pictures that are made along with each target's, of the other classes in turn, and not kept: "
        "BatchNorm's statistics are of all classes. The paper makes 256 at once.",
        unit="pictures",
        minimum=0,
        maximum=255,
    )
    lr: float = knob(0.1, "First step size, in normalised pixel values.", minimum=1e-6, maximum=10.0)
    decay: bool = knob(True, "Let the step size fall to 0 along a half cosine; off keeps it, as the code does.")
    batchnorm: float = knob(
        1.0,
        "Weight of the distance between the pictures' feature statistics and BatchNorm's running ones; the paper tries "
        "1 to 100. 0 is the only way to attack a model without BatchNorm.",
        minimum=0.0,
        maximum=1e6,
    )
    first_layer: float = knob(1.0, "The first BatchNorm layer counts this many times.", minimum=0.0, maximum=1000.0)
    total_variation: float = knob(
        2.5e-5, "Weight of the norms of neighbours' differences, in 4 directions.", minimum=0.0, maximum=1000.0
    )
    l2: float = knob(1e-5, "Weight of the norm of the normalised pixels.", minimum=0.0, maximum=1000.0)
    jitter: int = knob(2, "Each step shifts the pictures by up to so many pixels.", unit="px", minimum=0, maximum=64)
    flip: bool = knob(False, "Mirror the pictures in every other step, by chance.")
    boxed: bool = knob(True, "After every step, clamp to the values that an image can have.")
    matching: float = knob(1.0, "Weight of the class; 0 leaves the priors alone, the control.", minimum=0.0)
    precision: str = precision_knob()


def _reconstruct(
    observation: Observation,
    config: DeepInversionConfig,
    *,
    seed: int,
    progress: Progress | None = None,
    targets: Sequence[int] | None = None,
) -> Reconstructions:
    """Search, see `core.attacks.deep_inversion_search`."""
    from core.attacks.deep_inversion_search import DeepInversion
    from core.attacks.synthesis import synthesise

    return synthesise(
        "deep-inversion", DeepInversion, observation, config, seed=seed, progress=progress, targets=targets
    )


DEEP_INVERSION = Attack(
    "deep-inversion",
    "DeepInversion",
    "Makes pictures of the classes asked for whose features have the mean and variance that BatchNorm keeps of the "
    "training set. Needs the model with its running statistics, no update; pictures of other classes are made along.",
    SOURCE,
    DeepInversionConfig(),
    _reconstruct,
    max_batch=128,
    family="model only",
    updates=("none",),
)

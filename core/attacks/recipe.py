"""What the descent of `core.attacks.descent` can do, and the knobs by which an attack offers it. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from core.attacks.base import Progress, Reconstructions
from core.knobs import knob

if TYPE_CHECKING:
    from core.leakage.observation import Observation

COSTS = ("cosine", "cosine-layers", "cosine-masked", "l2", "l2-layers", "l1", "l1-layers", "sapag")
SIGNS, SCHEDULES = ("hard", "soft", "none"), ("steps", "cosine", "none")
STARTS, STATISTICS = ("normal", "uniform", "grey", "tiles"), ("granted", "batch", "running")
NO_BATCHNORM = (
    "The BatchNorm prior needs a model with BatchNorm, and {} has none; set batchnorm=0 or choose another model."
)
NO_STATISTICS = (
    "The BatchNorm prior needs statistics, and neither the running ones nor the private batch's are granted; "
    "grant some, or set batchnorm=0."
)
NOT_THE_BATCHS = "The private batch's BatchNorm statistics are not granted; grant them, or set statistics=running."


@dataclass(frozen=True)
class Recipe:
    """All that the loop reads. An attack's config names the fields that its user may set; the rest stay as here."""

    restarts: int = 1
    steps: int = 1000
    lr: float = 0.1
    cost: str = "cosine"
    matching: float = 1.0
    sign: str = "hard"
    schedule: str = "steps"
    warm_up: int = 0
    boxed: bool = True
    keep: str = "last"
    langevin: float = 0.0
    total_variation: float = 0.0
    variation: str = "channels"
    norm: float = 0.0
    batchnorm: float = 0.0
    first_layer: float = 1.0
    statistics: str = "granted"
    label_fit: float = 0.0
    consistency: float = 0.0
    consistency_from: float = 0.1
    shift: int = 0
    start: str = "normal"
    tile: int = 4
    patience: int = 0
    gain: float = 0.01
    label_rule: str = "auto"
    precision: str = "auto"

    @staticmethod
    def of(config: Any) -> Recipe:
        """What this attack's config asks for; `signed` and `decay` are short for a hard sign and for the drops."""
        found = {one.name: getattr(config, one.name) for one in fields(Recipe) if hasattr(config, one.name)}
        if hasattr(config, "signed"):
            found["sign"] = "hard" if config.signed else "none"
        if hasattr(config, "decay"):
            found["schedule"] = "steps" if config.decay else "none"
        return Recipe(**found)


def descending(name: str) -> Callable[..., Reconstructions]:
    """The `reconstruct` of an attack called `name` whose config is a recipe."""

    def reconstruct(
        observation: Observation,
        config: Any,
        *,
        seed: int,
        progress: Progress | None = None,
        targets: Sequence[int] | None = None,
    ) -> Reconstructions:
        """Descend, see `core.attacks.descent`."""
        from core.attacks.descent import descend

        return descend(name, observation, config, seed=seed, progress=progress, targets=targets)

    return reconstruct


def restarts_knob(default: int = 1) -> Any:
    """`restarts: int`."""
    text = "Independent starts for each update; the best match of the gradient is kept."
    return knob(default, text, minimum=1, maximum=64)


def steps_knob(default: int) -> Any:
    """`steps: int`."""
    return knob(default, "Steps of Adam.", unit="steps", minimum=1, maximum=1_000_000)


def lr_knob(default: float = 0.1) -> Any:
    """`lr: float`."""
    return knob(default, "First step size, in normalised pixel values.", minimum=1e-6, maximum=10.0)


def cost_knob(default: str) -> Any:
    """`cost: str`."""
    text = (
        "How far two gradients are apart. cosine: 1 − cosine of all together (masked: where the shared one is above "
        "1e-6 only; layers: mean over parameters); l2: sum of squares (layers: sum of the parameters' norms); l1: sum "
        "of absolute differences (layers: sum of their means); sapag: Gaussian kernel of each parameter."
    )
    return knob(default, text, choices=COSTS)


def matching_knob(default: float = 1.0) -> Any:
    """`matching: float`."""
    return knob(default, "Weight of the gradient match; 0 leaves the prior alone, the control.", minimum=0.0)


def sign_knob(default: str) -> Any:
    """`sign: str`."""
    text = (
        "What Adam gets of the image's gradient: its sign (hard), tanh(s·g)/s with s falling from 1 to 0 over the run "
        "(soft), or all of it (none)."
    )
    return knob(default, text, choices=SIGNS)


def schedule_knob(default: str) -> Any:
    """`schedule: str`."""
    text = (
        "Step size over the run. steps: divided by 10 after 3/8, 5/8 and 7/8; cosine: half a cosine down to 0; none: "
        "constant."
    )
    return knob(default, text, choices=SCHEDULES)


def warm_up_knob(default: int = 0) -> Any:
    """`warm_up: int`."""
    return knob(default, "The step size rises from 0 over so many steps.", unit="steps", minimum=0, maximum=100_000)


def boxed_knob() -> Any:
    """`boxed: bool`."""
    return knob(True, "After every step, clamp to the values that an image can have.")


def keep_knob(default: str = "best") -> Any:
    """`keep: str`."""
    text = "Hand back the image of the lowest loss (best) or the one of the last step (last)."
    return knob(default, text, choices=("best", "last"))


def langevin_knob(default: float) -> Any:
    """`langevin: float`."""
    return knob(default, "Normal noise added after each step, as a share of the step size.", minimum=0.0, maximum=10.0)


def total_variation_knob(default: float) -> Any:
    """`total_variation: float`."""
    return knob(default, "Weight of the total variation, the prior.", minimum=0.0, maximum=1000.0)


def variation_knob(default: str = "channels") -> Any:
    """`variation: str`."""
    text = (
        "Total variation of each channel, |dx| + |dy| (channels), or of the channels and their differences, "
        "√(dx² + dy²) (opponents), which also keeps colours together."
    )
    return knob(default, text, choices=("channels", "opponents"))


def norm_knob(default: float) -> Any:
    """`norm: float`."""
    return knob(default, "Weight of the images' Euclidean norm in normalised space.", minimum=0.0, maximum=1000.0)


def batchnorm_knob(default: float) -> Any:
    """`batchnorm: float`."""
    text = (
        "Weight of the BatchNorm prior: the images' mean and variance in every BatchNorm layer against known ones. 0 "
        "for a model without BatchNorm."
    )
    return knob(default, text, minimum=0.0, maximum=1000.0)


def first_layer_knob(default: float) -> Any:
    """`first_layer: float`."""
    return knob(default, "The BatchNorm prior's first layer counts so many times.", minimum=0.0, maximum=1000.0)


def statistics_knob() -> Any:
    """`statistics: str`."""
    text = (
        "What the BatchNorm prior aims at: the private batch's statistics (batch), the model's running ones (running), "
        "or the private ones if they are granted, else the running ones (granted)."
    )
    return knob("granted", text, choices=STATISTICS)


def consistency_knob(default: float) -> Any:
    """`consistency: float`."""
    text = "Weight of the pull of an update's restarts to their registered mean; no effect on one restart."
    return knob(default, text, minimum=0.0, maximum=1000.0)


def consistency_from_knob(default: float = 0.1) -> Any:
    """`consistency_from: float`."""
    return knob(default, "The pull begins after this share of the steps.", minimum=0.0, maximum=1.0)


def shift_knob(default: int) -> Any:
    """`shift: int`."""
    text = "Restarts are registered to their mean by moves of at most so much up, down, left and right."
    return knob(default, text, unit="pixels", minimum=0, maximum=64)


def start_knob(default: str) -> Any:
    """`start: str`."""
    text = (
        "First image, in normalised space: N(0, 1) noise (normal), U(0, 1) noise (uniform), mid-grey (grey: then all "
        "restarts are alike), or a random square repeated (tiles)."
    )
    return knob(default, text, choices=STARTS)


def tile_knob(default: int) -> Any:
    """`tile: int`."""
    text = "Side of the square that `start: tiles` repeats; 0 takes half the picture's."
    return knob(default, text, unit="pixels", minimum=0, maximum=1024)


def patience_knob(default: int = 0) -> Any:
    """`patience: int`."""
    text = (
        "An image whose best loss gained less than `gain` over so many steps goes on with a tenth of its step size, "
        "and is done after the fourth time; 0 makes all steps."
    )
    return knob(default, text, unit="steps", minimum=0, maximum=1_000_000)


def gain_knob(default: float = 0.01) -> Any:
    """`gain: float`."""
    return knob(default, "Share of the best loss that must be gained within `patience`.", minimum=0.0, maximum=1.0)

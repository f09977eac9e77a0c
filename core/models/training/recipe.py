"""How a victim is trained, in words: the paper's recipe by default. Imports no torch: pages offer it from here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from core.knobs import changed, knob

OPTIMISERS = ("sgd", "adam", "adamw", "rmsprop", "adagrad")
SCHEDULES = ("step", "cosine", "linear", "one-cycle", "constant")
AUGMENTATIONS = ("none", "crop+flip")
DEFENCES = ("none", "gaussian", "prune", "dp-sgd")
PRECISIONS = ("fp32", "bf16", "fp16")
STARTS = ("drawn", "imagenet")


@dataclass(frozen=True)
class Recipe:
    """One way to train a victim. Defaults: the paper's code on CIFAR-100 (arXiv 2309.13038).

    A defence here acts during training only: it changes the weights, and with them the leak. One that acts on the
    update that is shared is part of the threat model instead (core.leakage.defences).
    """

    epochs: int = knob(200, "Passes over the training images.", minimum=1, maximum=10_000)
    batch_size: int = knob(64, "Images of a step; the expected number with DP-SGD.", minimum=1, maximum=65_536)
    optimiser: str = knob("sgd", "The optimiser.", choices=OPTIMISERS)
    learning_rate: float = knob(0.1, "Learning rate at the start.", minimum=0.0, maximum=100.0)
    momentum: float = knob(
        0.9, "Momentum (SGD, RMSprop); left as it is, it does nothing for the others.", minimum=0.0, maximum=0.9999
    )
    nesterov: bool = knob(True, "Nesterov's momentum (SGD); it does nothing for the others.")
    weight_decay: float = knob(5e-4, "Weight decay.", minimum=0.0, maximum=10.0)
    schedule: str = knob(
        "step",
        "How the learning rate falls; step: × 0.1 after ⌊T/2.667⌋, ⌊T/1.6⌋ and ⌊T/1.142⌋ of T epochs, as in the "
        "paper's code (74, 124 and 175 of 200).",
        choices=SCHEDULES,
    )
    warmup: float = knob(0.0, "Linear rise at the start, as a share of all steps.", minimum=0.0, maximum=0.5)
    label_smoothing: float = knob(0.0, "Share of the target that is spread over all classes.", minimum=0.0, maximum=0.9)
    mixup: float = knob(0.0, "Mixup's α: pairs of images are blended; 0 is none.", minimum=0.0, maximum=10.0)
    augment: str = knob("crop+flip", "Random crop after padding by an eighth, and mirroring.", choices=AUGMENTATIONS)
    policies: str = knob(
        "", "ATS policies such as 3-1-7+43-18-18: one is picked at random for each image; empty: none."
    )
    defence: str = knob("none", "Acts during training only.", choices=DEFENCES)
    noise: float = knob(1e-3, "gaussian: standard deviation added to every gradient.", minimum=0.0, maximum=100.0)
    prune: float = knob(
        0.7, "prune: share of each gradient tensor's smallest values set to zero.", minimum=0.0, maximum=0.999
    )
    dp_noise: float = knob(1.0, "dp-sgd: noise multiplier (noise / clipping norm).", minimum=0.0, maximum=1000.0)
    dp_norm: float = knob(1.0, "dp-sgd: each image's gradient is clipped to this norm.", minimum=1e-6, maximum=1e6)
    dp_delta: float = knob(1e-5, "dp-sgd: the δ at which ε is stated.", minimum=1e-12, maximum=0.1)
    precision: str = knob("fp32", "Arithmetic: fp32, or mixed with bf16 or fp16 (GPU).", choices=PRECISIONS)
    start: str = knob("drawn", "Weights at the start: drawn by the seed, or pretrained on ImageNet.", choices=STARTS)
    keep_epochs: str = knob(
        "", "Epochs whose weights are kept beside the last, such as 1,10,50: leakage changes along training."
    )
    seed: int = knob(
        0,
        "Seeds the order of the images, the augmentation and gaussian's noise; dp-sgd's is secret.",
        minimum=0,
        maximum=2**31 - 1,
    )

    @property
    def kept(self) -> tuple[int, ...]:
        """keep_epochs as numbers, in order, without the last epoch."""
        found = {int(part) for part in self.keep_epochs.replace(",", " ").split()}
        return tuple(sorted(found - {self.epochs}))

    def to_dict(self) -> dict[str, Any]:
        """Every field, for JSON."""
        return asdict(self)

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Recipe:
        """Rebuild what `to_dict` gave, or a part of it; raise UserError for an unknown field or a refused value."""
        return changed(Recipe(), values)  # type: ignore[no-any-return]


# The 7 recipes of the paper's CIFAR-100 study, by the names of its tables: × 2 victims = 14 settings.
PAPER_RECIPES: dict[str, Recipe] = {
    "none": Recipe(augment="none"),
    "crop+flip": Recipe(),
    "ats 3-1-7": Recipe(policies="3-1-7"),
    "ats 43-18-18": Recipe(policies="43-18-18"),
    "ats 3-1-7+43-18-18": Recipe(policies="3-1-7+43-18-18"),
    "prune 70 %": Recipe(defence="prune", prune=0.7),
    "gaussian 1e-3": Recipe(defence="gaussian", noise=1e-3),
}

"""Attacks on what FedAvg shares: the weights after several local steps. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.attacks import recipe
from core.attacks.base import Attack, Progress, Reconstructions
from core.attacks.label_rules import label_rule_knob
from core.attacks.speed import precision_knob
from core.knobs import knob

if TYPE_CHECKING:
    from core.leakage.observation import Observation

AGREEMENTS = ("mean", "max-conv")


@dataclass(frozen=True)
class SimulatedConfig:
    """1 − cosine of the simulated and the shared weight change + total variation + agreement of the epochs, by Adam."""

    restarts: int = knob(
        4,
        "Independent starts for each update, each with another made-up order of the labels in every local epoch; the "
        "best match is kept. Two labels in two steps have 2 orders an epoch: 8 in three epochs.",
        minimum=1,
        maximum=64,
    )
    steps: int = recipe.steps_knob(400)
    lr: float = recipe.lr_knob()
    cost: str = recipe.cost_knob("cosine")
    sign: str = recipe.sign_knob("none")
    schedule: str = recipe.schedule_knob("cosine")
    boxed: bool = recipe.boxed_knob()
    keep: str = recipe.keep_knob()
    total_variation: float = recipe.total_variation_knob(2e-4)
    own_images: bool = knob(
        True,
        "Search images of its own for every local epoch, so that of images of one label no order is assumed, and "
        "average them in the end, matched to each other; else one set of images, in a made-up order for every epoch.",
    )
    agreement: float = knob(
        1.0,
        "Weight of the prior that the epochs' images of a label are the same in another order. No effect on one epoch.",
        minimum=0.0,
        maximum=1e6,
    )
    agreement_of: str = knob(
        "mean",
        "What of an epoch's images of a label must agree, whatever their order: the mean image (mean), or the largest "
        "responses of 96 random 3×3 filters (max-conv; the paper's, over all labels, with a weight of 6.075).",
        choices=AGREEMENTS,
    )
    start: str = recipe.start_knob("normal")
    label_rule: str = label_rule_knob()
    precision: str = precision_knob()
    matching: float = knob(1.0, "Weight of the match; 0 leaves the priors alone, the control.", minimum=0.0)


@dataclass(frozen=True)
class SmeConfig:
    """1 − cosine of the gradient at a point between the sent and the returned weights + total variation, by Adam."""

    restarts: int = recipe.restarts_knob()
    steps: int = recipe.steps_knob(1000)
    lr: float = recipe.lr_knob(1.0)
    cost: str = recipe.cost_knob("cosine")
    sign: str = recipe.sign_knob("none")
    decay: bool = knob(True, "Divide both step sizes by 10 after 3/8, 5/8 and 7/8 of the steps.")
    boxed: bool = recipe.boxed_knob()
    total_variation: float = recipe.total_variation_knob(0.01)
    alpha: float = knob(
        0.5,
        "Where the surrogate model starts on the line from the sent (0) to the returned weights (1).",
        minimum=0.0,
        maximum=1.0,
    )
    alpha_lr: float = knob(
        0.001, "Step size of that place, which is learned with the images; 0 keeps it.", minimum=0.0, maximum=1.0
    )
    start: str = recipe.start_knob("normal")
    label_rule: str = label_rule_knob()
    precision: str = precision_knob()
    matching: float = recipe.matching_knob()


def reconstruct_simulated(
    observation: Observation,
    config: SimulatedConfig,
    *,
    seed: int,
    progress: Progress | None = None,
    targets: Sequence[int] | None = None,
) -> Reconstructions:
    """Train the made-up client, see `core.attacks.simulated`."""
    from core.attacks.simulated import simulate

    return simulate("fedavg-simulated", observation, config, seed=seed, progress=progress, targets=targets)


def reconstruct_sme(
    observation: Observation,
    config: SmeConfig,
    *,
    seed: int,
    progress: Progress | None = None,
    targets: Sequence[int] | None = None,
) -> Reconstructions:
    """Match at the surrogate model, see `core.attacks.surrogate`."""
    from core.attacks.surrogate import extend

    return extend("sme", observation, config, seed=seed, progress=progress, targets=targets)


SIMULATED = Attack(
    name="fedavg-simulated",
    title="Simulated local training",
    summary="Searches for images on which the client's whole local training, done step by step, ends in the weights "
    "that came back; nobody tells it the order of the steps. Assumes known epochs, local batch and learning rate.",
    source="Dimitrov et al. 2022, Data Leakage in Federated Averaging, arXiv 2206.12395; cost, step size and total "
    "variation of eth-sri/fedavg_leakage",
    config=SimulatedConfig(),
    reconstruct=reconstruct_simulated,
    max_batch=128,
    updates=("weights",),
)
SME = Attack(
    name="sme",
    title="Surrogate model extension",
    summary="Searches for images whose gradient, at a model that lies between the sent and the returned weights, "
    "points along the client's whole way; where it lies is learned. Assumes a local training that goes mostly one way.",
    source="Zhu, Yao and Blaschko 2023, Surrogate Model Extension (SME), arXiv 2306.00127; settings of "
    "JunyiZhu-AI/surrogate_model_extension",
    config=SmeConfig(),
    reconstruct=reconstruct_sme,
    max_batch=128,
    updates=("weights",),
)

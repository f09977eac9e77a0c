"""Imprint: a malicious server sends a layer that sorts the images of a batch into bins. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.attacks.base import Attack, Progress, Reconstructions
from core.attacks.label_rules import label_rule_knob
from core.knobs import knob

if TYPE_CHECKING:
    import torch

    from core.leakage.observation import Observation
    from core.models.spec import ModelSpec

SOURCE = "Fowl et al. 2022, Robbing the Fed, arXiv 2110.13057"


@dataclass(frozen=True)
class ImprintConfig:
    """The layer that the server puts in front of the model, and how its gradient is read."""

    bins: int = knob(
        256,
        "Bins of the malicious layer: more tell more images apart, and make the update larger.",
        minimum=2,
        maximum=4096,
    )
    centre: float = knob(
        0.45, "Mean brightness of pictures as the server expects it, public knowledge.", minimum=0.0, maximum=1.0
    )
    spread: float = knob(0.15, "And its standard deviation from picture to picture.", minimum=0.001, maximum=1.0)
    gain: float = knob(10.0, "How strongly the layer moves what the model behind it sees.", minimum=1e-6, maximum=1e6)
    least: float = knob(
        1e-7,
        "Bins whose bias gradient is below this share of the largest are empty: what is in them is rounding.",
        minimum=0.0,
        maximum=1.0,
    )
    label_rule: str = label_rule_knob()


def prepare(
    spec: ModelSpec, weights: Mapping[str, torch.Tensor], config: ImprintConfig, seed: int
) -> tuple[ModelSpec, dict[str, torch.Tensor]]:
    """The model that the server sends: the honest one behind an imprint layer. Nothing of the client is used."""
    from core.models.imprint import planted

    return planted(
        spec,
        weights,
        bins=config.bins,
        centre=config.centre,
        spread=config.spread,
        gain=config.gain,
        seed=seed,
    )


def reconstruct(
    observation: Observation,
    config: ImprintConfig,
    *,
    seed: int,
    progress: Progress | None = None,
    targets: Sequence[int] | None = None,
) -> Reconstructions:
    """Read each bin's image, see `core.attacks.bins`; UserError for a model that was not prepared."""
    from core.attacks.bins import read_bins

    return read_bins("imprint", observation, config, seed=seed, progress=progress, targets=targets)


IMPRINT = Attack(
    name="imprint",
    title="Imprint (malicious server)",
    summary="The server changes the model before it sends it: a layer in front sorts the images of a batch into bins "
    "by their brightness, and each image that is alone in its bin comes back exactly, in batches of up to 128.",
    source=SOURCE,
    config=ImprintConfig(),
    reconstruct=reconstruct,
    max_batch=128,
    family="malicious server",
    prepare=prepare,
    controls=("mismatched",),
    effort="bins",
)

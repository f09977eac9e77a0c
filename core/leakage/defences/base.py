"""The contract that every defence keeps. Imports no torch: pages list defences from here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    import torch

Place = Literal["victim's training", "input", "update"]


class OnPictures(Protocol):
    """An input defence: it changes the pictures before they become originals (8 bits), on the client's side."""

    def __call__(self, pictures: Sequence[np.ndarray], config: Any, rng: np.random.Generator) -> list[np.ndarray]:
        """(H, W, C) uint8 pictures of one update at the model's size -> as many of the same shape."""


class OnTargets(Protocol):
    """A defence on the labels of the victim's loss; the attacker who is told of it applies the same."""

    def __call__(self, targets: torch.Tensor, config: Any) -> torch.Tensor:
        """(…, B, K) class probabilities -> (…, B, K)."""


@dataclass(frozen=True)
class ClientStep:
    """What a defence on the update may look at, on the client's side: one update, before it is shared.

    gradients: parameter name -> tensor of the parameter's shape, averaged over the client's images. examples() gives
    the same for each image, name -> (B, *shape); it costs a backward an image. model: in the mode of the step.
    """

    gradients: dict[str, torch.Tensor]
    examples: Callable[[], dict[str, torch.Tensor]]
    model: torch.nn.Module
    images: torch.Tensor  # (B, C, H, W), normalised
    labels: torch.Tensor  # (B,)


class OnUpdate(Protocol):
    """A defence on the update: what is shared in place of the client's gradients."""

    def __call__(self, step: ClientStep, config: Any, generator: torch.Generator) -> dict[str, torch.Tensor]:
        """New gradients under the same names; the step's own are left as they are."""


class Adapt(Protocol):
    """What an attacker who is told of the defence does to both sides of its match."""

    def __call__(
        self, gradients: Sequence[torch.Tensor], observed: Sequence[torch.Tensor], config: Any
    ) -> tuple[Sequence[torch.Tensor], Sequence[torch.Tensor]]:
        """Lists of (P, *shape), differentiable in the first -> the two lists that are compared."""


@dataclass(frozen=True)
class Defence:
    """A registered defence; on_pictures and on_targets belong to the place `input`, on_update to `update`."""

    name: str
    title: str
    summary: str  # two sentences: what it does, what it costs
    source: str
    place: Place
    config: Any  # a frozen dataclass instance made of `core.knobs.knob` fields
    on_pictures: OnPictures | None = None
    on_targets: OnTargets | None = None
    on_update: OnUpdate | None = None
    adapt: Adapt | None = None  # None: knowing of it does not change the match
    adaptation: str = ""  # one sentence: what the adaptive attacker does with what it knows

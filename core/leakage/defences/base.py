"""The contract that every defence keeps. Imports no torch: pages list defences from here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    import torch

Place = Literal["victim's training", "input", "update"]


class OnPictures(Protocol):
    """An input defence: it changes the pictures before they become originals (8 bits), on the client's side."""

    def __call__(
        self, pictures: Sequence[np.ndarray], config: Any, draws: Sequence[np.random.Generator]
    ) -> list[np.ndarray]:
        """(H, W, C) uint8 pictures of one client's update, a generator for each -> as many of the same shape."""


class OnTargets(Protocol):
    """A defence on the labels of the victim's loss; the attacker who is told of it applies the same."""

    def __call__(self, targets: torch.Tensor, config: Any, *, clients: int, ordered: bool) -> torch.Tensor:
        """(…, B, K) class probabilities -> (…, B, K); clients share the B images evenly, one after the other.

        ordered: the rows are in the order of the client's images; if not, who is whose neighbour is not known.
        """


@dataclass(frozen=True)
class ClientStep:
    """What a defence on the update may look at, on the client's side: one client's update, before it is shared.

    gradients: parameter name -> tensor of the parameter's shape, averaged over the client's images; for FedAvg the
    weight difference (sent − returned) / (learning rate × local steps). model: in the mode of the step.
    """

    gradients: dict[str, torch.Tensor]
    model: torch.nn.Module
    images: torch.Tensor  # (B, C, H, W), normalised
    targets: torch.Tensor  # (B, K) class probabilities of the victim's loss


class OnUpdate(Protocol):
    """A defence on the update: what is shared in place of the client's gradients."""

    def __call__(self, step: ClientStep, config: Any, generator: torch.Generator) -> dict[str, torch.Tensor]:
        """New gradients under the same names; the step's own are left as they are. The generator is a CPU's."""


@dataclass(frozen=True)
class Match:
    """What an adaptive attacker knows of the match besides the two sides.

    zeros_kept: no later defence moves a zero, so that entries which the defence dropped are the observed zeros.
    """

    names: tuple[str, ...]  # of the tensors, in their order
    classes: int
    zeros_kept: bool


Sides = tuple[list["torch.Tensor"], list["torch.Tensor"]]


class Adapt(Protocol):
    """What an attacker who is told of the defence does to both sides of its match."""

    def __call__(self, ours: list[torch.Tensor], observed: list[torch.Tensor], config: Any, match: Match) -> Sides:
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
    keeps_zeros: bool = True  # an entry that is zero stays zero

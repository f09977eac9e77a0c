"""The adaptive attacker: what it does to its own labels and gradients, knowing the defences in use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from core.leakage.defences import DEFENCES, configure_defence
from core.leakage.defences.base import Defence, Match, Sides
from core.leakage.observation import Observation


@dataclass(frozen=True)
class Adaptation:
    """The deterministic part of the defences, in their order, for any number of problems at once."""

    steps: tuple[tuple[Defence, Any, Match], ...]  # with each defence's config
    clients: int
    ordered: bool  # the labels are known in the order of the client's images

    def targets(self, probabilities: Tensor) -> Tensor:
        """(Q, B, K) class probabilities -> those of the victim's loss."""
        for defence, config, _ in self.steps:
            if defence.on_targets is not None:
                probabilities = defence.on_targets(probabilities, config, clients=self.clients, ordered=self.ordered)
        return probabilities

    def compare(self, ours: Sequence[Tensor], observed: Sequence[Tensor]) -> Sides:
        """Lists of (Q, *shape), differentiable in the first -> the two sides of the match."""
        sides = list(ours), list(observed)
        for defence, config, match in self.steps:
            if defence.adapt is not None:
                sides = defence.adapt(*sides, config, match)
        return sides


def adapted(observation: Observation) -> Adaptation | None:
    """What the attacker's knowledge of the defences changes; None where it changes nothing.

    With several clients the shared update is a mean of defended ones: their common zeros are known, what only some of
    them dropped or clipped is not, and the match takes the mean as if it came from one client.
    """
    steps = []
    chosen = [(DEFENCES[one.name], configure_defence(one.name, one.settings)) for one in observation.defences]
    for place, (defence, config) in enumerate(chosen):
        if defence.adapt is not None or defence.on_targets is not None:
            later = [other for other, _ in chosen[place + 1 :] if other.on_update is not None]
            zeros_kept = all(other.keeps_zeros for other in later)
            match = Match(tuple(observation.gradients), observation.spec.num_classes, zeros_kept)
            steps.append((defence, config, match))
    if not steps:
        return None
    pair = observation.batch_size == 2 and observation.clients == 1  # each is the other's partner, in any order
    in_order = observation.update == "gradients" and observation.clients == 1  # else labels come sorted
    ordered = pair or (in_order and observation.labels is not None)
    return Adaptation(tuple(steps), observation.clients, ordered)

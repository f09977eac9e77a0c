"""Defences on the client's side, where the update is made: the labels of the loss, then the update itself."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from core.leakage.defences import DEFENCES, configure_defence
from core.leakage.defences.base import ClientStep
from core.leakage.local import noise_generator
from core.leakage.threat import ThreatModel


def soft_targets(labels: Tensor, threat: ThreatModel, classes: int, like: Tensor) -> Tensor:
    """(…, B) int64 -> (…, B, K) class probabilities of the victim's loss, in the dtype of `like`.

    The B images are those of the whole update in order, client by client; one-hot without a defence on the targets.
    """
    targets = torch.nn.functional.one_hot(labels, classes).to(like)
    for chosen in threat.defences:
        change = DEFENCES[chosen.name].on_targets
        if change is not None:
            config = configure_defence(chosen.name, chosen.settings)
            targets = change(targets, config, clients=threat.clients, ordered=True)
    return targets


def defended_update(
    step: ClientStep, threat: ThreatModel, *, seed: int, position: int, client: int
) -> dict[str, Tensor]:
    """What one client shares: its gradients after every defence on the update, in the order of the threat model.

    position: of the update in its job. What is drawn depends on (seed, position, client) alone, on the CPU,
    so that it is the same in every shard and on every machine. Raises UserError.
    """
    gradients = step.gradients
    generator = noise_generator(seed, position, client)
    for chosen in threat.defences:
        change = DEFENCES[chosen.name].on_update
        if change is not None:
            config = configure_defence(chosen.name, chosen.settings)
            gradients = change(replace(step, gradients=gradients), config, generator)
    return gradients

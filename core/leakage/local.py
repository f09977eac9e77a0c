"""One client's work: a single gradient for FedSGD, seeded local SGD for FedAvg."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from core.leakage.defences.base import ClientStep
from core.leakage.statistics import BatchStatistics
from core.leakage.threat import ThreatModel

State = dict[str, Tensor]
ORDER, NOISE = 1, 2  # keys of the two streams of a client's random numbers


@dataclass(frozen=True)
class Contribution:
    """What one client has before anything is shared.

    step: its gradients, and what a defence may look at. loss: () mean cross-entropy of its images with the weights that
    were sent. statistics: "LAYER.mean", "LAYER.var" -> (channels,) of its batches in train mode, the mean over its
    local steps; empty in eval mode.
    """

    step: ClientStep
    loss: Tensor
    statistics: State


def client_update(
    model: nn.Module,
    threat: ThreatModel,
    images: Tensor,
    targets: Tensor,
    *,
    orders: Sequence[np.ndarray],
) -> Contribution:
    """The update of one client from its b images, before defences on the update.

    model: as the server sent it, BatchNorm already in the threat model's mode; it is left as it was. images
    (b, C, H, W) normalised, targets (b, K) the class probabilities of the loss. orders: for each local epoch a
    permutation of the b images (FedAvg).

    FedSGD: the gradient of the mean cross-entropy of all b images. FedAvg: (sent − returned weights) / (lr × steps),
    after plain SGD. BatchNorm's running statistics change on the way, too; they are buffers, so they are in the shared
    update only by what is granted: `statistics` here.
    """
    sent = {name: p.detach() for name, p in model.named_parameters()}
    buffers = {name: b.clone() for name, b in model.named_buffers()}
    if threat.update == "gradients":
        orders = [np.arange(len(images))]
    size = threat.local_batch if threat.update == "weights" else len(images)
    weights, steps = sent, 0
    with BatchStatistics(model) as seen:
        for order in orders:
            for places in torch.split(torch.from_numpy(order).to(images.device), size):
                gradients, loss = _gradients(model, weights, buffers, images[places], targets[places])
                steps += 1
                if threat.update == "weights":
                    weights = {name: weight - threat.local_lr * gradients[name] for name, weight in weights.items()}
    if threat.update == "weights":
        gradients = {name: (sent[name] - weights[name]) / (threat.local_lr * steps) for name in sent}
        loss = _loss(model, sent, images, targets)
    return Contribution(ClientStep(gradients, model, images, targets), loss, seen.mean())


def stream(key: int, seed: int, position: int, client: int) -> np.random.SeedSequence:
    """A client's random numbers: from the job's seed, the update's position in it and the client alone.

    The key sets them apart from an attack's start, which is drawn from the same seed and position: the attacker's own
    draws tell nothing of the order or of the noise.
    """
    return np.random.SeedSequence([seed, position, client], spawn_key=(key,))


def shuffles(threat: ThreatModel, seed: int, position: int, client: int) -> list[np.ndarray]:
    """For each local epoch the order in which a client takes its images: permutations of (b,)."""
    source = np.random.default_rng(stream(ORDER, seed, position, client))
    return [source.permutation(threat.client_images) for _ in range(threat.local_epochs)]


def noise_generator(seed: int, position: int, client: int) -> torch.Generator:
    """A CPU generator for what a client's defences draw."""
    (number,) = stream(NOISE, seed, position, client).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(number) >> 1)


def _gradients(
    model: nn.Module, weights: State, buffers: State, images: Tensor, targets: Tensor
) -> tuple[State, Tensor]:
    """The gradient of the mean cross-entropy at `weights`, and that loss; `buffers` move on as in training."""
    with torch.enable_grad():
        parameters = {name: weight.detach().requires_grad_(True) for name, weight in weights.items()}
        loss = F.cross_entropy(functional_call(model, {**parameters, **buffers}, (images,)), targets)
        found = torch.autograd.grad(loss, list(parameters.values()), materialize_grads=True)
    return dict(zip(parameters, found, strict=True)), loss.detach()


def _loss(model: nn.Module, weights: State, images: Tensor, targets: Tensor) -> Tensor:
    with torch.no_grad():
        buffers = {name: b.clone() for name, b in model.named_buffers()}
        return F.cross_entropy(functional_call(model, {**weights, **buffers}, (images,)), targets)

"""Reading the bins of an imprint layer: differences of consecutive units give the images between their thresholds."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from core.attacks.base import Progress, Reconstructions
from core.attacks.first_layer import (
    GRID,
    SAME,
    Reading,
    finish,
    has,
    known_labels,
    nothing,
    off_grid,
    to_unit,
    unreadable,
)
from core.errors import UserError
from core.leakage.observation import Observation
from core.models.catalogue import IMPRINT

if TYPE_CHECKING:
    from core.attacks.imprint import ImprintConfig


def read_bins(
    name: str,
    observation: Observation,
    config: ImprintConfig,
    *,
    seed: int,
    progress: Progress | None,
    targets: Sequence[int] | None,
) -> Reconstructions:
    """The imprint attack: every update for itself. Raises UserError when the server sent an honest model."""
    began = time.monotonic()
    spec = observation.spec
    if spec.architecture != IMPRINT:
        raise UserError(
            "The imprint attack reads a layer that its server put in front of the model, and this update is of a model "
            "without one; run it as an attack, which prepares the model before the client's step."
        )
    labels = known_labels(observation, config.label_rule)
    weights, biases = observation.gradients["bins.weight"].double(), observation.gradients["bins.bias"].double()
    readings = [read_update(w, b, observation, config) for w, b in zip(weights, biases, strict=True)]
    changed = f"a changed model: {spec.arguments['bins']} bins in front of {spec.arguments['inner']}"
    return finish(name, observation, config, readings, labels, seed, progress, targets, began, {"server sent": changed})


def read_update(weight: Tensor, bias: Tensor, observation: Observation, config: ImprintConfig) -> Reading:
    """One update: gradients (k, D) and (k,) of the bins, in order of their thresholds."""
    if why := unreadable(weight, bias):
        return nothing(weight, observation.batch_size, why)
    edges = observation.weights["bins.bias"].double()
    order = edges.argsort(descending=True)  # thresholds rise as biases fall
    weight, bias = differences(weight[order]), differences(bias[order])
    full = (bias.abs() > config.least * bias.abs().max()).nonzero()[:, 0]
    images = to_unit(weight[full] / bias[full, None], observation)
    return choose(images, weight[full].square().sum(1), _in_bin(images, full, observation), observation.batch_size)


def differences(rows: Tensor) -> Tensor:
    """(k, …) -> (k, …): each row minus the next, the last as it is; what is left is of one bin alone."""
    return torch.cat([rows[:-1] - rows[1:], rows[-1:]])


def choose(images: Tensor, energy: Tensor, in_bin: Tensor, size: int) -> Reading:
    """B images of M bins by the update alone: first those on the grid of 8-bit values, which only an image alone in
    its bin is; then those whose brightness is that of their bin, as that of every average is; the stronger first. What
    is missing, because images shared a bin, is grey. The loss is the share of the gradient in bins not taken.
    """
    certain = off_grid(images) < GRID
    whole = images.clamp(-SAME, 1 + SAME).eq(images).all(1) & in_bin
    rank = certain.int() * 2 + (whole & ~certain).int()
    places: list[int] = []
    for place in sorted(range(len(images)), key=lambda i: (-int(rank[i]), -float(energy[i]))):
        if len(places) < size and not has(images, places, place):
            places.append(place)
    exact = int(certain[places].sum())
    grey = images.new_full((size - len(places), images.shape[1]), 0.5)
    loss = 1 - float(energy[places].sum() / energy.sum())
    status = "ok" if exact == size else f"{exact} of {size} images read exactly; the others shared a bin"
    return Reading(torch.cat([images[places], grey]), exact, max(0.0, loss), status)


def _in_bin(images: Tensor, places: Tensor, observation: Observation) -> Tensor:
    """(M,) bool: whether an image's mean brightness lies between its bin's thresholds, within an 8-bit step."""
    spec = observation.spec
    edges = (sum(spec.mean) / spec.channels - observation.weights["bins.bias"].double()).sort().values
    upper = torch.cat([edges[1:], edges.new_ones(1)])
    bright = images.mean(1)
    return (bright > edges[places] - SAME) & (bright < upper[places] + SAME)

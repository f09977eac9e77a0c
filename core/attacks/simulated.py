"""The loop behind simulated local training: a made-up client trains as the real one did, and must end where it did."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from core.attacks import engine
from core.attacks.base import Progress, Reconstructions
from core.attacks.descent import Descent, drive
from core.attacks.fedavg import SimulatedConfig
from core.attacks.gradients import Field, frozen_copy
from core.attacks.labels import recover_labels
from core.attacks.own_weights import GradientOf, One, per_problem
from core.attacks.recipe import Recipe
from core.attacks.starts import first_images
from core.errors import UserError
from core.leakage.observation import LocalTraining, Observation

SLOTS = 3  # key of the stream that deals labels to slots; apart from the client's own order
FILTERS = 96


def simulate(
    name: str,
    observation: Observation,
    config: SimulatedConfig,
    *,
    seed: int,
    progress: Progress | None,
    targets: Sequence[int] | None,
) -> Reconstructions:
    """Run all steps for all problems; of several epochs' images the matched mean is handed back."""
    began = time.monotonic()
    local = local_training(observation)
    positions = engine.global_targets(observation, targets)
    copies = local.epochs if config.own_images else 1
    problems = engine.set_up(
        observation,
        config.restarts,
        precision=config.precision,
        steps=config.steps,
        make_field=field_maker(local, observation.clients, copies),
        copies=copies,
    )
    labels = observation.labels
    if labels is None:
        labels = recover_labels(observation, config.label_rule)
    descent = EpochDescent(problems, config, labels, slots(problems, seed, positions))
    descent.begin(first_images(problems, descent.recipe, seed, positions))
    reporter = engine.Reporter(progress, name, engine.identity(name, observation, config, seed, positions))
    found = drive(descent, reporter, labels, began)
    return replace(found, labels=descent.labels.reshape(found.labels.shape).cpu().numpy())


def local_training(observation: Observation) -> LocalTraining:
    """What is known of the clients; UserError for an update that is none of FedAvg."""
    if observation.local is None:
        raise UserError("This attack needs new weights (FedAvg), and here the client shares something else.")
    return observation.local


def field_maker(local: LocalTraining, clients: int, copies: int) -> Callable[..., Field]:
    """What `engine.set_up` calls for the shared mean gradient of made-up images; see `trained`."""

    def make(model: nn.Module, names: Sequence[str], batchnorm: Any, shape: tuple[int, ...], classes: int) -> Field:
        frozen = frozen_copy(model, batchnorm)
        few, some = min(clients, 2), _shorter(local, shape[0] // clients)
        images = few * some.batch * (some.steps // some.epochs)
        searched = images * (some.epochs if copies > 1 else 1)
        draw = torch.Generator().manual_seed(0)
        example = [
            torch.randn(2, searched, *shape[1:], generator=draw, dtype=torch.float64),
            torch.randn(2, images, classes, generator=draw, dtype=torch.float64).softmax(-1),
        ]
        device = next(model.parameters()).device
        form, path = per_problem(
            lambda module, gradient: trained(module, gradient, names, local, clients),
            frozen,
            [tensor.to(device) for tensor in example],
            lambda module, gradient: trained(module, gradient, names, some, few),
        )

        def evaluate(images: Tensor, targets: Tensor) -> tuple[list[Tensor], Tensor]:
            return form(images, targets), images.new_full((len(images),), torch.nan)  # no loss of a single model

        return Field(evaluate, tuple(names), f"{path}; {local.steps} local steps of {clients} client(s) unrolled")

    return make


def _shorter(local: LocalTraining, images: int) -> LocalTraining:
    """At most two epochs of two steps of two images: enough to meet every layer with moved weights."""
    batch, epochs = min(local.batch, 2), min(local.epochs, 2)
    return LocalTraining(epochs, batch, local.lr, epochs * (2 if images > local.batch else 1))


def trained(model: nn.Module, gradient: GradientOf, names: Sequence[str], local: LocalTraining, clients: int) -> One:
    """The function (images (S, C, H, W) normalised, targets (B, K)) -> mean gradient along the clients' way, by name.

    Client c has the slots c·b … (c+1)·b − 1 of B, b = B / clients, and takes them in that order, `batch` a step, in
    every epoch. S is B, or epochs × B: then epoch e trains on images e·B … (e+1)·B − 1. The mean of the steps'
    gradients is (sent − returned) / (lr × steps).
    """
    sent: dict[str, Tensor] = {name: parameter for name, parameter in model.named_parameters() if name in set(names)}

    def one(images: Tensor, targets: Tensor) -> list[Tensor]:
        epochs = images.reshape(-1, len(targets), *images.shape[1:])
        size = len(targets) // clients
        total = {name: torch.zeros_like(sent[name]) for name in names}
        for first in range(0, len(targets), size):
            weights = sent
            for epoch in range(local.epochs):
                for start in range(first, first + size, local.batch):
                    part = slice(start, min(start + local.batch, first + size))
                    found = gradient(weights, epochs[epoch % len(epochs)][part], targets[part])
                    weights = {name: weights[name] - local.lr * found[name] for name in names}
                    total = {name: total[name] + found[name] for name in names}
        return [total[name] / (local.steps * clients) for name in names]

    return one


def slots(problems: engine.Problems, seed: int, positions: Sequence[int]) -> Tensor:
    """(P, B): which of an update's sorted labels each slot of the simulated training gets, drawn for each restart."""
    size, rows = problems.observation.batch_size, []
    for position in positions:
        for restart in range(problems.restarts):
            source = np.random.default_rng(np.random.SeedSequence([seed, position, restart], spawn_key=(SLOTS,)))
            rows.append(source.permutation(size))
    return torch.from_numpy(np.stack(rows)).to(problems.observation.device)


class EpochDescent(Descent):
    """Adam on the images of every epoch, (P, copies · B, C, H, W), epoch by epoch; labels (N, B), places (P, B)."""

    def __init__(self, problems: engine.Problems, config: SimulatedConfig, labels: Tensor, places: Tensor) -> None:
        super().__init__(problems, Recipe.of(config), labels)
        self.config = config
        self.labels = labels[problems.owner].gather(1, places)  # (P, B), of the slots
        like = next(iter(problems.observation.gradients.values()))
        self.targets = engine.one_hot(self.labels, problems.observation.spec.num_classes, like)
        draw = torch.Generator().manual_seed(0)
        channels = problems.image_shape[1]
        filters = torch.randn(FILTERS, channels, 3, 3, generator=draw) / (9 * channels) ** 0.5
        self.filters = filters.to(like)

    def objective(self, images: Tensor, rows: Tensor) -> Tensor:
        """(Q,): match and total variation, and how far the epochs' images are from being one set."""
        cost = super().objective(images, rows)
        if self.problems.copies > 1 and self.config.agreement:
            cost = cost + self.config.agreement * self.disagreement(images)
        return cost

    def disagreement(self, images: Tensor) -> Tensor:
        """(Q, E · B, C, H, W) -> (Q,): mean squared difference between any two epochs of what does not depend on the
        order of an epoch's images. ≥ 0, 0 where the epochs are permutations of each other."""
        count, _, *image = images.shape
        epochs = images.reshape(count, self.problems.copies, -1, *image)  # (Q, E, B, C, H, W)
        if self.config.agreement_of == "mean":
            seen = epochs.mean(2)
        else:
            maps = F.conv2d(epochs.flatten(0, 2), self.filters, padding=1)
            seen = maps.reshape(*epochs.shape[:3], *maps.shape[1:]).amax(2)
        apart: Tensor = 2 * seen.var(1).flatten(1).mean(1)  # the mean over pairs is twice the unbiased variance
        return apart

    def unit_images(self) -> Tensor:
        """(P, B, C, H, W) on the [0, 1] scale: the mean over epochs, each matched to the first."""
        found = super().unit_images()
        copies, image = self.problems.copies, found.shape[2:]
        if copies == 1:
            return found
        return matched_mean(found.reshape(len(found), copies, -1, *image), self.labels)


def matched_mean(epochs: Tensor, labels: Tensor) -> Tensor:
    """(P, E, B, C, H, W), labels (P, B) of the places -> (P, B, C, H, W): every epoch's images are assigned to those of
    the first epoch, within their class, so that the summed squared difference is least; then the mean is taken."""
    rows = []
    for problem, classes in zip(epochs, labels, strict=True):
        total = problem[0].clone()
        for other in problem[1:]:
            cost = torch.cdist(problem[0].flatten(1).double(), other.flatten(1).double()).square()
            barred = classes[:, None] != classes[None, :]
            table = cost.nan_to_num(0.0, 0.0, 0.0).masked_fill(barred, float("inf")).cpu().numpy()
            _, chosen = linear_sum_assignment(table)
            total += other[torch.from_numpy(chosen).to(other.device)]
        rows.append(total / len(problem))
    return torch.stack(rows)

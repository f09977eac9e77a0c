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
from core.attacks.costs import COSTS
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
    """Run all steps for all problems; of several epochs' images the matched mean is handed back.

    Its labels are those of the first epoch's slots.
    """
    began = time.monotonic()
    local = local_training(observation)
    positions = engine.global_targets(observation, targets)
    copies = local.epochs if config.own_images else 1
    problems = engine.set_up(
        observation,
        config.restarts,
        precision=config.precision,
        steps=config.steps,
        make_field=field_maker(local, observation.clients),
        copies=copies,
    )
    labels = observation.labels
    if labels is None:
        labels = recover_labels(observation, config.label_rule)
    descent = EpochDescent(problems, config, labels, slots(problems, seed, positions))
    descent.begin(first_images(problems, descent.recipe, seed, positions))
    reporter = engine.Reporter(progress, name, engine.identity(name, observation, config, seed, positions))
    found = drive(descent, reporter, labels, began)
    return replace(found, labels=descent.labels[:, 0].reshape(found.labels.shape).cpu().numpy())


def local_training(observation: Observation) -> LocalTraining:
    """What is known of the clients; UserError for an update that is none of FedAvg."""
    if observation.local is None:
        raise UserError("This attack needs new weights (FedAvg), and here the client shares something else.")
    return observation.local


def field_maker(local: LocalTraining, clients: int) -> Callable[..., Field]:
    """What `engine.set_up` calls for the shared mean gradient of the images of every epoch; see `trained`."""

    def make(model: nn.Module, names: Sequence[str], batchnorm: Any, shape: tuple[int, ...], classes: int) -> Field:
        frozen = frozen_copy(model, batchnorm)
        few, some = min(clients, 2), _shorter(local, shape[0] // clients)
        images = few * some.batch * some.steps
        draw = torch.Generator().manual_seed(0)
        example = [
            torch.randn(2, images, *shape[1:], generator=draw, dtype=torch.float64),
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
    """The function (images (E · B, C, H, W) normalised, targets (E · B, K)) -> mean gradient of the way, by name.

    Epoch e has the slots e·B … (e+1)·B − 1; of them client c has b = B / clients from c·b on, and takes them in that
    order, `batch` a step. The mean of the steps' gradients is (sent − returned) / (lr × steps).
    """
    sent: dict[str, Tensor] = {name: parameter for name, parameter in model.named_parameters() if name in set(names)}

    def one(images: Tensor, targets: Tensor) -> list[Tensor]:
        size = len(targets) // (local.epochs * clients)
        total = {name: torch.zeros_like(sent[name]) for name in names}
        for client in range(clients):
            weights = sent
            for epoch in range(local.epochs):
                first = (epoch * clients + client) * size
                for start in range(first, first + size, local.batch):
                    part = slice(start, min(start + local.batch, first + size))
                    found = gradient(weights, images[part], targets[part])
                    weights = {name: weights[name] - local.lr * found[name] for name in names}
                    total = {name: total[name] + found[name] for name in names}
        return [total[name] / (local.steps * clients) for name in names]

    return one


def slots(problems: engine.Problems, seed: int, positions: Sequence[int]) -> Tensor:
    """(P, E · B): which of an update's sorted labels each slot of each epoch gets, drawn for each restart.

    The first epoch deals the labels to the clients, too; every later one deals each client's own labels anew.
    """
    observation = problems.observation
    own, rows = observation.batch_size // observation.clients, []
    for position in positions:
        for restart in range(problems.restarts):
            source = np.random.default_rng(np.random.SeedSequence([seed, position, restart], spawn_key=(SLOTS,)))
            epochs = [source.permutation(observation.batch_size).reshape(-1, own)]
            for _ in range(1, local_training(observation).epochs):
                epochs.append(source.permuted(epochs[0], axis=1))
            rows.append(np.stack(epochs).ravel())
    return torch.from_numpy(np.stack(rows)).to(observation.device)


class EpochDescent(Descent):
    """Adam on the images of every epoch, (P, copies · B, C, H, W), epoch by epoch.

    labels (N, B); places (P, E · B): which of them each slot of each epoch has, as `slots` deals them. With one set of
    images for all epochs (copies 1) each place is one image, and the set lies in the order of the first epoch.
    """

    def __init__(self, problems: engine.Problems, config: SimulatedConfig, labels: Tensor, places: Tensor) -> None:
        super().__init__(problems, Recipe.of(config), labels)
        self.config = config
        observation = problems.observation
        epochs = places.reshape(len(places), -1, observation.batch_size)  # (P, E, B)
        self.labels = labels[problems.owner].gather(1, places).reshape(epochs.shape)
        like, classes = next(iter(observation.gradients.values())), observation.spec.num_classes
        targets = engine.one_hot(self.labels, classes, like)
        if problems.adaptation is not None:
            targets = problems.adaptation.targets(targets.flatten(0, 1)).reshape(targets.shape)
        self.targets = targets.flatten(1, 2)  # (P, E · B, K)
        self.taken = None  # (P, E · B): the image of each slot, where there are not as many of them
        if problems.copies == 1 and epochs.shape[1] > 1:
            self.taken = epochs[:, 0].argsort(1).gather(1, places)
        self._compare_by_label(observation.clients, classes)
        draw = torch.Generator().manual_seed(0)
        channels = problems.image_shape[1]
        filters = torch.randn(FILTERS, channels, 3, 3, generator=draw) / (9 * channels) ** 0.5
        self.filters = filters.to(like)

    def _compare_by_label(self, clients: int, classes: int) -> None:
        """Which images of different epochs may be the same: those of one client and one label, a group."""
        size = self.labels.shape[2]
        client = torch.arange(size, device=self.labels.device) // (size // clients)
        self.groups = client * classes + self.labels  # (P, E, B)
        ranked = self.groups.sort(stable=True, dim=2)
        self.ranks = ranked.indices  # (P, E, B): an epoch's slots, group by group: the same groups in every epoch
        group = ranked.values[:, 0]
        together = group[:, :, None] == group[:, None, :]
        self.share = together.to(self.targets) / together.sum(2, keepdim=True)  # (P, B, B), to a group's mean
        self.heads = together.int().argmax(2)  # (P, B): the first of a group stands for it

    def match(self, images: Tensor, rows: Tensor) -> Tensor:
        """(Q,): distance of the simulated updates from the shared ones, both adapted to the defences."""
        problems = self.problems
        if self.taken is not None:
            images = torch.take_along_dim(images, self.taken[rows][:, :, None, None, None], 1)
        owner = problems.owner[rows]
        observed = [problems.observation.gradients[name][owner] for name in problems.field.names]
        ours, _ = problems.field.evaluate(images, self.targets[rows])
        if problems.adaptation is not None:
            ours, observed = problems.adaptation.compare(ours, observed)
        return COSTS[self.recipe.cost](ours, observed)

    def objective(self, images: Tensor, rows: Tensor) -> Tensor:
        """(Q,): match and total variation, and how far the epochs' images are from being one set."""
        cost = super().objective(images, rows)
        if self.problems.copies > 1 and self.config.agreement:
            cost = cost + self.config.agreement * self.disagreement(images, rows)
        return cost

    def disagreement(self, images: Tensor, rows: Tensor) -> Tensor:
        """(Q, E · B, C, H, W) -> (Q,): mean squared difference between any two epochs of the images of one label.

        Of a label that a client has several times, what does not depend on their order is compared: the mean image, or
        the largest response to each filter. ≥ 0, 0 where the epochs are permutations of each other within the labels.
        """
        count, _, *image = images.shape
        seen = images.reshape(count, self.problems.copies, -1, *image)  # (Q, E, B, C, H, W)
        if self.config.agreement_of == "max-conv":
            maps = F.conv2d(seen.flatten(0, 2), self.filters, padding=1)
            seen = maps.reshape(*seen.shape[:3], *maps.shape[1:])
        seen = torch.take_along_dim(seen, self.ranks[rows][..., None, None, None], 2)
        if self.config.agreement_of == "max-conv":
            heads = self.heads[rows][:, None, :, None, None, None].expand(seen.shape)
            seen = torch.zeros_like(seen).scatter_reduce(2, heads, seen, "amax", include_self=False).gather(2, heads)
        else:
            seen = torch.einsum("qij,qejchw->qeichw", self.share[rows], seen)
        apart: Tensor = 2 * seen.var(1).flatten(1).mean(1)  # the mean over pairs is twice the unbiased variance
        return apart

    def unit_images(self) -> Tensor:
        """(P, B, C, H, W) on the [0, 1] scale: the mean over epochs, each matched to the first."""
        found = super().unit_images()
        copies, image = self.problems.copies, found.shape[2:]
        if copies == 1:
            return found
        return matched_mean(found.reshape(len(found), copies, -1, *image), self.groups)


def matched_mean(epochs: Tensor, groups: Tensor) -> Tensor:
    """(P, E, B, C, H, W), groups (P, E, B) -> (P, B, C, H, W): the mean over epochs, in the order of the first.

    Every epoch's images are assigned to those of the first epoch, within their group (client and label), so that the
    summed squared difference is least."""
    rows = []
    for problem, group in zip(epochs, groups, strict=True):
        total = problem[0].clone()
        for other, theirs in zip(problem[1:], group[1:], strict=True):
            cost = torch.cdist(problem[0].flatten(1).double(), other.flatten(1).double()).square()
            barred = group[0][:, None] != theirs[None, :]
            table = cost.nan_to_num(0.0, 0.0, 0.0).masked_fill(barred, float("inf")).cpu().numpy()
            _, chosen = linear_sum_assignment(table)
            total += other[torch.from_numpy(chosen).to(other.device)]
        rows.append(total / len(problem))
    return torch.stack(rows)

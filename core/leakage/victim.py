"""The client's side: originals become updates, and what the threat model grants of them an Observation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from core.errors import UserError
from core.leakage.defences import check_defences
from core.leakage.defences.apply import defended_update, soft_targets
from core.leakage.local import Contribution, client_update, shuffles
from core.leakage.observation import LocalTraining, Observation
from core.leakage.statistics import batchnorm_mode, without_running_statistics
from core.leakage.threat import ThreatModel, check_threat
from core.models.catalogue import check_train_mode
from core.models.spec import ModelSpec

# The last layer's gradient is (1 - p of the true class) times its input: below this, the victim is 99.99 % sure of
# every image of the update, and what is left is close to the rounding of float32.
NEAR_ZERO_NORM = 1e-4


@dataclass(frozen=True)
class UpdateFacts:
    """What the auditor, not the attacker, is told of N updates.

    gradient_norm: (N,) Euclidean norm over all parameters together. loss: (N,) mean cross-entropy of the update's
    images. warnings: N sentences for the page, "" where there is nothing to say.
    """

    gradient_norm: np.ndarray
    loss: np.ndarray
    warnings: tuple[str, ...]


def observe(
    model: nn.Module,
    spec: ModelSpec,
    images: Tensor,
    labels: Tensor,
    threat: ThreatModel,
    *,
    seed: int = 0,
    positions: Sequence[int] | None = None,
) -> tuple[Observation, UpdateFacts]:
    """N independent shared updates, one for each row of images: FedSGD or FedAvg, of one client or the mean of several.

    images: (N, B, C, H, W) float in [0, 1], the 8-bit originals / 255. labels: (N, B) int64. They are normalised by
    spec.mean and spec.std here; client c has images c·b … (c+1)·b − 1 with b = B / clients. BatchNorm uses its running
    statistics (`eval`) or those of each local batch (`train`); the model, its buffers included, is left as it was. The
    running statistics that a FedAvg client returns are not shared: what is granted of them is `batch_statistics`.
    seed, positions (N,): of the job and of each update in it (by default 0 … N−1); they decide the order of local
    steps, which the observation does not hold. Runs on the model's device. Raises UserError.
    """
    _check(spec, images, labels, threat)
    weight = _first_weight(model)
    images, labels = normalise(images.to(weight), spec), labels.to(weight.device)
    targets = soft_targets(labels, threat, spec.num_classes, images)
    places = range(len(images)) if positions is None else positions
    updates = []
    with batchnorm_mode(model, threat.batchnorm):
        for position, batch, wanted in zip(places, images, targets, strict=True):
            updates.append(_mean_of_clients(model, threat, batch, wanted, seed, position))
    gradients = _stacked([update.step.gradients for update in updates])
    observation = replace(
        _without_update(model, spec, threat),
        gradients=gradients,
        labels=_granted(labels, threat) if threat.labels == "known" else None,
        local=_local(threat),
        statistics=_stacked([update.statistics for update in updates]) if threat.batch_statistics else {},
    )
    return observation, _facts(gradients, torch.stack([update.loss for update in updates]))


def observe_nothing(model: nn.Module, spec: ModelSpec, labels: Tensor, threat: ThreatModel) -> Observation:
    """What an attacker holds who has the model alone, and labels (N, B) int64: the classes that it wants images of."""
    if threat.update != "none":
        raise UserError("This client shares an update; a model-only attack needs a threat model that shares none.")
    check_threat(threat)
    _check_labels(spec, labels, threat)
    labels = labels.to(_first_weight(model).device).clone()
    return replace(_without_update(model, spec, threat), labels=labels)


def _first_weight(model: nn.Module) -> nn.Parameter:
    weight = next(model.parameters(), None)
    if weight is None:
        raise UserError("The model has no parameters, so there is nothing to train or to share; choose another model.")
    return weight


def _mean_of_clients(
    model: nn.Module, threat: ThreatModel, images: Tensor, targets: Tensor, seed: int, position: int
) -> Contribution:
    """What the clients of one update send, averaged: images (B, C, H, W) normalised, targets (B, K)."""
    size = threat.client_images
    found = []
    for client in range(threat.clients):
        own = slice(client * size, (client + 1) * size)
        orders = shuffles(threat, seed, position, client)
        one = client_update(model, threat, images[own], targets[own], orders=orders)
        shared = defended_update(one.step, threat, seed=seed, position=position, client=client)
        found.append(replace(one, step=replace(one.step, gradients=shared)))
    if len(found) == 1:
        return found[0]
    step = replace(found[0].step, gradients=_mean([one.step.gradients for one in found]))
    return Contribution(step, torch.stack([one.loss for one in found]).mean(), _mean([one.statistics for one in found]))


def _without_update(model: nn.Module, spec: ModelSpec, threat: ThreatModel) -> Observation:
    """The model as the attacker has it, and what the threat model says of the update."""
    state = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    return Observation(
        spec=spec,
        weights=state if threat.running_statistics else without_running_statistics(model, state),
        gradients={},
        batch_size=threat.batch_size,
        batchnorm=threat.batchnorm,
        labels=None,
        update=threat.update,
        clients=threat.clients,
        running_statistics=threat.running_statistics,
        defences=threat.defences if threat.adaptive else (),
    )


def _granted(labels: Tensor, threat: ThreatModel) -> Tensor:
    """Sorted where the order would tell which images shared a step or a client; a FedSGD batch has no order."""
    ordered = threat.update == "weights" or threat.clients > 1
    return labels.sort(dim=1).values if ordered else labels.clone()


def _local(threat: ThreatModel) -> LocalTraining | None:
    if threat.update != "weights":
        return None
    return LocalTraining(threat.local_epochs, threat.local_batch, float(threat.local_lr), threat.local_steps)


def _mean(rows: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: tensor.mean(0) for name, tensor in _stacked(rows).items()}


def _stacked(rows: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def normalise(images: Tensor, spec: ModelSpec) -> Tensor:
    """(…, C, H, W) in [0, 1] -> (x - mean) / std of each channel."""
    mean, std = (images.new_tensor(values)[:, None, None] for values in (spec.mean, spec.std))
    return (images - mean) / std


def _facts(gradients: dict[str, Tensor], losses: Tensor) -> UpdateFacts:
    squares = torch.stack([g.flatten(1).double().square().sum(1) for g in gradients.values()])
    norms = squares.sum(0).sqrt().cpu().numpy()
    return UpdateFacts(norms, losses.double().cpu().numpy(), tuple(_warning(norm) for norm in norms))


def _warning(norm: float) -> str:
    if not np.isfinite(norm):
        return "The gradient of this update is not finite, so no attack can match it; check the model's weights."
    if norm < NEAR_ZERO_NORM:
        return (
            f"The gradient of this update has a norm of only {norm:.1e} (below {NEAR_ZERO_NORM:g}): the model fits "
            "these images almost perfectly, and an attack that fails here does not show that they are safe."
        )
    return ""


def _check(spec: ModelSpec, images: Tensor, labels: Tensor, threat: ThreatModel) -> None:
    check_threat(threat)
    check_defences(threat, spec)
    if threat.update == "none":
        raise UserError("This client shares nothing but the model, so there is no update to observe.")
    if threat.batchnorm == "train":
        check_train_mode(spec, threat.least_batch)
    expected = (threat.batch_size, spec.channels, spec.height, spec.width)
    if images.ndim != 5 or images.shape[1:] != expected or images.shape[0] == 0:
        raise UserError(f"Expected images of the shape (N, {str(expected)[1:]}, got {tuple(images.shape)}.")
    if labels.shape != images.shape[:2]:
        raise UserError(
            f"Expected one whole-number label an image, {tuple(images.shape[:2])}, got {tuple(labels.shape)}."
        )
    _check_labels(spec, labels, threat)
    if not bool(((images >= 0) & (images <= 1)).all()):
        raise UserError("Expected images with values from 0 to 1: divide 8-bit images by 255.")


def _check_labels(spec: ModelSpec, labels: Tensor, threat: ThreatModel) -> None:
    if labels.ndim != 2 or labels.shape[1] != threat.batch_size or not len(labels) or labels.dtype != torch.int64:
        raise UserError(
            f"Expected whole-number labels of the shape (N, {threat.batch_size}), got {labels.dtype} of the shape "
            f"{tuple(labels.shape)}."
        )
    if int(labels.min()) < 0 or int(labels.max()) >= spec.num_classes:
        raise UserError(f"A label lies outside of the {spec.num_classes} classes of the model; correct the labels.")

"""The client's side: originals become updates, and what the threat model grants of them an Observation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from core.errors import UserError
from core.leakage.observation import Observation
from core.leakage.threat import ThreatModel
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
    model: nn.Module, spec: ModelSpec, images: Tensor, labels: Tensor, threat: ThreatModel
) -> tuple[Observation, UpdateFacts]:
    """N independent FedSGD updates, one for each row of images.

    images: (N, B, C, H, W) float in [0, 1], the 8-bit originals / 255. labels: (N, B) int64. They are normalised by
    spec.mean and spec.std here. BatchNorm uses its running statistics (`eval`) or those of each update's own batch
    (`train`); the model, its buffers included, is left as it was. Runs on the model's device. Raises UserError.
    """
    _check(spec, images, labels, threat)
    weight = next(model.parameters())
    images, labels = images.to(weight), labels.to(weight.device)
    names = [name for name, _ in model.named_parameters()]
    rows: list[tuple[Tensor, ...]] = []
    losses = []
    with _batchnorm_mode(model, threat.batchnorm), torch.enable_grad():
        for batch, classes in zip(normalise(images, spec), labels, strict=True):
            parameters = {name: p.detach().requires_grad_(True) for name, p in model.named_parameters()}
            buffers = {name: b.clone() for name, b in model.named_buffers()}
            loss = F.cross_entropy(functional_call(model, {**parameters, **buffers}, (batch,)), classes)
            rows.append(torch.autograd.grad(loss, list(parameters.values()), materialize_grads=True))
            losses.append(loss.detach())
    gradients = {name: torch.stack(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}
    observation = Observation(
        spec=spec,
        weights={name: tensor.detach().clone() for name, tensor in model.state_dict().items()},
        gradients=gradients,
        batch_size=threat.batch_size,
        batchnorm=threat.batchnorm,
        labels=labels.clone() if threat.labels == "known" else None,
    )
    return observation, _facts(gradients, torch.stack(losses))


def normalise(images: Tensor, spec: ModelSpec) -> Tensor:
    """(…, C, H, W) in [0, 1] -> (x - mean) / std of each channel."""
    mean, std = (images.new_tensor(values)[:, None, None] for values in (spec.mean, spec.std))
    return (images - mean) / std


@contextmanager
def _batchnorm_mode(model: nn.Module, mode: str) -> Iterator[None]:
    before = {layer: layer.training for layer in model.modules()}
    try:
        model.eval()
        for layer in before:
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                layer.train(mode == "train")
        yield
    finally:
        for layer, training in before.items():
            layer.training = training


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
    expected = (threat.batch_size, spec.channels, spec.height, spec.width)
    if images.ndim != 5 or images.shape[1:] != expected or images.shape[0] == 0:
        raise UserError(f"Expected images of the shape (N, {str(expected)[1:]}, got {tuple(images.shape)}.")
    if labels.shape != images.shape[:2] or labels.dtype != torch.int64:
        raise UserError(
            f"Expected one whole-number label an image, {tuple(images.shape[:2])}, got {tuple(labels.shape)}."
        )
    if int(labels.min()) < 0 or int(labels.max()) >= spec.num_classes:
        raise UserError(f"A label lies outside of the {spec.num_classes} classes of the model; correct the labels.")
    if not bool(((images >= 0) & (images <= 1)).all()):
        raise UserError("Expected images with values from 0 to 1: divide 8-bit images by 255.")

"""Train a small victim on 8-bit images: SGD with momentum and a cosine, flips and shifts.

The same seed on the same machine with the same number of threads gives the same weights.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from core.models.build import build_model
from core.models.spec import ModelSpec


@dataclass(frozen=True)
class TrainingConfig:
    """How a victim is trained; the defaults suit a few hundred 32×32 images."""

    epochs: int = 40
    batch_size: int = 20
    learning_rate: float = 0.05  # at the start; falls to 0 along a cosine
    momentum: float = 0.9  # Nesterov
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1  # keeps the loss of a learned image, and so its gradient, from vanishing
    shift: int = 2  # pixels, the largest random shift along each axis; the border is repeated
    flip: bool = True  # mirror half of the images
    seed: int = 0


def train(spec: ModelSpec, images: np.ndarray, labels: np.ndarray, config: TrainingConfig) -> dict[str, Tensor]:
    """Train from the spec's drawn weights; images (N, H, W, C) uint8, labels (N,) -> state dict in eval mode."""
    generator = torch.Generator().manual_seed(config.seed)
    model = build_model(spec).train()
    x, y = normalised(spec, images), torch.as_tensor(labels, dtype=torch.int64)
    optimiser = torch.optim.SGD(
        model.parameters(),
        lr=config.learning_rate,
        momentum=config.momentum,
        nesterov=config.momentum > 0,
        weight_decay=config.weight_decay,
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, config.epochs)
    for _ in range(config.epochs):
        for rows in torch.split(torch.randperm(len(y), generator=generator), config.batch_size):
            batch = _augment(x[rows], config, generator)
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(model(batch), y[rows], label_smoothing=config.label_smoothing)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        schedule.step()
    return {name: tensor.detach().clone() for name, tensor in model.eval().state_dict().items()}


def accuracy(spec: ModelSpec, weights: dict[str, Tensor], images: np.ndarray, labels: np.ndarray) -> float:
    """Share of images whose largest logit is their label, in [0, 1]."""
    with torch.no_grad():
        predicted = build_model(spec, weights)(normalised(spec, images)).argmax(dim=1)
    return float((predicted.numpy() == np.asarray(labels)).mean())


def normalised(spec: ModelSpec, images: np.ndarray) -> Tensor:
    """(N, H, W, C) uint8 -> (N, C, H, W) float32, divided by 255, then (x - mean) / std."""
    x = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).float() / 255
    mean, std = torch.tensor(spec.mean).view(-1, 1, 1), torch.tensor(spec.std).view(-1, 1, 1)
    return (x - mean) / std


def _augment(batch: Tensor, config: TrainingConfig, generator: torch.Generator) -> Tensor:
    """One flip for each image and one shift for the whole batch."""
    if config.flip:
        mirrored = torch.rand(len(batch), 1, 1, 1, generator=generator) < 0.5
        batch = torch.where(mirrored, batch.flip(-1), batch)
    if config.shift:
        height, width = batch.shape[-2:]
        down, right = torch.randint(2 * config.shift + 1, (2,), generator=generator).tolist()
        padded = nn.functional.pad(batch, [config.shift] * 4, mode="replicate")
        batch = padded[..., down : down + height, right : right + width]
    return batch

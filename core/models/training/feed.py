"""Batches of a training: images on the device as 8 bits, augmented batch by batch, then normalised.

Order, as in the paper's code: crop and flip, then the ATS policy, both on 8-bit pixels; then the normalisation; mixup
last. A policy that shifts by 45 % of the side so meets the picture after the small crop, and is never cropped back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from core.images.policies import parse
from core.models.spec import ModelSpec
from core.models.training import draws
from core.models.training.recipe import Recipe
from core.models.training.transform import transformed

PADDING_SHARE = 8  # the padding is the side divided by this: 4 at 32 pixels


@dataclass(frozen=True)
class Batch:
    """images (B, C, H, W) float32, normalised; labels (B,) int64. With mixup: λ, and the partners' labels."""

    images: Tensor
    labels: Tensor
    share: float = 1.0  # λ: of the image itself
    partners: Tensor | None = None


class Feed:
    """The training images on the device, and what a step makes of some of them."""

    def __init__(self, spec: ModelSpec, images: np.ndarray, labels: np.ndarray, recipe: Recipe, device: torch.device):
        self.recipe, self.device = recipe, device
        self.policies = parse(recipe.policies) if recipe.policies else []
        self._images = as_tensor(images).to(_home(images, device))
        self._labels = as_tensor(labels).to(device)
        self._pads = (spec.height // PADDING_SHARE, spec.width // PADDING_SHARE)
        self._mean = torch.tensor(spec.mean, device=device)
        self._std = torch.tensor(spec.std, device=device)

    def batch(self, rows: np.ndarray, step: int) -> Batch:
        """The images `rows` of the training set at this step (counted over all epochs)."""
        count, seed = len(rows), self.recipe.seed
        places = torch.from_numpy(rows)
        pixels = self._images[places.to(self._images.device, non_blocking=True)].to(self.device, non_blocking=True)
        if self.recipe.augment == "crop+flip":
            drawn = torch.from_numpy(draws.crops(seed, step, count, self._pads))
            pixels = crop_and_flip(pixels, drawn.to(self.device, non_blocking=True), self._pads)
        if self.policies:
            longest = max(map(len, self.policies))
            which, signs = draws.policy_draws(seed, step, count, len(self.policies), longest)
            pixels = transformed(pixels, self.policies, which, signs)
        images = self.normalised(pixels)
        labels = self._labels[places.to(self.device, non_blocking=True)]
        if self.recipe.mixup == 0 or not count:
            return Batch(images, labels)
        share, partner_rows = draws.mixup_draws(seed, step, count, self.recipe.mixup)
        partners = torch.from_numpy(partner_rows).to(self.device, non_blocking=True)
        return Batch(images.lerp(images[partners], 1 - share), labels, share, labels[partners])

    def normalised(self, pixels: Tensor) -> Tensor:
        """(B, H, W, C) uint8 on the device -> (B, C, H, W) float32 in memory order NHWC, divided by 255, normalised."""
        return pixels.float().div_(255).sub_(self._mean).div_(self._std).permute(0, 3, 1, 2)


def as_tensor(array: np.ndarray) -> Tensor:
    """A tensor on the array's memory, or on a copy where torch could not take it: strided, or not to be written."""
    return torch.from_numpy(np.require(array, requirements=("C", "W")))


def _home(images: np.ndarray, device: torch.device) -> torch.device:
    """Where the images stay: on the device, unless they would take half of a GPU's free memory."""
    if device.type == "cuda" and images.nbytes > torch.cuda.mem_get_info(device)[0] // 2:
        return torch.device("cpu")
    return device


def crop_and_flip(pixels: Tensor, drawn: Tensor, pads: tuple[int, int]) -> Tensor:
    """(B, H, W, C) uint8 padded with black, cropped to its size and mirrored, as `draws.crops` says for each image."""
    height, width = pixels.shape[1:3]
    padded = F.pad(pixels, (0, 0, pads[1], pads[1], pads[0], pads[0]))
    down, right, mirrored = drawn.unbind(1)
    rows = down[:, None] + torch.arange(height, device=pixels.device)
    columns = torch.arange(width, device=pixels.device).expand(len(pixels), -1)
    columns = right[:, None] + torch.where(mirrored[:, None] == 1, width - 1 - columns, columns)
    image = torch.arange(len(pixels), device=pixels.device)[:, None, None]
    return padded[image, rows[:, :, None], columns[:, None, :]]

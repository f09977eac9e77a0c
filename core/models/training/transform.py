"""ATS policies on a batch of 8-bit images, on the device. Byte for byte what core.images.policies does to each image.

Pillow itself makes the tables (what becomes of each value, which pixel a shift takes), so that its roundings are kept;
rotations, shears and sharpness, which look at neighbours, go through Pillow image by image.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from core.images.policies import LIST, transform_signed

VALUES = 256
POINTWISE = ("invert", "posterize", "solarize", "brightness")
GREY = (19595, 38470, 7471)  # of 65,536: Pillow's weights of red, green and blue (ITU-R 601-2)


def transformed(pixels: Tensor, policies: Sequence[Sequence[int]], which: np.ndarray, signs: np.ndarray) -> Tensor:
    """(B, H, W, C) uint8, C 1 or 3, through the policy that `which` (B,) names for each image -> the same shape.

    signs (B, longest): 1 or -1 for each transformation, where it has a sign.
    """
    result = pixels.clone()
    for position in range(signs.shape[1]):
        numbers = np.array([policy[position] if position < len(policy) else -1 for policy in policies])[which]
        for number in np.unique(numbers[numbers >= 0]):
            for sign in (1, -1):
                rows = np.flatnonzero((numbers == number) & (signs[:, position] == sign))
                if len(rows):
                    places = torch.from_numpy(rows).to(pixels.device)
                    result[places] = _apply(result[places], int(number), sign)
    return result


def _apply(pixels: Tensor, number: int, sign: int) -> Tensor:
    name = LIST[number][0]
    if name in POINTWISE:
        return _point_table(number, sign, pixels.device).take(pixels.long())
    if name in ("contrast", "color"):
        grey = _grey(pixels)
        if name == "contrast":
            grey = (grey.sum((1, 2), keepdim=True).double() / grey[0].numel() + 0.5).long()
        return _blend_table(number, sign, pixels.device).take(grey[..., None] * VALUES + pixels)
    if name.startswith("translate"):
        return _moved(pixels, number, sign)
    if name in ("equalize", "autocontrast"):
        counts = _counts(pixels)
        return _looked_up(pixels, _equalising(counts) if name == "equalize" else _stretching(counts))
    return _one_by_one(pixels, number, sign)


def _looked_up(pixels: Tensor, tables: Tensor) -> Tensor:
    """tables (B, C, 256) uint8: each image's and channel's own."""
    batch, height, width, channels = pixels.shape
    flat = pixels.permute(0, 3, 1, 2).reshape(batch, channels, -1).long()
    return tables.gather(2, flat).reshape(batch, channels, height, width).permute(0, 2, 3, 1)


def _grey(pixels: Tensor) -> Tensor:
    """(B, H, W) int64, as Pillow's mode L."""
    if pixels.shape[3] == 1:
        return pixels[..., 0].long()
    red, green, blue = pixels.long().unbind(3)
    return (GREY[0] * red + GREY[1] * green + GREY[2] * blue + 0x8000) >> 16


def _counts(pixels: Tensor) -> Tensor:
    """(B, C, 256) int64: how often each value occurs."""
    flat = pixels.permute(0, 3, 1, 2).flatten(2).long()
    counts = torch.zeros(*flat.shape[:2], VALUES, dtype=torch.int64, device=pixels.device)
    return counts.scatter_add_(2, flat, torch.ones_like(flat))


def _equalising(counts: Tensor) -> Tensor:
    """Pillow's equalize as tables (B, C, 256): value i becomes ⌊(step/2 + pixels below i) / step⌋."""
    values = torch.arange(VALUES, device=counts.device)
    last = torch.where(counts > 0, values, 0).amax(2, keepdim=True)
    step = (counts.sum(2, keepdim=True) - counts.gather(2, last)) // 255
    below = counts.cumsum(2) - counts
    found = (step // 2 + below) // step.clamp_min(1)
    several = (counts > 0).sum(2, keepdim=True) > 1
    return torch.where(several & (step > 0), found.clamp(max=255), values).to(torch.uint8)


def _stretching(counts: Tensor) -> Tensor:
    """Pillow's autocontrast as tables (B, C, 256): the smallest value becomes 0, the largest 255."""
    values = torch.arange(VALUES, device=counts.device)
    low = torch.where(counts > 0, values, 255).amin(2, keepdim=True)
    high = torch.where(counts > 0, values, 0).amax(2, keepdim=True)
    scale = 255.0 / (high - low).clamp_min(1).double()
    offset = -low * scale
    found = (values * scale + offset).trunc().clamp(0, 255)
    return torch.where(high > low, found, values.double()).to(torch.uint8)


def _one_by_one(pixels: Tensor, number: int, sign: int) -> Tensor:
    images = pixels.cpu().numpy()
    found = [
        np.asarray(transform_signed(Image.fromarray(image if image.shape[2] == 3 else image[..., 0]), number, sign))
        for image in images
    ]
    return torch.from_numpy(np.stack(found).reshape(images.shape)).to(pixels.device)


def _moved(pixels: Tensor, number: int, sign: int) -> Tensor:
    down, right = _shifts(number, sign, *pixels.shape[1:3])
    result = torch.zeros_like(pixels)
    result[:, max(0, down) : pixels.shape[1] + down, max(0, right) : pixels.shape[2] + right] = pixels[
        :, max(0, -down) : pixels.shape[1] - down, max(0, -right) : pixels.shape[2] - right
    ]
    return result


@lru_cache(maxsize=256)
def _shifts(number: int, sign: int, height: int, width: int) -> tuple[int, int]:
    """By how many pixels Pillow moves down and to the right."""
    places = np.arange(1, height * width + 1, dtype=np.int32).reshape(height, width)  # from 1: Pillow fills with 0
    moved = np.asarray(transform_signed(Image.fromarray(places), number, sign))
    row, column = np.argwhere(moved)[0]
    down, right = np.array([row, column]) - np.divmod(moved[row, column] - 1, width)
    return int(down), int(right)


@lru_cache(maxsize=256)
def _point_table(number: int, sign: int, device: torch.device) -> Tensor:
    """(256,) uint8: what becomes of each value."""
    ramp = Image.fromarray(np.arange(VALUES, dtype=np.uint8)[None])
    return torch.from_numpy(np.array(transform_signed(ramp, number, sign))[0]).to(device)


@lru_cache(maxsize=256)
def _blend_table(number: int, sign: int, device: torch.device) -> Tensor:
    """(256, 256) uint8: what becomes of a value (second) when it is blended with a grey (first)."""
    grey, value = np.meshgrid(*[np.arange(VALUES, dtype=np.uint8)] * 2, indexing="ij")
    factor = 1 + sign * 0.5 * (LIST[number][1] / 9)
    blended = Image.blend(Image.fromarray(grey), Image.fromarray(value), factor)
    return torch.from_numpy(np.array(blended)).to(device)

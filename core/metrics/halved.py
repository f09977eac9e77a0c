"""Images at half size: what GMSD and HaarPSI compare, since it stands for the distance that one looks from."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601: red, green, blue


def halved(images: torch.Tensor) -> torch.Tensor:
    """(N, C, ⌈H/2⌉, ⌈W/2⌉) means of 2×2 pixels of (N, C, H, W); an odd side goes on with a line of zeros.

    That is MATLAB's conv2 with a 2×2 mean in its form 'same', of which every other row and column is kept.
    """
    from torch.nn.functional import pad

    height, width = images.shape[-2:]
    if height % 2 or width % 2:
        images = pad(images, (0, width % 2, 0, height % 2))
    rows = images[..., 0::2, :] + images[..., 1::2, :]
    return (rows[..., 0::2] + rows[..., 1::2]) / 4


def mixed(images: torch.Tensor, weights: Sequence[float]) -> torch.Tensor:
    """(N, H, W) weighted sum of the channels of (N, 3, H, W)."""
    red, green, blue = weights
    return (images[:, 0] * red).add(images[:, 1], alpha=green).add(images[:, 2], alpha=blue)

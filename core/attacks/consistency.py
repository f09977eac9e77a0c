"""Group consistency: the restarts of one update are pulled to their registered mean (arXiv 2104.07586, section 3.4).

The paper registers by RANSAC-flow. Here an image is moved by the whole pixels, the same for all its channels and
around the edges, that bring it nearest to the mean of the restarts; all shifts are compared at once by FFT.
"""

from __future__ import annotations

import torch
from torch import Tensor


def pull(images: Tensor, counted: Tensor, shift: int) -> Tensor:
    """(N, R, B, C, H, W): the gradient of Σ_b ‖x − E‖ with the consensus E (N, 1, B, C, H, W) held fixed.

    counted (N, R) bool: restarts that make the mean.
    """
    away = images - consensus(images, counted, shift)
    length = away.flatten(3).square().sum(3).sqrt().clamp_min(1e-12)
    return away / length[..., None, None, None]


def consensus(images: Tensor, counted: Tensor, shift: int) -> Tensor:
    """(N, R, B, C, H, W) -> (N, 1, B, C, H, W): the mean of the restarts, each moved to fit their plain mean best.

    shift: most pixels of a move each way; 0 gives the plain mean.
    """
    weight = counted.to(images)[:, :, None, None, None, None]
    total = weight.sum(1, keepdim=True).clamp_min(1)
    images = torch.where(weight > 0, images, 0)  # a diverged one may be infinite
    mean = (images * weight).sum(1, keepdim=True) / total
    if shift == 0:
        return mean
    return (registered(images, mean, shift) * weight).sum(1, keepdim=True) / total


def registered(images: Tensor, target: Tensor, shift: int) -> Tensor:
    """`images` (N, R, B, C, H, W), each rolled by the dy, dx in [−shift, shift] that bring it nearest to `target`.

    ‖roll(x) − m‖² is least where the circular cross-correlation of m with x, summed over channels, is largest.
    """
    height, width = images.shape[-2:]
    spectrum = (torch.fft.rfft2(target) * torch.fft.rfft2(images).conj()).sum(3)
    fit = torch.fft.irfft2(spectrum, s=(height, width))  # (N, R, B, H, W): at (dy, dx) that of a roll by them
    down, right = (_moves(size, shift, images.device) for size in (height, width))
    near = fit[..., down[:, None], right[None, :]].flatten(-2)
    best = near.argmax(-1)
    dy, dx = down[best // len(right)], right[best % len(right)]
    rows = (torch.arange(height, device=images.device) - dy[..., None]) % height  # (N, R, B, H)
    columns = (torch.arange(width, device=images.device) - dx[..., None]) % width
    moved = images.gather(-2, rows[:, :, :, None, :, None].expand_as(images))
    return moved.gather(-1, columns[:, :, :, None, None, :].expand_as(images))


def _moves(size: int, shift: int, device: torch.device) -> Tensor:
    """0, 1, −1, 2, −2 … as places on a circle of `size`: of equal fits the first, the smallest, is taken."""
    most = min(shift, (size - 1) // 2)
    steps = [0] + [sign * step for step in range(1, most + 1) for sign in (1, -1)]
    return torch.tensor(steps, device=device) % size

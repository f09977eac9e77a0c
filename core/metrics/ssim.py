"""Structural similarity (Wang et al., IEEE Trans. Image Processing 13 (2004) 600-612) and its multi-scale form."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

from core.metrics.base import Context, Metric

if TYPE_CHECKING:
    import torch

K1, K2 = 0.01, 0.03  # Wang et al., section III-C
GAUSSIAN = tuple(math.exp(-(d**2) / (2 * 1.5**2)) for d in range(-5, 6))  # 11 taps, sigma 1.5
UNIFORM = (1.0,) * 7


def similarity(
    originals: torch.Tensor,
    reconstructions: torch.Tensor,
    context: Context | None = None,
    *,
    window: tuple[float, ...],
    sample_covariance: bool,
) -> torch.Tensor:
    """Mean SSIM (N,) of (N, C, H, W) images in [0, 1]: 1 for identical images, at least -1; mean over channels.

    window: taps of a separable weighting, normalised here. Only windows that lie inside the image count.
    sample_covariance: variances with n - 1 instead of n, n being the pixels of a window.
    """
    import torch

    n, channels, height, width = originals.shape
    taps = torch.tensor(window, dtype=originals.dtype, device=originals.device)
    taps = taps / taps.sum()
    x = originals.reshape(n * channels, 1, height, width)
    y = reconstructions.reshape(n * channels, 1, height, width)

    def local_mean(image: torch.Tensor) -> torch.Tensor:
        rows = torch.nn.functional.conv2d(image, taps.reshape(1, 1, -1, 1))
        return torch.nn.functional.conv2d(rows, taps.reshape(1, 1, 1, -1))

    pixels = len(window) ** 2
    scale = pixels / (pixels - 1) if sample_covariance else 1.0
    mean_x, mean_y = local_mean(x), local_mean(y)
    variance_x = scale * (local_mean(x * x) - mean_x**2)
    variance_y = scale * (local_mean(y * y) - mean_y**2)
    covariance = scale * (local_mean(x * y) - mean_x * mean_y)
    above = (2 * mean_x * mean_y + K1**2) * (2 * covariance + K2**2)
    below = (mean_x**2 + mean_y**2 + K1**2) * (variance_x + variance_y + K2**2)
    return (above / below).reshape(n, -1).mean(1)


def multi_scale(originals: torch.Tensor, reconstructions: torch.Tensor, context: Context | None = None) -> torch.Tensor:
    """MS-SSIM (N,) of (N, 3, H, W) images in [0, 1] over five scales, in float32; in [0, 1], 1 = identical."""
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

    # float64 takes four times as long for 1e-6; negative contrasts count as 0 ("relu")
    scores: torch.Tensor = multiscale_structural_similarity_index_measure(
        reconstructions.float(), originals.float(), reduction="none", data_range=1.0, normalize="relu"
    )
    return scores.reshape(len(originals))


SSIM = Metric(
    name="ssim",
    title="SSIM (Gaussian window)",
    direction="higher",
    bounds=(-1.0, 1.0),
    unit="",
    kind="pair",
    minimum_size=len(GAUSSIAN),
    needs=(),
    input_size=None,
    version="1",
    source="Wang et al. 2004: 11×11 Gaussian window, sigma 1.5; as scikit-image with gaussian_weights=True, sigma=1.5, "
    "use_sample_covariance=False, data_range=1; mean over channels",
    compute=partial(similarity, window=GAUSSIAN, sample_covariance=False),
    sees="It compares brightness, contrast and structure window by window, so edges and texture in their place count.",
    misses="A shift by a pixel or two, or a mirrored picture, costs it most of its value, though people see the same.",
)
SSIM_UNIFORM = Metric(
    name="ssim_uniform",
    title="SSIM (uniform window)",
    direction="higher",
    bounds=(-1.0, 1.0),
    unit="",
    kind="pair",
    minimum_size=len(UNIFORM),
    needs=(),
    input_size=None,
    version="1",
    source="scikit-image's defaults: 7×7 uniform window, sample covariance, data_range=1; mean over channels",
    compute=partial(similarity, window=UNIFORM, sample_covariance=True),
    sees="It is SSIM with flat 7×7 windows, what many published figures are, though their tables rarely say so.",
    misses="It is as sensitive to shifts as the Gaussian form, and its figures cannot be compared with that form's.",
)
MS_SSIM = Metric(
    name="ms_ssim",
    title="Multi-scale SSIM",
    direction="higher",
    bounds=(0.0, 1.0),
    unit="",
    kind="pair",
    minimum_size=176,  # five scales of an 11-pixel window, as torchmetrics asks: H // 16 > 10
    needs=(),
    input_size=None,
    version="torchmetrics-1",
    source="Wang, Simoncelli & Bovik, Asilomar 2003, as torchmetrics computes it, negative contrasts cut to 0",
    compute=multi_scale,
    sees="It compares contrast and structure at five scales, so coarse shapes that survive count beside fine detail.",
    misses="It asks for images of 176 pixels or more, and loses to shifts at the fine scales as SSIM does.",
    library="torchmetrics",
)

METRICS = (SSIM, SSIM_UNIFORM, MS_SSIM)

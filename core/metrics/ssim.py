"""Structural similarity (Wang et al., IEEE Trans. Image Processing 13 (2004) 600-612) and its multi-scale form.

Both need only the local means of s = x + y, d = x - y and of their squares, 4 where the textbook has 5, since
2 (E[x]² + E[y]²) = E[s]² + E[d]², 4 E[x] E[y] = E[s]² - E[d]², and the same holds of variances and covariance.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from core.metrics.base import Context, Metric

if TYPE_CHECKING:
    import torch

K1, K2 = 0.01, 0.03  # Wang et al., section III-C
GAUSSIAN = tuple(math.exp(-(d**2) / (2 * 1.5**2)) for d in range(-5, 6))  # 11 taps, sigma 1.5
UNIFORM = (1.0,) * 7
EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # from the finest scale on: Wang et al. 2003, section 3.2
SMALLEST = 176  # the coarsest of five scales must hold one window of 11
WHOLE = 64  # so many windows along a side are taken at once,
PIECE = 24  # and where there are more about so many: the products waste less, and the pieces stay in the cache


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
    ValueError: an image that is smaller than the window.
    """
    return _means(originals, reconstructions, window, sample_covariance=sample_covariance)[0]


def multi_scale(originals: torch.Tensor, reconstructions: torch.Tensor, context: Context | None = None) -> torch.Tensor:
    """MS-SSIM (N,) of (N, 3, H, W) images in [0, 1] over five scales: in [0, 1], 1 for identical images.

    As torchmetrics: the mean over channels and windows before the exponent, negative means count as 0, and the coarsest
    scale alone reflects the image at its border. ValueError: an image of less than 176 pixels.
    """
    import torch
    from torch.nn.functional import avg_pool2d, pad

    smaller = min(originals.shape[-2:])
    if smaller < SMALLEST:
        raise ValueError(f"Multi-scale SSIM needs images of at least {SMALLEST} pixels, got {smaller}.")
    x, y = originals, reconstructions
    score = torch.ones(len(x), dtype=x.dtype, device=x.device)
    for exponent in EXPONENTS[:-1]:
        score = score * _means(x, y, GAUSSIAN)[1].relu() ** exponent
        x, y = avg_pool2d(x, 2), avg_pool2d(y, 2)
    border = (len(GAUSSIAN) // 2,) * 4
    whole = _means(pad(x, border, mode="reflect"), pad(y, border, mode="reflect"), GAUSSIAN)[0]
    return score * whole.relu() ** EXPONENTS[-1]


def _means(
    originals: torch.Tensor,
    reconstructions: torch.Tensor,
    window: tuple[float, ...],
    *,
    sample_covariance: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Means (N,) over channels and windows of SSIM and of its contrast-and-structure term."""
    n, channels, height, width = originals.shape
    taps = len(window)
    if min(height, width) < taps:
        raise ValueError(f"SSIM with a window of {taps} pixels needs images of at least {taps}, got {width}×{height}.")
    correction = taps**2 / (taps**2 - 1) if sample_covariance else 1.0
    x, y = (images.reshape(n * channels, height, width) for images in (originals, reconstructions))
    similar = contrast = x.new_zeros(())
    for first, last in _pieces(height - taps + 1):
        rows = slice(first, last + taps - 1)
        luminance, structure = _maps(x[:, rows], y[:, rows], window, correction)
        similar = similar + (luminance * structure).flatten(1).sum(1)
        contrast = contrast + structure.flatten(1).sum(1)
    windows = channels * (height - taps + 1) * (width - taps + 1)
    return similar.reshape(n, channels).sum(1) / windows, contrast.reshape(n, channels).sum(1) / windows


def _maps(
    x: torch.Tensor, y: torch.Tensor, window: tuple[float, ...], correction: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """(M, H', W') luminance, and contrast times structure, in each window of (M, H, W) images."""
    import torch

    s, d = x + y, x - y
    s, d, s_squared, d_squared = _local_means(torch.stack((s, d, s * s, d * d)), window)
    s, d = s * s, d * d
    # in-place only on what no gradient needs
    variance_s, variance_d = (s_squared - s).mul_(correction), (d_squared - d).mul_(correction)
    luminance = (s - d).add_(2 * K1**2) / (s + d).add_(2 * K1**2)
    structure = (variance_s - variance_d).add_(2 * K2**2) / (variance_s + variance_d).add_(2 * K2**2)
    return luminance, structure


def _local_means(maps: torch.Tensor, window: tuple[float, ...]) -> torch.Tensor:
    """(4, M, H', W') weighted means of all windows inside (4, M, H, W) maps, as products with banded matrices."""
    import torch

    four, m, height, width = maps.shape
    more = len(window) - 1
    flat = maps.reshape(-1, width)
    parts = [
        flat[:, first : last + more] @ _band(window, last - first, maps.dtype, maps.device).T
        for first, last in _pieces(width - more)
    ]
    across = (parts[0] if len(parts) == 1 else torch.cat(parts, 1)).view(four * m, height, width - more)
    band = _band(window, height - more, maps.dtype, maps.device)
    return torch.bmm(band.expand(four * m, -1, -1), across).view(four, m, height - more, width - more)


def _pieces(windows: int) -> Iterator[tuple[int, int]]:
    """Where pieces of about equal length begin and end."""
    count = 1 if windows <= WHOLE else math.ceil(windows / PIECE)
    for piece in range(count):
        yield windows * piece // count, windows * (piece + 1) // count


@lru_cache(maxsize=64)
def _band(window: tuple[float, ...], outputs: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """(outputs, outputs + taps - 1): row i holds the normalised taps from column i on."""
    import torch

    with torch.inference_mode(False):  # it is kept, and may be asked for a gradient next time
        taps = torch.tensor(window, dtype=dtype, device=device)
        padded = torch.cat((taps / taps.sum(), taps.new_zeros(outputs)))
        columns = outputs + len(window) - 1  # one less than `padded` is long, so each row begins one further right
        return padded.repeat(outputs)[: outputs * columns].reshape(outputs, columns)


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
    minimum_size=SMALLEST,
    needs=(),
    input_size=None,
    version="2",
    source="Wang, Simoncelli & Bovik, Asilomar 2003, as torchmetrics defines it, negative contrasts cut to 0",
    compute=multi_scale,
    sees="It compares contrast and structure at five scales, so coarse shapes that survive count beside fine detail.",
    misses="It asks for images of 176 pixels or more, and loses to shifts at the fine scales as SSIM does.",
)

METRICS = (SSIM, SSIM_UNIFORM, MS_SSIM)

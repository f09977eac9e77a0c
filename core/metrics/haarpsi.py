"""HaarPSI: Reisenhofer et al., A Haar Wavelet-Based Perceptual Similarity Index for Image Quality Assessment,
Signal Processing: Image Communication 61 (2018) 33-43, in its form for colour."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.metrics.base import Context, Metric
from core.metrics.halved import LUMA, halved, mixed

if TYPE_CHECKING:
    import torch

C, ALPHA = 30 / 255**2, 4.2  # section 3.3: C is 30 for pixels of 0 to 255
IN_PHASE, QUADRATURE = (0.596, -0.274, -0.322), (0.211, -0.523, 0.312)  # I and Q as the authors' code rounds them
SMALLEST = 16  # pixels: half of it is one wavelet of the coarsest scale


def similarity(originals: torch.Tensor, reconstructions: torch.Tensor, context: Context | None = None) -> torch.Tensor:
    """HaarPSI (N,) of (N, 3, H, W) images in [0, 1]: in [0, 1], 1 for identical images; higher is more alike.

    On the images halved: likeness of the two finer scales of Haar wavelets of Y, weighted by the coarsest, for either
    orientation, and of I and Q, weighted by both orientations' mean. ValueError: an image of less than 16 pixels.
    """
    import torch

    smaller = min(originals.shape[-2:])
    if smaller < SMALLEST:
        raise ValueError(f"HaarPSI needs images of at least {SMALLEST} pixels, got {smaller}.")
    half = halved(torch.cat((originals, reconstructions)))
    above = below = half.new_zeros(())
    weights = []
    for fine, middle, coarse in _wavelets(mixed(half, LUMA)):
        x, y = coarse.abs().chunk(2)
        weights.append(torch.maximum(x, y))
        above = above + _weighed((_alike(fine) + _alike(middle)) / 2, weights[-1])
    weights.append((weights[0] + weights[1]) / 2)
    i, q = (_alike(_mean_of_four(mixed(half, colour))) for colour in (IN_PHASE, QUADRATURE))
    above = above + _weighed((i + q) / 2, weights[2])
    below = sum((w.sum((1, 2)) for w in weights), below)
    score = (torch.logit(above / below) / ALPHA).square().clamp(max=1)
    # no weight at all: with zeros around the image, both are black, hence identical
    return torch.where(below > 0, score, torch.ones_like(score))


def _weighed(likeness: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """(N,) sums of the sigmoid of likeness (N, H, W) times weights (N, H, W)."""
    return ((likeness * ALPHA).sigmoid_() * weights).sum((1, 2))


def _alike(maps: torch.Tensor) -> torch.Tensor:
    """(N, H, W) likeness, in (0, 1], of the magnitudes in both halves of (2N, H, W)."""
    x, y = maps.chunk(2)
    return ((x * y).abs() * 2 + C) / (x * x + y * y + C)


def _mean_of_four(maps: torch.Tensor) -> torch.Tensor:
    """(M, H, W) means of each pixel and its neighbours to the right, below, and both; zeros beyond the image."""
    from torch.nn.functional import pad

    maps = pad(maps, (0, 1, 0, 1))
    rows = maps[:, :-1] + maps[:, 1:]
    return (rows[:, :, :-1] + rows[:, :, 1:]) / 4


def _wavelets(maps: torch.Tensor) -> tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]]:
    """Haar coefficients of (M, H, W) maps for both orientations, at scales of 2, 4 and 8 pixels, each (M, H, W)."""
    from torch.nn.functional import pad

    height, width = maps.shape[1:]
    maps = pad(maps, (3, 4, 3, 4))  # an even window's middle is the one before it, as in MATLAB's conv2 'same'
    rows = [(total[:, b : b + height], apart[:, b : b + height]) for total, apart, b in _steps(maps, 1)]
    upright, level = [], []
    for scale, (total, apart) in enumerate(rows):
        _, across, begin = _steps(total, 2)[scale]
        along, _, _ = _steps(apart, 2)[scale]
        pixels = 2 ** (scale + 1)
        upright.append(across[:, :, begin : begin + width] / pixels)
        level.append(along[:, :, begin : begin + width] / pixels)
    return tuple(upright), tuple(level)


def _steps(maps: torch.Tensor, axis: int) -> list[tuple[torch.Tensor, torch.Tensor, int]]:
    """Sums and differences of the halves of windows of 2, 4 and 8 along an axis, and where the first one begins."""
    found = []
    for half, begin in ((1, 3), (2, 2), (4, 0)):
        length = maps.shape[axis] - half
        first, second = maps.narrow(axis, 0, length), maps.narrow(axis, half, length)
        maps = first + second
        found.append((maps, first - second, begin))
    return found


HAARPSI = Metric(
    name="haarpsi",
    title="HaarPSI",
    direction="higher",
    bounds=(0.0, 1.0),
    unit="",
    kind="pair",
    minimum_size=SMALLEST,
    needs=(),
    input_size=None,
    version="1",
    source="Reisenhofer et al. 2018, colour form: YIQ with the authors' constants, halved by 2×2 means, C = 30, "
    "alpha = 4.2",
    compute=similarity,
    sees="It compares edges of three widths, where either picture has strong ones, and colours beside them.",
    misses="Flat areas hardly count, so a wrong brightness or colour there passes; fine edges must be in their place.",
)

METRICS = (HAARPSI,)

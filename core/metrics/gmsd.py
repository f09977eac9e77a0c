"""GMSD: Xue et al., Gradient Magnitude Similarity Deviation, IEEE Trans. Image Processing 23 (2014) 684-695."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.metrics.base import Context, Metric
from core.metrics.halved import LUMA, halved, mixed

if TYPE_CHECKING:
    import torch

CONSTANT = 170 / 255**2  # section III-A: 170 for pixels of 0 to 255
SMALLEST = 6  # pixels: half of it holds a single gradient that sees no border


def deviation(originals: torch.Tensor, reconstructions: torch.Tensor, context: Context | None = None) -> torch.Tensor:
    """GMSD (N,) of (N, 3, H, W) images in [0, 1]: 0 for identical images, at most 0.5; lower is more alike.

    Luma, halved; Prewitt gradients g with zeros around the image; the standard deviation over all pixels of
    (2 g_x g_y + c) / (g_x² + g_y² + c), with n in the denominator as in the paper's equation 5.
    ValueError: an image of less than 6 pixels.
    """
    import torch

    smaller = min(originals.shape[-2:])
    if smaller < SMALLEST:
        raise ValueError(f"GMSD needs images of at least {SMALLEST} pixels, got {smaller}.")
    squares = _gradient_squares(torch.cat((mixed(halved(originals), LUMA), mixed(halved(reconstructions), LUMA))))
    x, y = squares.chunk(2)
    similar = ((x * y).sqrt() * 2 + CONSTANT) / (x + y + CONSTANT)
    apart = similar - similar.mean((1, 2), keepdim=True)
    return (apart * apart).mean((1, 2)).sqrt()


def _gradient_squares(maps: torch.Tensor) -> torch.Tensor:
    """(M, H, W) squared magnitude of the Prewitt gradient, each mask divided by 3, of (M, H, W) with zeros around."""
    from torch.nn.functional import pad

    maps = pad(maps, (1, 1, 1, 1))
    down = maps[:, :-2] + maps[:, 1:-1] + maps[:, 2:]
    along = maps[:, :, :-2] + maps[:, :, 1:-1] + maps[:, :, 2:]
    across, upright = down[:, :, :-2] - down[:, :, 2:], along[:, :-2] - along[:, 2:]
    return (across * across + upright * upright) / 9


GMSD = Metric(
    name="gmsd",
    title="Gradient magnitude similarity deviation",
    direction="lower",
    bounds=(0.0, 0.5),
    unit="",
    kind="pair",
    minimum_size=SMALLEST,
    needs=(),
    input_size=None,
    version="1",
    source="Xue et al. 2014: BT.601 luma halved by 2×2 means, Prewitt gradients, constant 170 / 255²; the deviation "
    "divides by n, as the paper and piq do (the authors' MATLAB by n - 1)",
    compute=deviation,
    sees="It says how unevenly edges are kept: the spread, over the picture, of how alike the edges' strengths are.",
    misses="Harm that is the same everywhere, such as even blur, counts little; brightness and colour hardly count.",
)

METRICS = (GMSD,)

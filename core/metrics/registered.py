"""PSNR after the best small shift: a picture that an attack restored a pixel or two aside has not failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.metrics.base import Context, Metric

if TYPE_CHECKING:
    import torch

SHARE, MOST = 16, 8  # shifts of up to a 16th of the shorter side, and of 8 pixels
SMALLEST = SHARE  # pixels: below, there is no shift to try


def psnr_registered(
    originals: torch.Tensor, reconstructions: torch.Tensor, context: Context | None = None
) -> torch.Tensor:
    """PSNR (N,) in dB at the integer shift for which it is highest; inf where the overlap is identical.

    originals, reconstructions: (N, C, H, W) in [0, 1]. Shifts of up to a 16th of the shorter side (2 pixels at 32), at
    most 8, in either direction along either side; only the overlap is compared. ValueError: less than 16 pixels.
    """
    smaller = min(originals.shape[-2:])
    if smaller < SMALLEST:
        raise ValueError(f"Registered PSNR needs images of at least {SMALLEST} pixels, got {smaller}.")
    most = min(smaller // SHARE, MOST)
    best = _errors(originals, reconstructions, most).flatten(1).argmin(1)
    score = originals.new_empty(len(originals))
    for place in sorted(set(best.tolist())):
        down, right = place // (2 * most + 1) - most, place % (2 * most + 1) - most
        rows = (best == place).nonzero()[:, 0]
        x, y = _overlap(originals[rows], down, right), _overlap(reconstructions[rows], -down, -right)
        score[rows] = -10 * (x - y).square().flatten(1).mean(1).log10()
    return score


def _overlap(images: torch.Tensor, down: int, right: int) -> torch.Tensor:
    """What lies under images that are moved so far over these."""
    height, width = images.shape[-2:]
    return images[..., max(0, down) : height + min(0, down), max(0, right) : width + min(0, right)]


def _errors(x: torch.Tensor, y: torch.Tensor, most: int) -> torch.Tensor:
    """(N, 2 most + 1, 2 most + 1) mean squared errors of x[i + down, j + right] and y[i, j], exact but for rounding.

    The squares sum to Σx² + Σy² - 2 Σxy over the overlap; Σxy of all shifts at once is a correlation, by FFT.
    """
    import torch

    height, width = x.shape[-2:]
    size = [_smooth(side + most) for side in (height, width)]  # so much room that no shift wraps around
    spectrum = (torch.fft.rfft2(x, s=size) * torch.fft.rfft2(y, s=size).conj()).sum(1)
    shifts = torch.arange(-most, most + 1, device=x.device)
    products = torch.fft.irfft2(spectrum, s=size)[:, shifts[:, None] % size[0], shifts[None] % size[1]]
    rows, columns = _inside(shifts, height).to(x.dtype), _inside(shifts, width).to(x.dtype)
    squares = rows @ x.square().sum(1) @ columns.T + rows.flip(0) @ y.square().sum(1) @ columns.flip(0).T
    pixels = rows.sum(1)[:, None] * columns.sum(1)
    errors: torch.Tensor = (squares - 2 * products) / (pixels * x.shape[1])
    return errors


def _inside(shifts: torch.Tensor, length: int) -> torch.Tensor:
    """(shifts, length) whether x[k] is compared at all: k - shift lies in y."""
    import torch

    other = torch.arange(length, device=shifts.device) - shifts[:, None]
    return (other >= 0) & (other < length)


def _smooth(length: int) -> int:
    """The next length whose only prime factors are 2, 3 and 5, which FFTs are fast at."""
    while True:
        rest = length
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return length
        length += 1


PSNR_REGISTERED = Metric(
    name="psnr_registered",
    title="PSNR after the best small shift",
    direction="higher",
    bounds=(0.0, float("inf")),
    unit="dB",
    kind="pair",
    minimum_size=SMALLEST,
    needs=(),
    input_size=None,
    version="1",
    source="the highest PSNR over integer shifts of up to a 16th of the shorter side (2 px at 32, 4 at 64) and at most "
    "8 px, along both sides, on the overlap only",
    compute=psnr_registered,
    sees="It is PSNR once the picture is moved back to where it fits best, so a small shift costs nothing.",
    misses="Turned, mirrored or enlarged pictures still fail, and a bad border can fall outside of the overlap.",
)

METRICS = (PSNR_REGISTERED,)

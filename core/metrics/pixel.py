"""Errors of single pixels: MSE, MAE and PSNR. Pixels are in [0, 1]; published tables often use 0 … 255."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.metrics.base import Context, Metric

if TYPE_CHECKING:
    import torch


def mse(originals: torch.Tensor, reconstructions: torch.Tensor, context: Context | None = None) -> torch.Tensor:
    """Mean squared error (N,) of (N, C, H, W) images in [0, 1]; 0 for identical images, at most 1."""
    return (originals - reconstructions).square().flatten(1).mean(1)


def mae(originals: torch.Tensor, reconstructions: torch.Tensor, context: Context | None = None) -> torch.Tensor:
    """Mean absolute error (N,) of (N, C, H, W) images in [0, 1]; 0 for identical images, at most 1."""
    return (originals - reconstructions).abs().flatten(1).mean(1)


def psnr(originals: torch.Tensor, reconstructions: torch.Tensor, context: Context | None = None) -> torch.Tensor:
    """Peak signal-to-noise ratio (N,) in dB, 10 log10(1 / MSE); inf for identical images, never capped."""
    return -10 * mse(originals, reconstructions).log10()


MSE = Metric(
    name="mse",
    title="Mean squared error",
    direction="lower",
    bounds=(0.0, 1.0),
    unit="",
    kind="pair",
    minimum_size=1,
    needs=(),
    input_size=None,
    version="1",
    source="mean over pixels and channels of the squared difference, pixels in [0, 1]",
    compute=mse,
    sees="It grows with the square of every difference, so a few large errors weigh more than many small ones.",
    misses="It knows no meaning: a picture moved by two pixels scores worse than one blurred past recognition.",
)
MAE = Metric(
    name="mae",
    title="Mean absolute error",
    direction="lower",
    bounds=(0.0, 1.0),
    unit="",
    kind="pair",
    minimum_size=1,
    needs=(),
    input_size=None,
    version="1",
    source="mean over pixels and channels of the absolute difference, pixels in [0, 1]",
    compute=mae,
    sees="It grows with every difference of brightness or colour, in proportion to the difference.",
    misses="It knows neither place nor meaning, as the mean squared error; outliers hide more easily in it.",
)
PSNR = Metric(
    name="psnr",
    title="Peak signal-to-noise ratio",
    direction="higher",
    bounds=(0.0, float("inf")),
    unit="dB",
    kind="pair",
    minimum_size=1,
    needs=(),
    input_size=None,
    version="1",
    source="10 log10(1 / MSE), as scikit-image's peak_signal_noise_ratio with data_range=1",
    compute=psnr,
    sees="It is the mean squared error on a logarithmic scale: each 10 dB more means a tenth of the squared error.",
    misses="It ranks images exactly as the mean squared error does, so it is as blind to shifts and to meaning.",
)

METRICS = (MSE, MAE, PSNR)

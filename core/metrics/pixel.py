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


def _mse_of_bytes(originals: torch.Tensor, reconstructions: torch.Tensor) -> torch.Tensor:
    difference = _difference(originals, reconstructions)
    return _sum(difference.square()) / (255.0**2 * difference[0].numel())


def _mae_of_bytes(originals: torch.Tensor, reconstructions: torch.Tensor) -> torch.Tensor:
    difference = _difference(originals, reconstructions)
    return _sum(difference) / (255.0 * difference[0].numel())


def _psnr_of_bytes(originals: torch.Tensor, reconstructions: torch.Tensor) -> torch.Tensor:
    return -10 * _mse_of_bytes(originals, reconstructions).log10()


def _difference(originals: torch.Tensor, reconstructions: torch.Tensor) -> torch.Tensor:
    """(N, L) float32 absolute differences of uint8 images."""
    import torch

    return (torch.maximum(originals, reconstructions) - torch.minimum(originals, reconstructions)).flatten(1).float()


def _sum(values: torch.Tensor) -> torch.Tensor:
    """(N,) exact sums in float64 of (N, L) float32 whole numbers of at most 255²."""
    few = 256  # so many of them stay below 2^24, up to which float32 is exact
    n, length = values.shape
    whole = length // few * few
    return values[:, :whole].reshape(n, -1, few).sum(2).double().sum(1) + values[:, whole:].sum(1).double()


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
    compute_bytes=_mse_of_bytes,
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
    compute_bytes=_mae_of_bytes,
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
    compute_bytes=_psnr_of_bytes,
    sees="It is the mean squared error on a logarithmic scale: each 10 dB more means a tenth of the squared error.",
    misses="It ranks images exactly as the mean squared error does, so it is as blind to shifts and to meaning.",
)

METRICS = (MSE, MAE, PSNR)

"""Error maps: where in the picture a reconstruction differs from its original. Dark is alike, bright is not."""

from dataclasses import dataclass

import numpy as np

from core.metrics.ssim import GAUSSIAN
from core.report.colours import coloured
from core.storage.artifacts import decode_png, encode_png

SIGMA = 1.5  # of our `ssim` metric's window


@dataclass(frozen=True)
class MapKind:
    """One kind of map: what it is called, what its scale runs over, and the words at the scale's ends."""

    name: str  # as in the link
    title: str
    measure: str  # what `mean` is, in words
    low: str  # the dark end
    high: str  # the bright end


KINDS = {
    kind.name: kind
    for kind in (
        MapKind("difference", "difference", "mean absolute difference, of the range", "0, equal", "\u2265 0.5"),
        MapKind("ssim", "SSIM map", "mean SSIM", "1, alike", "\u2264 0"),
        MapKind("lpips", "LPIPS map", "mean of the map", "0, alike", "\u2265 0.2"),
    )
}


@dataclass(frozen=True)
class ErrorMap:
    """A drawn map and its mean in the metric's own unit; png None: there is none, and `problem` says why."""

    png: bytes | None
    mean: float | None
    problem: str = ""


def difference_map(original: bytes, reconstruction: bytes) -> ErrorMap:
    """|original - reconstruction|, mean over channels, of the range: 0 is dark, half the range and more is bright."""
    first, second = _pixels(original), _pixels(reconstruction)
    if first.shape != second.shape:
        return _other_size(first, second)
    gap = np.abs(first - second).mean(axis=2)
    return ErrorMap(encode_png(coloured(gap / 0.5)), float(gap.mean()))


def ssim_map(original: bytes, reconstruction: bytes) -> ErrorMap:
    """Local SSIM as our metric `ssim` defines it: 1 is dark, 0 and less is bright; mean as the metric's score.

    The mean leaves out the 5 pixels at the border, whose windows reach out of the picture; the map shows them.
    """
    from skimage.metrics import structural_similarity  # takes most of a second, and only this map needs it

    first, second = _pixels(original), _pixels(reconstruction)
    if first.shape != second.shape:
        return _other_size(first, second)
    if min(first.shape[:2]) < len(GAUSSIAN):
        return ErrorMap(None, None, f"SSIM needs {len(GAUSSIAN)} pixels a side, and these are {_size(first)}.")
    mean, local = structural_similarity(  # type: ignore[no-untyped-call]
        first,
        second,
        channel_axis=2,
        data_range=1.0,
        gaussian_weights=True,
        sigma=SIGMA,
        use_sample_covariance=False,
        full=True,
    )
    return ErrorMap(encode_png(coloured(1 - local.mean(axis=2))), float(mean))


def lpips_picture(values: np.ndarray) -> ErrorMap:
    """(H, W) LPIPS of every place, drawn: 0 is dark, 0.2 and more is bright."""
    return ErrorMap(encode_png(coloured(values / 0.2)), float(np.mean(values)))


def _pixels(png: bytes) -> np.ndarray:
    return decode_png(png).astype(np.float64) / 255


def _size(pixels: np.ndarray) -> str:
    return f"{pixels.shape[1]} × {pixels.shape[0]}"


def _other_size(first: np.ndarray, second: np.ndarray) -> ErrorMap:
    return ErrorMap(None, None, f"The original is {_size(first)} and the reconstruction {_size(second)} pixels.")

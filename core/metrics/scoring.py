"""Score pairs of images with many metrics, in bounded memory. Imports torch only when called."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from core.errors import UserError
from core.metrics.base import Context, Metric, Score
from core.metrics.registry import METRICS, unavailable
from core.registry import look_up
from core.settings import Settings

if TYPE_CHECKING:
    import torch

BATCH_PIXELS = 1 << 19  # pixels of the originals of a batch: 12 MiB as float64
NETWORK_PIXELS = 1 << 18  # of those that a network takes at once: VGG's first features of both take 128 MiB
CACHE_PIXELS = 1 << 16  # of those that any other metric takes at once: its maps of 1.5 MiB stay in the cache
MOST_PIXELS = 1 << 24  # of one image, for the metrics that need no network
MOST_NETWORK_PIXELS = 1 << 22  # of one image, at native size, for a network
Image = np.ndarray[Any, np.dtype[Any]]


def score_pairs(
    originals: Sequence[Image] | Image,
    reconstructions: Sequence[Image] | Image,
    names: Iterable[str],
    settings: Settings,
    *,
    context: Context | None = None,
    batch: int = 512,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
    failed: Callable[[str, Exception], str] | None = None,
) -> dict[str, list[Score]]:
    """Score N pairs with the named metrics: {metric: N scores in the order given}.

    originals, reconstructions: (N, H, W, 3) uint8, or N arrays (H, W, 3) whose sizes may differ from pair to pair; grey
    images as three equal channels. Floats in [0, 1] are taken as well. A pair that a metric cannot score gets
    Score(None, reason); the other pairs and metrics are scored all the same. batch: most pairs at once, less where
    images are large. progress(done, total) counts pairs; it is called after each batch, and with the same numbers
    between the metrics of a batch; what it raises stops the work.
    failed(metric, error) turns an unexpected exception into the reason of that metric for that batch, or raises; None:
    it is raised. UserError: an unknown metric, or unequal numbers of images.
    """
    metrics = [look_up(METRICS, name, "metric") for name in dict.fromkeys(names)]
    if len(originals) != len(reconstructions):
        raise UserError(
            f"There are {len(originals)} originals and {len(reconstructions)} reconstructions; expected one for one."
        )
    full = replace(context or Context(), settings=settings)
    scores = {metric.name: [Score(None, "not scored")] * len(originals) for metric in metrics}
    done = 0

    def beat() -> None:
        if progress is not None:
            progress(done, len(originals))

    for rows, fault in _batches(originals, reconstructions, lambda pixels: _most(BATCH_PIXELS, pixels, batch)):
        found = (
            {m.name: [Score(None, fault)] * len(rows) for m in metrics}
            if fault
            else _score_batch(
                _taken(originals, rows),
                _taken(reconstructions, rows),
                metrics,
                settings,
                full.of(rows),
                device,
                failed or _raise,
                beat,
            )
        )
        for name, values in found.items():
            column = scores[name]
            for row, score in zip(rows.tolist(), values, strict=True):
                column[row] = score
        done += len(rows)
        beat()
    return scores


def _most(budget: int, pixels: int, most: int) -> int:
    """How many pairs of images of so many pixels are taken at once."""
    return max(1, min(most, budget // max(pixels, 1)))


def _raise(_metric: str, error: Exception) -> str:
    raise error


def _batches(
    originals: Sequence[Image] | Image, reconstructions: Sequence[Image] | Image, size: Callable[[int], int]
) -> Iterator[tuple[np.ndarray, str]]:
    """Rows of pairs that can be scored together, of one size; or rows with the fault that they share."""
    by_shape: dict[tuple[tuple[int, ...], str], list[int] | range] = {}
    if _uniform(originals) and _uniform(reconstructions) and len(originals):
        pair = originals[0], reconstructions[0]
        by_shape[pair[0].shape, _fault(*pair)] = range(len(originals))
    else:
        rows: dict[tuple[tuple[int, ...], str], list[int]] = defaultdict(list)
        for row, (original, reconstruction) in enumerate(zip(originals, reconstructions, strict=True)):
            rows[original.shape, _fault(original, reconstruction)].append(row)
        by_shape.update(rows)
    for (shape, fault), alike in by_shape.items():
        step = len(alike) if fault else size(shape[0] * shape[1])
        for first in range(0, len(alike), step):
            yield np.array(alike[first : first + step]), fault


def _uniform(images: Sequence[Image] | Image) -> bool:
    """Whether one image's faults are those of all: an array of 8-bit pixels."""
    return isinstance(images, np.ndarray) and images.dtype == np.uint8


def _taken(images: Sequence[Image] | Image, rows: np.ndarray) -> Image:
    """(N, H, W, 3) these rows of images of one size: uint8 if all are, else float64 in [0, 1]."""
    if isinstance(images, np.ndarray) and images.dtype == np.uint8:
        first, last = int(rows[0]), int(rows[-1]) + 1
        return images[first:last] if last - first == len(rows) else images[rows]
    taken = [images[row] for row in rows.tolist()]
    if all(image.dtype == np.uint8 for image in taken):
        return np.stack(taken)
    return np.stack([i / 255 if i.dtype == np.uint8 else i.astype(np.float64) for i in taken])


def _fault(original: Image, reconstruction: Image) -> str:
    """What is wrong with a pair for every metric, or ""."""
    alike = original.dtype == reconstruction.dtype == np.uint8 and original.shape == reconstruction.shape
    if alike and original.size and original.ndim == 3 and original.shape[2] == 3:
        return ""  # nearly all pairs
    for image, which in ((original, "original"), (reconstruction, "reconstruction")):
        if image.ndim != 3 or image.shape[2] != 3:
            return f"the {which} must be (height, width, 3), got {'×'.join(map(str, image.shape))}"
        if 0 in image.shape:
            return f"the {which} has no pixels"
        if image.dtype == np.uint8:
            continue
        if image.dtype.kind != "f":
            return f"the {which} must be 8-bit or float pixels, got {image.dtype}"
        if not np.isfinite(image).all():
            return f"the {which} has pixels that are NaN or infinite"
        if image.min() < 0 or image.max() > 1:
            return f"the {which} has pixels outside [0, 1]"
    if original.shape != reconstruction.shape:
        (h, w), (rh, rw) = original.shape[:2], reconstruction.shape[:2]
        return f"the original is {w}×{h} pixels and the reconstruction {rw}×{rh}"
    return ""


def _score_batch(
    originals: Image,
    reconstructions: Image,
    metrics: Sequence[Metric],
    settings: Settings,
    context: Context,
    device: str,
    failed: Callable[[str, Exception], str],
    beat: Callable[[], None],
) -> dict[str, list[Score]]:
    """Scores of pairs (N, H, W, 3) of one size, which hold no fault."""
    count, height, width = originals.shape[:3]
    reasons = {m.name: _size_fault(m, height, width) or unavailable(m, settings, context) for m in metrics}
    found = {name: [Score(None, reason)] * count for name, reason in reasons.items() if reason}
    pair = Pair(originals, reconstructions, device)
    for place, metric in enumerate(one for one in metrics if one.name not in found):
        if place:
            beat()
        values = _values(metric, pair, context, failed, beat)
        if isinstance(values, str):
            found[metric.name] = [Score(None, values)] * count
        else:
            found[metric.name] = [_score(value) for value in values]
    return found


def _values(
    metric: Metric, pair: Pair, context: Context, failed: Callable[[str, Exception], str], beat: Callable[[], None]
) -> list[float] | str:
    """The metric's values of a batch, in pieces that suit it; or why there are none."""
    import torch

    count, height, width = pair.images[0].shape[:3]
    pixels = max(height * width, (metric.input_size or 0) ** 2)
    step = _most(NETWORK_PIXELS if metric.needs else CACHE_PIXELS, pixels, count)
    values: list[float] = []
    for start in range(0, count, step):
        if start and metric.needs:
            beat()
        try:
            with torch.inference_mode():
                values += pair.score(metric, slice(start, start + step), context).tolist()
        except UserError as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 (the caller tells what is expected, and raises the rest)
            return failed(metric.name, error)
    return values


def _size_fault(metric: Metric, height: int, width: int) -> str:
    smaller = min(height, width)
    if smaller < metric.minimum_size:
        return f"unavailable: needs at least {metric.minimum_size} px, got {smaller}"
    most = MOST_NETWORK_PIXELS if metric.needs and metric.input_size is None else MOST_PIXELS
    if height * width > most:
        return f"unavailable: needs at most {most:,} pixels, got {height * width:,}"
    return ""


class Pair:
    """N pairs of one size on a device, converted once and only to what some metric asks for."""

    def __init__(self, originals: Image, reconstructions: Image, device: str) -> None:
        import torch

        self.images = tuple(torch.from_numpy(_writable(images)).to(device) for images in (originals, reconstructions))
        self.bytes = all(images.dtype == torch.uint8 for images in self.images)

    @cached_property
    def floats(self) -> tuple[torch.Tensor, ...]:
        """Originals and reconstructions, each (N, 3, H, W) float64 in [0, 1]."""
        return tuple(_floats(images) for images in self.images)

    def score(self, metric: Metric, rows: slice, context: Context) -> torch.Tensor:
        """(rows,) what the metric makes of these pairs."""
        if self.bytes and metric.compute_bytes is not None:
            return metric.compute_bytes(self.images[0][rows], self.images[1][rows])
        x, y = self.floats
        if rows.start == 0 and rows.stop >= len(x):
            return metric.compute(x, y, context)
        return metric.compute(x[rows], y[rows], context.of(np.arange(len(x))[rows]))


def _writable(images: Image) -> Image:
    """The array as torch takes it: contiguous, writable, without the stride below 0 that a reversed image may have."""
    return np.require(images if min(images.strides) >= 0 else images.copy(), requirements=("C", "W"))


def _floats(images: torch.Tensor) -> torch.Tensor:
    """(N, H, W, 3) uint8, or float in [0, 1], as (N, 3, H, W) float64 in [0, 1]."""
    import torch

    planes = images.permute(0, 3, 1, 2).to(torch.float64, memory_format=torch.contiguous_format)
    return planes / 255 if images.dtype == torch.uint8 else planes


def _score(value: float) -> Score:
    return Score(None, "the metric is not defined for this pair") if math.isnan(value) else Score(value)

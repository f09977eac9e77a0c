"""Score pairs of images with many metrics, in bounded memory. Imports torch only when called."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np

from core.errors import UserError
from core.metrics.base import Context, Metric, Score
from core.metrics.registry import METRICS, unavailable
from core.registry import look_up
from core.settings import Settings

BATCH_PIXELS = 1 << 19  # pixels of all images of a batch: VGG's first features of it take 128 MiB
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
    batch: int = 64,
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

    for rows, fault in _batches(originals, reconstructions, lambda pixels: _batch_size(pixels, batch)):
        found = (
            {m.name: [Score(None, fault)] * len(rows) for m in metrics}
            if fault
            else _score_batch(
                [originals[i] for i in rows],
                [reconstructions[i] for i in rows],
                metrics,
                settings,
                full.of(rows),
                device,
                failed or _raise,
                beat,
            )
        )
        for name, values in found.items():
            for row, score in zip(rows, values, strict=True):
                scores[name][row] = score
        done += len(rows)
        beat()
    return scores


def _batch_size(pixels: int, most: int) -> int:
    """How many pairs of images of so many pixels are worked on at once."""
    return max(1, min(most, BATCH_PIXELS // max(pixels, 1)))


def _raise(_metric: str, error: Exception) -> str:
    raise error


def _batches(
    originals: Sequence[Image] | Image, reconstructions: Sequence[Image] | Image, size: Callable[[int], int]
) -> Iterator[tuple[np.ndarray, str]]:
    """Rows of pairs that can be scored together, of one size; or rows with the fault that they share."""
    by_shape: dict[tuple[tuple[int, ...], str], list[int]] = defaultdict(list)
    for row, (original, reconstruction) in enumerate(zip(originals, reconstructions, strict=True)):
        by_shape[original.shape, _fault(original, reconstruction)].append(row)
    for (shape, fault), rows in by_shape.items():
        left = iter(rows)
        step = len(rows) if fault else size(shape[0] * shape[1])
        while piece := list(islice(left, step)):
            yield np.array(piece), fault


def _fault(original: Image, reconstruction: Image) -> str:
    """What is wrong with a pair for every metric, or ""."""
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
    originals: list[Image],
    reconstructions: list[Image],
    metrics: Sequence[Metric],
    settings: Settings,
    context: Context,
    device: str,
    failed: Callable[[str, Exception], str],
    beat: Callable[[], None],
) -> dict[str, list[Score]]:
    """Scores of pairs of one size, which hold no fault."""
    height, width = originals[0].shape[:2]
    reasons = {m.name: _size_fault(m, height, width) or unavailable(m, settings, context) for m in metrics}
    found = {name: [Score(None, reason)] * len(originals) for name, reason in reasons.items() if reason}
    if len(found) == len(metrics):
        return found
    x, y = (_tensor(images, device) for images in (originals, reconstructions))
    for place, metric in enumerate(one for one in metrics if one.name not in found):
        if place:
            beat()
        values = _values(metric, x, y, context, failed, beat)
        if isinstance(values, str):
            found[metric.name] = [Score(None, values)] * len(x)
        else:
            found[metric.name] = [_score(value) for value in values]
    return found


def _values(
    metric: Metric, x: Any, y: Any, context: Context, failed: Callable[[str, Exception], str], beat: Callable[[], None]
) -> list[float] | str:
    """The metric's values of a batch, in smaller pieces where it enlarges the images; or why there are none."""
    import torch

    pixels = max(x.shape[2] * x.shape[3], (metric.input_size or 0) ** 2)
    step = _batch_size(pixels, len(x))
    values: list[float] = []
    for start in range(0, len(x), step):
        if start:
            beat()
        piece = slice(start, start + step)
        part = context if step >= len(x) else context.of(np.arange(len(x))[piece])
        try:
            with torch.inference_mode():
                values += metric.compute(x[piece], y[piece], part).tolist()
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


def _tensor(images: list[Image], device: str) -> Any:
    """(N, H, W, 3) uint8 or [0, 1] pixels as an (N, 3, H, W) float64 tensor in [0, 1]."""
    import torch

    pixels = np.stack([i / 255 if i.dtype == np.uint8 else i.astype(np.float64) for i in images])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().to(device)


def _score(value: float) -> Score:
    return Score(None, "the metric is not defined for this pair") if math.isnan(value) else Score(value)

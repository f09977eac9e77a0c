"""The computing of a score shard: every metric on every pair. torch is imported only when one runs."""

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from core.attacks.base import AttackCancelled
from core.jobs.compute import Emit, build_victim, is_out_of_memory, prepare_torch, run_record
from core.jobs.events import Event
from core.metrics.base import Context
from core.metrics.registry import METRICS, missing_here, weights_hash
from core.metrics.scoring import score_pairs
from core.models.spec import ModelSpec
from core.settings import Settings, load_settings

if TYPE_CHECKING:
    import torch

BEAT_SECONDS = 1.0  # between two signs of life
log = logging.getLogger("semsight.worker")
Images = Callable[["torch.Tensor"], "torch.Tensor"]


def score(header: dict[str, Any], arrays: dict[str, np.ndarray], emit: Emit, stop: Callable[[], bool]) -> None:
    """Score every pair with every metric that is asked for; one that fails is a reason, and the others are scored."""
    device = prepare_torch(header)
    settings = load_settings()  # the worker's own: weights are looked for where the worker runs
    names = tuple(header["metrics"]) or tuple(METRICS)
    found = score_pairs(
        arrays["originals"],
        arrays["reconstructions"],
        names,
        settings,
        context=context_of(header, arrays, device),
        device=str(device),
        progress=Heartbeat(emit, stop),
        failed=failure,
    )
    values = {
        "scores": {name: [[one.value, one.reason] for one in scores] for name, scores in found.items()},
        "versions": {name: METRICS[name].version for name in names},
        "weights": hashes(names, settings),
        "record": run_record(device, header["threads"]),
    }
    emit(Event("scores", values))


def context_of(header: dict[str, Any], arrays: dict[str, np.ndarray], device: "torch.device") -> Context:
    """All that a metric may ask about the shard's pairs beside their pixels."""
    spec = ModelSpec.from_json(header["spec"])
    victim, features = _victim(spec, arrays, device)
    return Context(
        victim=victim,
        features=features,
        labels=arrays["labels"],
        channels=spec.channels,
        losses=arrays.get("losses"),
        classes=_words(header["classes"]),
        names=_words(header["names"]),
        victim_sha=spec.weights_sha256,
    )


class Heartbeat:
    """Says how far the work is, at most once a second; raises AttackCancelled once it is to stop."""

    def __init__(self, emit: Emit, stop: Callable[[], bool]) -> None:
        self._emit, self._stop, self._said = emit, stop, 0.0

    def __call__(self, done: int, total: int) -> None:
        """`done` of `total` units are over."""
        if self._stop():
            raise AttackCancelled
        now = time.monotonic()
        if now - self._said > BEAT_SECONDS or done == total:
            self._said = now
            self._emit(Event("progress", {"step": done, "total": total, "curve": False}))


def failure(name: str, error: Exception) -> str:
    """The reason that is stored for a metric that failed unexpectedly; memory that ran out is the shard's matter."""
    if is_out_of_memory(error) or isinstance(error, MemoryError):
        raise error
    log.warning("the metric %s failed", name, exc_info=error)
    return f"{name} failed: {type(error).__name__}: {error}"[:500]


def hashes(names: tuple[str, ...], settings: Settings) -> dict[str, str]:
    """The weights that each metric was, or would have been, computed with here; "" where they are missing."""
    return {name: "" if missing_here(METRICS[name], settings) else weights_hash(name, settings) for name in names}


def _words(words: list[str | None] | None) -> tuple[str | None, ...] | None:
    return None if words is None else tuple(words)


def _victim(spec: ModelSpec, arrays: dict[str, np.ndarray], device: "torch.device") -> tuple[Images, Images]:
    """Images in [0, 1] -> logits, and -> what the last layer takes."""
    import torch

    from core.models.features import head_features

    model = build_victim(spec, arrays).to(device)
    shape = (1, spec.channels, 1, 1)
    mean = torch.tensor(spec.mean, device=device).reshape(shape)
    std = torch.tensor(spec.std, device=device).reshape(shape)
    last = head_features(model)

    def predict(images: "torch.Tensor") -> "torch.Tensor":
        logits: torch.Tensor = model((images.to(device) - mean) / std)
        return logits

    return predict, lambda images: last((images.to(device) - mean) / std)

"""The computing of a score shard: every metric on every pair, or on two sets. torch is imported only when one runs."""

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from core.attacks.base import AttackCancelled
from core.errors import UserError
from core.jobs.compute import Emit, build_victim, is_out_of_memory, prepare_torch, run_record
from core.jobs.events import Event, failed
from core.metrics.base import Context
from core.metrics.registry import METRICS, missing_here, weights_hash
from core.metrics.scoring import score_pairs
from core.metrics.set_features import set_features
from core.metrics.set_statistics import statistics
from core.metrics.sets import NEIGHBOURS, SetMetric, look_up_set_metric, missing_for_set, set_weights_hash
from core.models.spec import ModelSpec
from core.settings import Settings, load_settings

if TYPE_CHECKING:
    import torch

BEAT_SECONDS = 1.0  # between two signs of life
REPLACED = "weights under SEMSIGHT_WEIGHTS were replaced while it scored; let nothing write there meanwhile"
log = logging.getLogger("semsight.worker")
Images = Callable[["torch.Tensor"], "torch.Tensor"]


def score(header: dict[str, Any], arrays: dict[str, np.ndarray], emit: Emit, stop: Callable[[], bool]) -> None:
    """Score every pair with every metric that is asked for; one that fails is a reason, and the others are scored."""
    device = prepare_torch(header)
    settings = load_settings()  # the worker's own: weights are looked for where the worker runs
    names = tuple(header["metrics"]) or tuple(METRICS)
    before = hashes(names, settings)
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
    if hashes(names, settings) != before:
        emit(failed("lost", REPLACED))  # not "error": it is scored again, a few times
        return
    faults = header.get("faults") or [""] * len(arrays["originals"])
    values = {
        "scores": {
            name: [[None, fault] if fault else [one.value, one.reason] for one, fault in zip(of, faults, strict=True)]
            for name, of in found.items()
        },
        "versions": {name: METRICS[name].version for name in names},
        "weights": before,
        "record": run_record(device, header["threads"]),
    }
    emit(Event("scores", values))


def score_sets(header: dict[str, Any], arrays: dict[str, np.ndarray], emit: Emit, stop: Callable[[], bool]) -> None:
    """Compare all originals with all reconstructions, by every set metric that is asked for."""
    device = prepare_torch(header)
    settings = load_settings()
    metrics = [look_up_set_metric(name) for name in header["metrics"]]
    heart = Heartbeat(emit, stop)
    before = {metric.name: set_weights_hash(metric, settings) for metric in metrics}
    found: dict[str, list[Any]] = {}
    for network in dict.fromkeys(metric.features for metric in metrics):
        found |= _of_network([one for one in metrics if one.features == network], arrays, settings, str(device), heart)
    if {metric.name: set_weights_hash(metric, settings) for metric in metrics} != before:
        emit(failed("lost", REPLACED))
        return
    values = {
        "set": header["set"],
        "scores": {metric.name: found[metric.name] for metric in metrics},
        "versions": {metric.name: metric.version for metric in metrics},
        "weights": before,
        "record": run_record(device, header["threads"]),
    }
    emit(Event("sets", values))


def _of_network(
    metrics: list[SetMetric], arrays: dict[str, np.ndarray], settings: Settings, device: str, heart: "Heartbeat"
) -> dict[str, list[Any]]:
    """metric -> [value, reason] of the metrics on one network's features."""
    missing = missing_for_set(metrics[0], settings)
    sides = arrays["originals"], arrays["reconstructions"]
    fewest, total = min(map(len, sides)), sum(map(len, sides))
    reasons = {one.name: missing for one in metrics if missing}
    for one in metrics:
        if fewest < one.least:
            reasons.setdefault(one.name, f"unavailable: needs at least {one.least} pictures in each set, got {fewest}")
    wanted = [one for one in metrics if one.name not in reasons]
    found: dict[str, list[Any]] = {name: [None, reason] for name, reason in reasons.items()}
    if not wanted:
        return found
    try:
        network = wanted[0].features
        first = set_features(sides[0], network, settings, device=device, beat=lambda done: heart(done, total + 1))
        before = len(first)
        second = set_features(
            sides[1], network, settings, device=device, beat=lambda done: heart(before + done, total + 1)
        )
        values = statistics(
            first, second, [one.statistic for one in wanted], k=NEIGHBOURS, beat=lambda: heart(total, total + 1)
        )
    except (AttackCancelled, UserError):
        raise
    except Exception as error:  # noqa: BLE001 (`failure` logs it, and raises what is the shard's matter)
        return found | {one.name: [None, failure(one.name, error)] for one in wanted}
    return found | {one.name: [values[one.statistic], ""] for one in wanted}


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

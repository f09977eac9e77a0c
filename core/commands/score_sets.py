"""`score --sets`: all originals of the pairs against all reconstructions, as two sets."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.commands.output import write_text
from core.commands.score_files import decode_pair, read_pair
from core.commands.score_table import companion
from core.errors import UserError
from core.metrics.sets import NEIGHBOURS, SET_METRICS, SetMetric, look_up_set_metric, missing_for_set, set_weights_hash
from core.metrics.sets import warning_of as small_sample

if TYPE_CHECKING:
    from core.commands.score_progress import Progress
    from core.commands.score_run import Plan

ALL = "all"
HELD = 64  # pairs decoded at once
PIXELS_HELD = 1 << 24  # of the originals, beyond the first
Images = list[np.ndarray]
Features = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class SetScore:
    """One set metric's answer: a value, or None with its reason; n pictures in each set."""

    metric: SetMetric
    value: float | None
    n: int
    reason: str = ""

    @property
    def warning(self) -> str:
        """What a reader of a value from so few pictures must know, or ""."""
        return "" if self.value is None else small_sample(self.metric, self.n)


def set_metrics(text: str | None) -> list[SetMetric]:
    """The set metrics that --sets names, each once; none without it, every one for `all`."""
    if text is None:
        return []
    if text == ALL:
        return list(SET_METRICS.values())
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise UserError("--sets names no set metric; give names such as fid,kid or no value for all.")
    return [look_up_set_metric(name) for name in names]


def score_sets(plan: Plan, metrics: Sequence[SetMetric], progress: Progress) -> list[SetScore]:
    """Score the pairs that can be read, as two sets.

    Pictures are decoded a few at a time. What grows with their number is the features: 16 KiB a picture for Inception,
    2 KiB for AlexNet; precision, recall, density and coverage take time with its square.
    """
    from core.metrics.set_statistics import statistics

    missing = {metric.name: missing_for_set(metric, plan.settings) for metric in metrics}
    networks = tuple(dict.fromkeys(metric.features for metric in metrics if not missing[metric.name]))
    features = _features(plan, networks, progress) if networks else {}
    n = len(next(iter(features.values()))[0]) if features else 0
    values: dict[str, float] = {}
    for network, (originals, reconstructions) in features.items():
        able = [one for one in metrics if one.features == network and not missing[one.name] and n >= one.least]
        found = statistics(originals, reconstructions, [one.statistic for one in able], k=NEIGHBOURS)
        values |= {one.name: found[one.statistic] for one in able}
    few = "unavailable: needs at least {} pictures in each set, got {}"
    return [
        SetScore(one, values[one.name], n)
        if one.name in values
        else SetScore(one, None, n, missing[one.name] or few.format(one.least, n))
        for one in metrics
    ]


def write_sets(out: Path, scores: Sequence[SetScore]) -> None:
    """Write OUT.sets.json: for each metric value, n, warning or reason, and what it was computed with."""
    from core.settings import load_settings
    from core.statistics.estimate import json_number

    settings = load_settings()
    record = {
        one.metric.name: {
            "value": json_number(one.value),
            "n": one.n,
            "warning": one.warning,
            "reason": one.reason,
            "more_leakage": one.metric.direction,
            "version": one.metric.version,
            "weights_hash": set_weights_hash(one.metric, settings),
        }
        for one in scores
    }
    write_text(companion(out, ".sets.json"), json.dumps(record, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def set_lines(scores: Sequence[SetScore]) -> Iterator[str]:
    """A line for each value, and once what few pictures mean."""
    found = [one for one in scores if one.value is not None]
    width = max((len(one.metric.name) for one in found), default=0)
    for one in found:
        arrow = "↑" if one.metric.direction == "higher" else "↓"
        yield f"{one.metric.name:<{width}} {one.value:12.4g} {arrow}"
    warnings: dict[str, list[str]] = defaultdict(list)
    for one in found:
        if one.warning:
            warnings[one.warning].append(one.metric.name)
    yield from (f"warning: {', '.join(names)}: {warning}" for warning, names in warnings.items())


def _features(plan: Plan, networks: Sequence[str], progress: Progress) -> dict[str, tuple[Features, Features]]:
    """network -> features of all originals and of all reconstructions, in the order of the pairs."""
    import torch

    from core.metrics.set_features import set_features

    parts: dict[str, tuple[list[Features], list[Features]]] = {network: ([], []) for network in networks}
    try:
        for held in _decoded(plan, progress):
            for network in networks:
                for side in (0, 1):
                    images = [pair[side] for pair in held]
                    parts[network][side].append(set_features(images, network, plan.settings, device=plan.device))
    except torch.OutOfMemoryError:
        raise UserError(
            f"The memory of {plan.device} does not suffice for the networks of the set metrics; give --device cpu."
        ) from None
    return {
        network: (np.concatenate(sides[0]), np.concatenate(sides[1])) for network, sides in parts.items() if sides[0]
    }


def _decoded(plan: Plan, progress: Progress) -> Iterator[list[tuple[np.ndarray, np.ndarray]]]:
    """Pairs of one size, a few at a time. Those that cannot be read have their sentence already."""
    held: list[tuple[np.ndarray, np.ndarray]] = []
    for name in plan.pairing.names:
        progress.update(1)
        try:
            pair = decode_pair(read_pair(name, plan.pairing), plan.pairing)
        except UserError:
            continue
        pixels = sum(one[0].size for one in (*held, pair)) // 3
        if held and (len(held) == HELD or pixels > PIXELS_HELD or pair[0].shape != held[0][0].shape):
            yield held
            held = []
        held.append(pair)
    if held:
        yield held

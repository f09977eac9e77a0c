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
from core.commands.score_run import failure
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
Sides = tuple[Features, Features]


@dataclass(frozen=True)
class SetScore:
    """One set metric's answer: a value, or None with its reason; n pictures in each set."""

    metric: SetMetric
    value: float | None
    n: int
    reason: str = ""
    failed: bool = False  # unexpectedly, so that it is an error whether or not it was asked for by name

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
    missing = {metric.name: missing_for_set(metric, plan.settings) for metric in metrics}
    networks = tuple(dict.fromkeys(metric.features for metric in metrics if not missing[metric.name]))
    features, faults, n = _features(plan, networks, progress) if networks else ({}, {}, 0)
    values: dict[str, float] = {}
    failed = {one.name: faults[one.features] for one in metrics if one.features in faults and not missing[one.name]}
    for network, sides in features.items():
        able = [one for one in metrics if one.features == network and not missing[one.name] and n >= one.least]
        found, reasons = _statistics(sides, able)
        values |= found
        failed |= reasons
    few = "unavailable: needs at least {} pictures in each set, got {}"
    return [
        SetScore(one, values[one.name], n)
        if one.name in values
        else SetScore(
            one, None, n, failed.get(one.name) or missing[one.name] or few.format(one.least, n), one.name in failed
        )
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


def _statistics(sides: Sides, metrics: Sequence[SetMetric]) -> tuple[dict[str, float], dict[str, str]]:
    """Values by the metrics' names, and reasons of those that fail unexpectedly: then each is computed by itself."""
    from core.attacks.memory import is_out_of_memory
    from core.metrics.set_statistics import statistics

    try:
        found = statistics(*sides, [one.statistic for one in metrics], k=NEIGHBOURS)
        return {one.name: found[one.statistic] for one in metrics}, {}
    except Exception as error:  # noqa: BLE001 (whatever a library raises is this metric's matter)
        if is_out_of_memory(error):
            raise UserError(
                f"The memory does not suffice to compare {len(sides[0]):,} pictures as sets; leave --sets out, or give "
                "fewer pictures."
            ) from None
        if len(metrics) == 1:
            return {}, {metrics[0].name: failure(metrics[0].name, error)}
    values: dict[str, float] = {}
    reasons: dict[str, str] = {}
    for metric in metrics:
        value, reason = _statistics(sides, [metric])
        values |= value
        reasons |= reason
    return values, reasons


def _features(plan: Plan, networks: Sequence[str], progress: Progress) -> tuple[dict[str, Sides], dict[str, str], int]:
    """network -> features of all pictures, in the order of the pairs; network -> why there are none; how many pairs."""
    parts: dict[str, tuple[list[Features], list[Features]]] = {network: ([], []) for network in networks}
    faults: dict[str, str] = {}
    n = 0
    for held in _decoded(plan, progress):
        n += len(held)
        for network in networks:
            if network not in faults and (reason := _add_features(plan, network, held, parts[network])):
                faults[network] = reason
    features = {
        network: (np.concatenate(sides[0]), np.concatenate(sides[1]))
        for network, sides in parts.items()
        if n and network not in faults
    }
    return features, faults, n


def _add_features(
    plan: Plan, network: str, held: Sequence[tuple[np.ndarray, np.ndarray]], sides: tuple[list[Features], ...]
) -> str:
    """Append the features of these pairs; why that failed unexpectedly, or ""."""
    from core.attacks.memory import is_out_of_memory
    from core.metrics.set_features import set_features

    try:
        for side, features in enumerate(sides):
            images = [pair[side] for pair in held]
            features.append(set_features(images, network, plan.settings, device=plan.device))
    except UserError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 (whatever a network raises is the matter of its metrics)
        if is_out_of_memory(error):
            raise UserError(
                f"The memory of {plan.device} does not suffice for the networks of the set metrics; give --device cpu."
            ) from None
        return failure(network, error)
    return ""


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

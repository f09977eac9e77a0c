"""Every metric by name, and whether it can be computed here. Imports no torch."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
from typing import Literal

from core.errors import UserError
from core.metrics.base import Context, Metric
from core.models.weights import MissingWeights, find_weights
from core.registry import look_up, register
from core.settings import Settings

# One line a family: a module of core.metrics with METRICS, a tuple of Metric. The order is that of every table.
FAMILIES = (
    "pixel",
    "registered",
    "ssim",
    "gmsd",
    "haarpsi",
    "lpips",
    "dists",
    "vit",
    "dreamsim",
    "judge",
    "victim",
)

METRICS: dict[str, Metric] = {}

for _family in FAMILIES:
    for _metric in importlib.import_module(f"core.metrics.{_family}").METRICS:
        register(METRICS, _metric.name, _metric)


def availability(settings: Settings, context: Context | None = None) -> dict[str, str]:
    """For each metric "" if it can be computed here, else the reason in a sentence. Sizes are a matter of each pair."""
    return {name: unavailable(metric, settings, context) for name, metric in METRICS.items()}


def unavailable(metric: Metric, settings: Settings, context: Context | None = None) -> str:
    """Why `metric` cannot be computed here, or ""."""
    missing = missing_here(metric, settings)
    if missing or metric.lacks is None:
        return missing
    return metric.lacks(settings, context)


def missing_here(metric: Metric, settings: Settings) -> str:
    """What this machine lacks for `metric`, whatever the pairs: a package or weights; or ""."""
    for package in metric.packages:
        if importlib.util.find_spec(package) is None:
            return f"The package {package} is not installed; pip install {package} brings it."
    for name in metric.needs:
        found = find_weights(name, settings)
        if isinstance(found, MissingWeights):
            return found.reason
    try:
        if metric.carried is not None:
            metric.carried()
        if metric.files is not None:
            metric.files(settings)
    except (UserError, OSError) as error:
        return str(error)
    return ""


def default_metrics(settings: Settings, context: Context | None = None) -> tuple[str, ...]:
    """The names of all metrics that can be computed here, in the registry's order."""
    return tuple(name for name, reason in availability(settings, context).items() if not reason)


def weights_hash(name: str, settings: Settings) -> str:
    """sha256 that names the weights a metric would use now; "" for one that needs none.

    UserError for an unknown metric, or where the weights are missing.
    """
    metric = look_up(METRICS, name, "metric")
    parts = [] if metric.carried is None else [metric.carried()]
    parts += [] if metric.files is None else [metric.files(settings)]
    for needed in metric.needs:
        found = find_weights(needed, settings)
        if isinstance(found, MissingWeights):
            raise UserError(found.reason)
        parts.append(found.sha256)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest() if parts else ""


def directions() -> dict[str, Literal["higher", "lower"]]:
    """Which end of each metric means more leakage, by name: to read tables that hold scores of ours."""
    return {name: metric.direction for name, metric in METRICS.items()}


def library_of(metric: Metric) -> str:
    """Name and installed version of the package that computes it, such as "torchmetrics 1.9.0"; "SemSight" for ours."""
    if not metric.library:
        return "SemSight"
    try:
        return f"{metric.library} {importlib.metadata.version(metric.library)}"
    except importlib.metadata.PackageNotFoundError:
        return f"{metric.library}, not installed"

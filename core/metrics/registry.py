"""Every metric by name, and whether it can be computed here. Imports no torch."""

from __future__ import annotations

import hashlib

from core.errors import UserError
from core.metrics.base import Context, Metric
from core.metrics.lpips import linear_file, linear_hash, lpips_metrics
from core.metrics.pixel import MAE, MSE, PSNR
from core.metrics.ssim import MS_SSIM, SSIM, SSIM_UNIFORM
from core.metrics.victim import NEEDS_VICTIM, VICTIM_PREDICTION, VICTIM_PROBABILITY
from core.models.weights import MissingWeights, find_weights
from core.registry import look_up, register
from core.settings import Settings

METRICS: dict[str, Metric] = {}

for _metric in (
    MSE,
    MAE,
    PSNR,
    SSIM,
    SSIM_UNIFORM,
    MS_SSIM,
    *lpips_metrics(),
    VICTIM_PREDICTION,
    VICTIM_PROBABILITY,
):
    register(METRICS, _metric.name, _metric)


def availability(settings: Settings, context: Context | None = None) -> dict[str, str]:
    """For each metric "" if it can be computed here, else the reason in a sentence. Sizes are a matter of each pair."""
    return {name: unavailable(metric, settings, context) for name, metric in METRICS.items()}


def unavailable(metric: Metric, settings: Settings, context: Context | None = None) -> str:
    """Why `metric` cannot be computed here, or ""."""
    if metric.diagnostic and (context is None or context.victim is None or context.labels is None):
        return NEEDS_VICTIM
    for name in metric.needs:
        found = find_weights(name, settings)
        if isinstance(found, MissingWeights):
            return found.reason
        try:
            linear_file(_backbone(metric))
        except UserError as error:
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
    if not metric.needs:
        return ""
    parts = [linear_hash(_backbone(metric))]
    for needed in metric.needs:
        found = find_weights(needed, settings)
        if isinstance(found, MissingWeights):
            raise UserError(found.reason)
        parts.append(found.sha256)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _backbone(metric: Metric) -> str:
    """The lpips package's name of the backbone: lpips_alex_224 -> alex."""
    return metric.name.split("_")[1]

"""A run in one row a metric, in figures that survive infinities."""

from dataclasses import dataclass

import numpy as np

from core.metrics.registry import METRICS
from core.report.beside import median
from core.report.columns import RunTable

DECIBEL = "dB"


@dataclass(frozen=True)
class MetricSummary:
    """One metric over a run's reconstructions of one role.

    median counts infinities in their place; mean leaves them out, and `infinite` says how many. of_mean_error: for a
    metric in dB, -10 log10 of the mean of the errors that its scores stand for (an infinite score is an error of 0).
    """

    metric: str
    n: int  # scored, infinities included
    infinite: int
    unscored: int
    median: float | None
    mean: float | None
    of_mean_error: float | None = None


def run_summary(table: RunTable) -> tuple[MetricSummary, ...]:
    """Every metric of the table, in the registry's order; one without any score has n = 0."""
    order = {name: place for place, name in enumerate(METRICS)}
    names = sorted(table.metrics, key=lambda name: (order.get(name, len(order)), name))
    return tuple(summarise(name, table.scores[name]) for name in names)


def summarise(metric: str, column: np.ndarray) -> MetricSummary:
    """One metric from its (n,) scores: NaN is unscored, ±inf a value."""
    values = column[~np.isnan(column)]
    finite = values[np.isfinite(values)]
    record = METRICS.get(metric)
    return MetricSummary(
        metric=metric,
        n=len(values),
        infinite=len(values) - len(finite),
        unscored=len(column) - len(values),
        median=median(values),
        mean=float(finite.mean()) if len(finite) else None,
        of_mean_error=decibels_of_mean(values) if record and record.unit == DECIBEL and len(values) else None,
    )


def decibels_of_mean(decibels: np.ndarray) -> float:
    """PSNR of the mean squared error behind these PSNRs, for pixels in [0, 1]; inf where every error is 0."""
    error = float(np.mean(10.0 ** (-decibels / 10)))
    return float("inf") if error == 0 else float(-10 * np.log10(error))

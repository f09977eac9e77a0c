"""Spearman, Kendall tau-b and Pearson between two columns, rows taken as independent.

Intervals: Fisher's z with the standard errors of Bonett & Wright, Psychometrika 65 (2000) 23-28. Rows that share an
original or an annotator are not independent: see core.statistics.study for those.
"""

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
from scipy import stats

from core.statistics.estimate import Estimate, Floats, same_length, undefined, vector


def spearman(x: npt.ArrayLike, y: npt.ArrayLike, confidence: float = 0.95) -> Estimate:
    """Spearman's rho of two (n,) arrays in [-1, 1]: Pearson's r of the mid-ranks. Infinities rank as ends."""
    method = "Spearman, Fisher z interval (Bonett & Wright 2000)"
    a, b, unscored = _scored(x, y)
    reason = _degenerate(a, b)
    if reason:
        return undefined(len(a), unscored, method, reason)
    rho = _product_moment(stats.rankdata(a), stats.rankdata(b))
    low, high = _fisher(rho, len(a) - 3, 1 + rho**2 / 2, confidence)
    return Estimate(rho, low, high, len(a), unscored, method)


def kendall(x: npt.ArrayLike, y: npt.ArrayLike, confidence: float = 0.95) -> Estimate:
    """Kendall's tau-b (corrected for ties) of two (n,) arrays in [-1, 1]. Infinities rank as ends."""
    method = "Kendall tau-b, Fisher z interval (Fieller, Hartley & Pearson 1957)"
    a, b, unscored = _scored(x, y)
    reason = _degenerate(a, b)
    if reason:
        return undefined(len(a), unscored, method, reason)
    tau = float(stats.kendalltau(stats.rankdata(a), stats.rankdata(b), method="asymptotic").statistic)
    low, high = _fisher(tau, len(a) - 4, 0.437, confidence)
    return Estimate(tau, low, high, len(a), unscored, method)


def pearson(x: npt.ArrayLike, y: npt.ArrayLike, confidence: float = 0.95) -> Estimate:
    """Pearson's r of two (n,) arrays in [-1, 1]. Undefined when a value is infinite."""
    method = "Pearson, Fisher z interval"
    a, b, unscored = _scored(x, y)
    reason = _degenerate(a, b)
    if not reason and not (np.isfinite(a).all() and np.isfinite(b).all()):
        reason = "a value is infinite; use a rank correlation"
    if reason:
        return undefined(len(a), unscored, method, reason)
    r = _product_moment(a, b)
    low, high = _fisher(r, len(a) - 3, 1.0, confidence)
    return Estimate(r, low, high, len(a), unscored, method)


def _scored(x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[Floats, Floats, int]:
    a, b = vector(x), vector(y)
    same_length(a, b)
    keep = ~(np.isnan(a) | np.isnan(b))
    return a[keep], b[keep], int((~keep).sum())


def _degenerate(a: Floats, b: Floats) -> str:
    if len(a) < 3:
        return f"needs at least 3 scored rows, got {len(a)}"
    for values, which in ((a, "first"), (b, "second")):
        if (values == values[0]).all():
            return f"all values of the {which} column are equal"
    return ""


def _product_moment(a: Floats, b: Floats) -> float:
    scaled_a, scaled_b = (v / max(np.abs(v).max(), np.finfo(float).tiny) for v in (a, b))
    da, db = scaled_a - scaled_a.mean(), scaled_b - scaled_b.mean()
    r = float(np.dot(da, db) / (np.linalg.norm(da) * np.linalg.norm(db)))
    return math.copysign(1.0, r) if abs(r) > 1 - 1e-14 else r  # rounding must not hide a perfect order


def _fisher(r: float, degrees: int, variance: float, confidence: float) -> tuple[float | None, float | None]:
    if degrees < 1:
        return None, None
    if abs(r) == 1.0:
        return r, r
    half = NormalDist().inv_cdf((1 + confidence) / 2) * math.sqrt(variance / degrees)
    z = math.atanh(r)
    return math.tanh(z - half), math.tanh(z + half)

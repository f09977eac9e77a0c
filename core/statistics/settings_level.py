"""The level of settings: mean score of each setting against its share of recognisable reconstructions."""

from typing import cast

import numpy as np
from scipy import stats

from core.statistics.correlation import kendall, spearman
from core.statistics.estimate import Estimate, Floats, Number, json_number, undefined
from core.statistics.permutation import leave_one_out, permutation_p
from core.statistics.weighted import Integers

FEWEST = 3  # settings


def setting_means(values: Floats, setting: Integers, settings: int, weights: Floats) -> Floats:
    """(b, settings) weighted means of (n,) values; NaN is left out, and a setting that has none is NaN.

    A setting that holds an infinite score has that infinite mean, so it ranks at that end; one with both is NaN.
    """
    means = np.full((len(weights), settings), np.nan)
    for s in range(settings):
        rows = np.flatnonzero((setting == s) & ~np.isnan(values))
        if not len(rows):
            continue
        x, w = values[rows], weights[:, rows]
        total = w.sum(1)
        finite = np.where(np.isfinite(x), x, 0.0)
        mean = np.divide(w @ finite, total, out=np.full(len(w), np.nan), where=total > 0)
        up, down = (w[:, x == np.inf] > 0).any(1), (w[:, x == -np.inf] > 0).any(1)
        mean = np.where(up, np.inf, np.where(down, -np.inf, mean))
        means[:, s] = np.where(up & down, np.nan, mean)
    return means


def weighted_shares(hits: Floats, decided: Floats, setting: Integers, settings: int) -> Floats:
    """(b, settings) share of recognisable among the decided, from (b, n) weights of either; NaN where none is."""
    shares = np.full((len(hits), settings), np.nan)
    for s in range(settings):
        rows = np.flatnonzero(setting == s)
        total = decided[:, rows].sum(1)
        np.divide(hits[:, rows].sum(1), total, out=shares[:, s], where=total > 0)
    return shares


def compare(means: Floats, shares: Floats) -> tuple[Estimate, Estimate]:
    """Spearman and Kendall of (s,) setting means and shares, without intervals (few settings say little of others)."""
    n = int((~np.isnan(means) & ~np.isnan(shares)).sum())
    if n < FEWEST:
        reason = f"needs at least {FEWEST} settings, got {n}"
        return undefined(n, len(means) - n, "", reason), undefined(n, len(means) - n, "", reason)
    return spearman(means, shares), kendall(means, shares)


def caution(means: Floats, shares: Floats) -> dict[str, Number | list[Number]]:
    """Exact permutation p, and the range of rho when one setting is left out: what few settings can say of others."""
    rest = [e.estimate for e in leave_one_out(means, shares) if e.estimate is not None]
    return {
        "p": json_number(permutation_p(means, shares)),
        "leave_one_setting_out": [json_number(min(rest)), json_number(max(rest))] if rest else [],
    }


def spearman_rows(a: Floats, b: Floats) -> Floats:
    """(b,) Spearman of each row of two (b, s) arrays; NaN where a row has a NaN or does not vary."""
    ranks = stats.rankdata(np.stack([a, b]), axis=2, nan_policy="propagate")
    return _correlation(ranks[0], ranks[1])


def kendall_rows(a: Floats, b: Floats) -> Floats:
    """(b,) Kendall tau-b of each row of two (b, s) arrays; NaN where a row has a NaN or does not vary."""
    first, second = np.triu_indices(a.shape[1], 1)
    signs_a, signs_b = _signs(a, first, second), _signs(b, first, second)
    missing = np.isnan(a).any(1) | np.isnan(b).any(1)
    scale = np.sqrt((signs_a**2).sum(1) * (signs_b**2).sum(1))
    tau = np.full(len(a), np.nan)
    return cast(Floats, np.divide((signs_a * signs_b).sum(1), scale, out=tau, where=(scale > 0) & ~missing))


def _signs(values: Floats, first: np.ndarray, second: np.ndarray) -> Floats:
    x, y = values[:, first], values[:, second]
    return (x > y).astype(np.float64) - (x < y)


def _correlation(a: Floats, b: Floats) -> Floats:
    da, db = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    scale = np.sqrt((da**2).sum(1) * (db**2).sum(1))
    rho = np.full(len(a), np.nan)
    return cast(Floats, np.divide((da * db).sum(1), scale, out=rho, where=scale > 0))

"""How well a score tells the recognisable from the rest, over all rows and within one original."""

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
from scipy import stats

from core.statistics.estimate import Estimate, Floats, same_length, undefined, vector

Integers = npt.NDArray[np.int64]


def auc(score: npt.ArrayLike, positive: npt.ArrayLike, confidence: float = 0.95) -> Estimate:
    """Area under the ROC curve in [0, 1]: P(score of a positive > score of a negative), ties one half.

    score: (n,), higher = more leakage. positive: (n,) of 0 or 1, NaN = undetermined. Interval: Hanley & McNeil,
    Radiology 143 (1982) 29-36, rows taken as independent.
    """
    method = "AUC, Hanley & McNeil (1982) interval"
    x, y = vector(score), vector(positive)
    same_length(x, y)
    keep = ~(np.isnan(x) | np.isnan(y))
    x, hit, unscored = x[keep], y[keep] > 0.5, int((~keep).sum())
    ones, zeros = int(hit.sum()), int((~hit).sum())
    if not ones or not zeros:
        missing = "recognisable" if not ones else "unrecognisable"
        return undefined(len(x), unscored, method, f"no scored row is {missing}")
    area = float((stats.rankdata(x)[hit].sum() - ones * (ones + 1) / 2) / (ones * zeros))
    both_ones, both_zeros = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (ones - 1) * (both_ones - area**2) + (zeros - 1) * (both_zeros - area**2)
    half = NormalDist().inv_cdf((1 + confidence) / 2) * math.sqrt(max(variance, 0.0) / (ones * zeros))
    return Estimate(area, max(0.0, area - half), min(1.0, area + half), len(x), unscored, method)


def pairwise_accuracy(score: npt.ArrayLike, rate: npt.ArrayLike, original: npt.ArrayLike) -> Estimate:
    """Share of pairs of one original, with different recognition rates, that the score orders alike; in [0, 1].

    score: (n,), higher = more leakage; a tie of the score counts one half. rate: (n,). original: (n,) ids of any
    kind. n of the estimate counts pairs, unscored counts rows. No interval: pairs share rows.
    """
    method = "within-original pairwise accuracy, ties one half"
    x, p, ids = vector(score), vector(rate), np.asarray(original)
    same_length(x, p, ids)
    keep = ~(np.isnan(x) | np.isnan(p))
    x, p, unscored = x[keep], p[keep], int((~keep).sum())
    first, second = pairs_within(ids[keep])
    different = p[first] != p[second]
    first, second = first[different], second[different]
    if not len(first):
        return undefined(0, unscored, method, "no two reconstructions of one original differ in recognition rate")
    agreement = order(x, first, second) * order(p, first, second)
    return Estimate(float((1 + agreement.mean()) / 2), None, None, len(first), unscored, method)


def pairs_within(groups: npt.NDArray[np.generic]) -> tuple[Integers, Integers]:
    """Row indices (first, second) of every unordered pair of rows that share a group."""
    _, codes = np.unique(groups, return_inverse=True)
    by_group = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(codes[by_group]) != 0]) if len(codes) else np.empty(0, np.int64)
    firsts, seconds = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for members in np.split(by_group, starts[1:]):
        i, j = np.triu_indices(len(members), 1)
        firsts.append(members[i])
        seconds.append(members[j])
    return np.concatenate(firsts), np.concatenate(seconds)


def order(values: Floats, first: Integers, second: Integers) -> Floats:
    """+1, 0 or -1 for each pair: which of the two is larger. Equal infinities are ties."""
    return (values[first] > values[second]).astype(np.float64) - (values[first] < values[second])

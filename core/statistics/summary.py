"""Shares, medians and mean errors of a set of scores."""

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from core.statistics.estimate import Estimate, undefined, vector


def wilson(successes: int, total: int, confidence: float = 0.95) -> Estimate:
    """A share in [0, 1] with Wilson's score interval (J. American Statistical Association 22 (1927) 209)."""
    method = "Wilson score interval"
    if not 0 <= successes <= total:
        raise ValueError(f"Expected 0 <= successes <= total, got {successes} of {total}.")
    if total == 0:
        return undefined(0, 0, method, "nothing was counted")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = successes / total
    centre = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z / (1 + z**2 / total) * math.sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == total else centre + half
    return Estimate(share, low, high, total, 0, method)


def median(values: npt.ArrayLike, confidence: float = 0.95) -> Estimate:
    """The median of (n,) values; NaN is unscored, infinities are values.

    Interval between order statistics (binomial, so at least the stated confidence for any distribution); None
    where n is too small for one, below 6 at 95 %.
    """
    from scipy import stats  # a second to import; wilson does without

    method = "median, order-statistics interval"
    given = vector(values)
    kept = np.sort(given[~np.isnan(given)])
    n, unscored = len(kept), int(np.isnan(given).sum())
    if not n:
        return undefined(0, unscored, method, "nothing was scored")
    below, above = kept[(n - 1) // 2], kept[n // 2]
    if below == -math.inf and above == math.inf:
        return undefined(n, unscored, method, "half are -inf and half are inf")
    middle = float(below if below == above else below / 2 + above / 2)
    rank = int(stats.binom.ppf((1 - confidence) / 2, n, 0.5))  # the largest with P(X < rank) <= alpha / 2
    if rank < 1:
        return Estimate(middle, None, None, n, unscored, method)
    return Estimate(middle, float(kept[rank - 1]), float(kept[n - rank]), n, unscored, method)


def psnr_of_mean_mse(mse: npt.ArrayLike, data_range: float = 1.0) -> Estimate:
    """PSNR in dB of the mean of (n,) mean squared errors; inf when all are 0. NaN is unscored.

    Unlike a mean of PSNRs it is finite as soon as one image differs from its original.
    """
    method = "PSNR of the mean MSE"
    given = vector(mse)
    kept = given[~np.isnan(given)]
    n, unscored = len(kept), int(np.isnan(given).sum())
    if not n:
        return undefined(0, unscored, method, "nothing was scored")
    if (kept < 0).any():
        raise ValueError("A mean squared error cannot be negative.")
    error = float(kept.mean())
    value = math.inf if error == 0 else 10 * math.log10(data_range**2 / error)
    return Estimate(value, None, None, n, unscored, method)

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
    share = successes / total
    return Estimate(share, *_score_interval(share, total, confidence), total, 0, method)


def clustered_share(hits: npt.ArrayLike, totals: npt.ArrayLike, confidence: float = 0.95) -> Estimate:
    """A share in [0, 1] of answers that come in clusters: hits of totals of each of (m,) images.

    Answers about one image are alike, so they count for less than as many about as many images: Wilson's interval at
    the effective sample size p (1 - p) / var(p), var by linearisation over images (Franco, Little, Louis & Slud,
    J. Survey Statistics and Methodology 7 (2019) 334), between 1 and the number of answers; where all answers are
    equal, which leaves no variance, the number of images. n is the number of answers.
    """
    method = "Wilson score interval at the effective sample size, images as clusters"
    h, t = vector(hits), vector(totals)
    if h.shape != t.shape or (h < 0).any() or (h > t).any():
        raise ValueError("Expected 0 <= hits <= totals of each image, in arrays of one length.")
    h, t = h[t > 0], t[t > 0]
    answers, images = float(t.sum()), len(t)
    if not images:
        return undefined(0, 0, method, "nobody has answered")
    share = float(h.sum()) / answers
    spread = float(((h - share * t) ** 2).sum()) * images / max(1, images - 1) / answers**2
    effective = share * (1 - share) / spread if spread > 0 else float(images)
    effective = min(answers, max(1.0, effective)) if images > 1 else 1.0
    return Estimate(share, *_score_interval(share, effective, confidence), int(answers), 0, method)


def _score_interval(share: float, total: float, confidence: float) -> tuple[float, float]:
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    centre = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z / (1 + z**2 / total) * math.sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
    return 0.0 if share == 0 else centre - half, 1.0 if share == 1 else centre + half


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

"""Rank statistics under many weightings of the same rows at once: what a bootstrap computes.

A weight of 2 means that the row was drawn twice. All work over one sort of the score: weights are (b, m) in that order,
b weightings of m rows. `codes` are (b, m) whole numbers 0 … levels - 1 that order the recognition rates.
A result that is not defined for a weighting is NaN.
"""

from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt

from core.statistics.estimate import Floats, vector

MOST_LEVELS = 64  # of recognition rates: as many as 63 annotators without gaps give
Integers = npt.NDArray[np.int64]
Codes = npt.NDArray[np.integer]
Booleans = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Ordered:
    """The scored rows in ascending order: (m,) row numbers and tie groups, (g,) the last of each group."""

    rows: Integers
    group: Integers
    ends: Integers

    @property
    def tied(self) -> bool:
        """True when two rows have one score."""
        return len(self.ends) < len(self.rows)


def ordered(values: npt.ArrayLike) -> Ordered:
    """Sort (n,) scores; NaN is left out."""
    x = vector(values)
    rows = np.flatnonzero(~np.isnan(x))
    rows = rows[np.argsort(x[rows], kind="stable")]
    new = np.r_[True, x[rows][1:] != x[rows][:-1]] if len(rows) else np.empty(0, bool)
    ends = np.r_[np.flatnonzero(new)[1:] - 1, len(rows) - 1] if len(rows) else np.empty(0, np.int64)
    return Ordered(rows, np.cumsum(new) - 1, ends)


def midranks(by: Ordered, weights: Floats) -> Floats:
    """(b, m) mid-ranks less one half: the weight below each row, plus half of its tie group's."""
    upto = np.cumsum(weights, axis=1)
    if not by.tied:
        return upto - weights / 2
    ends = upto[:, by.ends]
    middle = ends.copy()
    middle[:, 1:] += ends[:, :-1]
    return (middle / 2)[:, by.group]


def level_sums(codes: Codes, levels: int, weights: Floats) -> Floats:
    """(b, levels): the sum of `weights` over the rows of each level."""
    b = len(weights)
    places = codes + np.arange(b, dtype=np.int64)[:, None] * levels
    sums = np.bincount(places.ravel(), weights.ravel(), minlength=b * levels).astype(np.float64)
    return sums.reshape(b, levels)


def spearman(by: Ordered, weights: Floats, codes: Codes, levels: int) -> Floats:
    """(b,) Spearman's rho of the score and the coded rates."""
    ranks = midranks(by, weights)
    rank_sums = level_sums(codes, levels, weights * ranks)
    spread = np.einsum("bm,bm,bm->b", weights, ranks, ranks)
    return spearman_of_sums(level_sums(codes, levels, weights), rank_sums, spread)


def spearman_of_sums(totals: Floats, rank_sums: Floats, spread: Floats) -> Floats:
    """(b,) Spearman's rho from (b, levels) weights and weighted rank sums, and the (b,) sum of squared ranks.

    The weighted mean of mid-ranks (less one half) is always half the total weight.
    """
    n = totals.sum(1)
    level_ranks = np.cumsum(totals, axis=1) - totals / 2
    covariance = (level_ranks * rank_sums).sum(1) - n**3 / 4
    across = spread - n**3 / 4
    along = (totals * level_ranks**2).sum(1) - n**3 / 4
    return ratio(covariance, np.sqrt(np.maximum(across, 0) * np.maximum(along, 0)), n**3)


def kendall(by: Ordered, weights: Floats, codes: Codes, levels: int) -> Floats:
    """(b,) Kendall's tau-b of the score and the coded rates. Copies of one row tie with each other.

    NaN beyond MOST_LEVELS levels: the work grows with their number.
    """
    if levels > MOST_LEVELS:
        return np.full(len(weights), np.nan)
    balance = np.zeros(len(weights))
    for level in range(levels):
        here = codes == level
        if not here.any():
            continue
        sides = np.sign(codes - level, dtype=np.float64) * weights
        # midranks also counts half of a row's own tie group: over all levels those halves cancel in pairs
        balance += np.einsum("bm,bm->b", sides, midranks(by, weights * here))
    n = weights.sum(1)
    groups = np.diff(np.cumsum(weights, axis=1)[:, by.ends], axis=1, prepend=0.0)
    totals = level_sums(codes, levels, weights)
    across, along = n**2 - (groups**2).sum(1), n**2 - (totals**2).sum(1)
    return ratio(2 * balance, np.sqrt(across * along), n**2)


def auc(by: Ordered, weights: Floats, positive: Booleans, decided: Booleans) -> Floats:
    """(b,) area under the ROC curve; rows that are not `decided` are left out."""
    ones = weights * (positive & decided)
    zeros = weights * (decided & ~positive)
    wins = np.einsum("bm,bm->b", ones, midranks(by, zeros))
    pairs = ones.sum(1) * zeros.sum(1)
    return ratio(wins, pairs, pairs)


def ratio(above: Floats, below: Floats, scale: Floats) -> Floats:
    """above / below, NaN where `below` is nothing beside `scale`."""
    result: Floats = np.full(len(above), np.nan)
    return cast(Floats, np.divide(above, below, out=result, where=below > 1e-12 * np.maximum(scale, 1)))

"""Whether two rankings of a few settings agree: rank correlations with permutation p, and ranks with shared places.

A permutation p asks how many of all orders of one column agree with the other at least as well as the order seen.
It is exact where every order can be tried (n <= 8, or Kendall without ties up to 171); with more, the share among
RANDOM_ORDERS seeded random orders, the one seen included (Phipson & Smyth, Stat. Appl. Genet. Mol. Biol. 9 (2010)
39); above MOST_RANDOM the normal and t approximations. `method` says which.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations

import numpy as np
import numpy.typing as npt
from scipy import stats

from core.statistics.correlation import kendall, spearman
from core.statistics.estimate import Floats, same_length, vector
from core.statistics.permutation import MOST

RANDOM_ORDERS = 10_000
MOST_RANDOM = 30  # rows; beyond, the approximations are good and random orders slow
MOST_UNTIED = 171  # beyond it scipy's exact Kendall leaves integers that floats hold
CLOSE = 1e-9  # rounding of sums of ranks
EXACT, RANDOM = "exact", f"{RANDOM_ORDERS:,} random orders"


@dataclass(frozen=True)
class RankTest:
    """A rank correlation in [-1, 1] and its two-sided p; both None where it is not defined, and `reason` says why.

    low, high: the range of the statistic when one row is left out at a time; None where none of those is defined.
    """

    estimate: float | None
    p: float | None
    n: int
    method: str  # how p was computed
    low: float | None = None
    high: float | None = None
    reason: str = ""


def shared_ranks(values: npt.ArrayLike, higher_first: bool = True) -> Floats:
    """(n,) -> (n,) ranks, 1 for the highest (or lowest) value; equal values share the best place; NaN stays NaN.

    Infinities are values and rank at their end.
    """
    found = vector(values)
    ranks = np.full(len(found), np.nan)
    known = ~np.isnan(found)
    ranks[known] = stats.rankdata(-found[known] if higher_first else found[known], "min")
    return ranks


def kendall_test(x: npt.ArrayLike, y: npt.ArrayLike) -> RankTest:
    """Kendall's tau-b of two (n,) columns, with its permutation p. Rows with a NaN are left out."""
    a, b = _both(x, y)
    found = kendall(a, b)
    if found.estimate is None:
        return RankTest(None, None, len(a), "", reason=found.reason)
    if MOST < len(a) <= MOST_UNTIED and len(set(a)) == len(set(b)) == len(a):
        p, method = float(stats.kendalltau(stats.rankdata(a), stats.rankdata(b), method="exact").pvalue), EXACT
    elif len(a) > MOST_RANDOM:
        p = float(stats.kendalltau(stats.rankdata(a), stats.rankdata(b), method="asymptotic").pvalue)
        method = "normal approximation, ties corrected"
    else:
        p, method = _share(_pair_signs(tuple(a)), _shuffled_signs(tuple(b)), len(a))
    return RankTest(found.estimate, p, len(a), method, *_left_out(lambda i, j: kendall(i, j).estimate, a, b))


def spearman_test(x: npt.ArrayLike, y: npt.ArrayLike) -> RankTest:
    """Spearman's rho of two (n,) columns, with its permutation p. Rows with a NaN are left out."""
    a, b = _both(x, y)
    found = spearman(a, b)
    if found.estimate is None:
        return RankTest(None, None, len(a), "", reason=found.reason)
    if len(a) > MOST_RANDOM:
        p = float(stats.spearmanr(stats.rankdata(a), stats.rankdata(b)).pvalue)
        method = "t approximation"
    else:
        p, method = _share(_centred_ranks(tuple(a)), _centred_ranks(tuple(b))[_orders(len(b))], len(a))
    return RankTest(found.estimate, p, len(a), method, *_left_out(lambda i, j: spearman(i, j).estimate, a, b))


def _both(x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[Floats, Floats]:
    a, b = vector(x), vector(y)
    same_length(a, b)
    keep = ~(np.isnan(a) | np.isnan(b))
    return a[keep], b[keep]


def _share(seen: Floats, shuffled: Floats, n: int) -> tuple[float, str]:
    """Two-sided p from the sum of products, which orders the statistic: all else in it is the same in every order.

    seen: (k,). shuffled: (orders, k), the row 0 being the order seen.
    """
    sums = np.abs(shuffled @ seen)
    reached = sums >= sums[0] - CLOSE
    return float(reached.mean()), EXACT if n <= MOST else RANDOM


@lru_cache(maxsize=8)
def _orders(n: int) -> npt.NDArray[np.intp]:
    """(orders, n): every order of n places, or RANDOM_ORDERS seeded ones; the first leaves all in place."""
    if n <= MOST:
        return np.array(list(permutations(range(n))))
    places = np.tile(np.arange(n), (RANDOM_ORDERS, 1))
    return np.concatenate([places[:1], np.random.default_rng(0).permuted(places, axis=1)])


@lru_cache(maxsize=64)
def _pair_signs(values: tuple[float, ...]) -> Floats:
    """(n (n - 1) / 2,): of each pair of rows which one is higher, as 1, 0 or -1."""
    first, second = np.triu_indices(len(values), 1)
    found = np.array(values)
    return (found[first] > found[second]).astype(np.float64) - (found[first] < found[second])


@lru_cache(maxsize=2)
def _shuffled_signs(values: tuple[float, ...]) -> Floats:
    """(orders, n (n - 1) / 2): `_pair_signs` of these values in every order."""
    first, second = np.triu_indices(len(values), 1)
    ranks = stats.rankdata(values)
    shuffled = ranks[_orders(len(values))]
    return np.sign(shuffled[:, first] - shuffled[:, second])


def _centred_ranks(values: tuple[float, ...]) -> Floats:
    ranks: Floats = stats.rankdata(values).astype(np.float64)
    return np.asarray(ranks - ranks.mean())


def _left_out(
    statistic: Callable[[Floats, Floats], float | None], a: Floats, b: Floats
) -> tuple[float | None, float | None]:
    if len(a) > MOST_RANDOM:
        return None, None
    rest = (statistic(np.delete(a, i), np.delete(b, i)) for i in range(len(a)))
    found = [value for value in rest if value is not None]
    return (min(found), max(found)) if found else (None, None)

"""What a handful of settings can say: exact permutation p, and leaving one out."""

from itertools import permutations

import numpy as np
import numpy.typing as npt
from scipy import stats

from core.statistics.correlation import spearman
from core.statistics.estimate import Estimate, Floats, same_length, vector

MOST = 8  # settings: 8! = 40,320 orders


def permutation_p(x: npt.ArrayLike, y: npt.ArrayLike) -> float | None:
    """Two-sided exact p of Spearman's rho: the share of all orders of y whose |rho| is at least the one seen.

    x, y: (n,) with 3 <= n <= 8; None outside that range, or where rho is not defined.
    """
    a, b = vector(x), vector(y)
    same_length(a, b)
    keep = ~(np.isnan(a) | np.isnan(b))
    a, b = a[keep], b[keep]
    if not 3 <= len(a) <= MOST or spearman(a, b).estimate is None:
        return None
    ranks_a, ranks_b = _centred(a), _centred(b)
    orders = np.array(list(permutations(ranks_b)))  # (n!, n)
    seen = abs(float(ranks_a @ ranks_b))
    return float((np.abs(orders @ ranks_a) >= seen - 1e-9).mean())


def leave_one_out(x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[Estimate, ...]:
    """Spearman's rho of the others, for each row left out in turn."""
    a, b = vector(x), vector(y)
    same_length(a, b)
    return tuple(spearman(np.delete(a, i), np.delete(b, i)) for i in range(len(a)))


def _centred(values: Floats) -> Floats:
    ranks: Floats = stats.rankdata(values).astype(np.float64)
    return np.asarray(ranks - ranks.mean())

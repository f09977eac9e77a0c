"""Agreement of annotators, and what one can expect of a metric beside them.

`recognised` is (n, k): row = reconstruction, column = annotator, 1 recognised, 0 not, NaN = gave no answer.
"""

from collections.abc import Iterator
from itertools import combinations
from typing import cast

import numpy as np
import numpy.typing as npt

from core.statistics.estimate import Estimate, Floats, undefined


def matrix(recognised: npt.ArrayLike) -> Floats:
    """`recognised` as a float64 array (n, k); ValueError for any other shape."""
    array = np.asarray(recognised, dtype=np.float64)
    if array.ndim != 2:
        raise ValueError(f"Expected answers of shape (rows, annotators), got {array.shape}.")
    return array


def mean_of(recognised: Floats, columns: list[int] | slice = slice(None)) -> Floats:
    """(n,) share of the annotators in `columns` that recognised each row; NaN where none of them answered."""
    chosen = recognised[:, columns]
    answered = (~np.isnan(chosen)).sum(1)
    total = np.nansum(chosen, axis=1)
    rate: Floats = np.full(len(chosen), np.nan)
    return cast(Floats, np.divide(total, answered, out=rate, where=answered > 0))


def fleiss_kappa(answers: npt.ArrayLike) -> Estimate:
    """Fleiss' kappa (Psychological Bulletin 76 (1971) 378-382), at most 1; 0 is agreement by chance.

    answers: (n, k) category numbers, NaN = gave no answer. Rows with fewer than two answers are left out and counted as
    unscored. Where rows differ in their number of answers, a row's agreement is over its own pairs, and the
    chance agreement is that of all answers together.
    """
    method = "Fleiss' kappa"
    table = matrix(answers)
    used = (~np.isnan(table)).sum(1) >= 2
    n, unscored = int(used.sum()), int((~used).sum())
    if not n:
        return undefined(n, unscored, method, "no row has two answers")
    categories = np.unique(table[used][~np.isnan(table[used])])
    counts = np.stack([(table[used] == c).sum(1) for c in categories], axis=1).astype(np.float64)  # (n, categories)
    kappa = kappa_of_sums(*agreement_sums(counts), np.ones((1, n)))[0]
    if np.isnan(kappa):
        return undefined(n, unscored, method, "all answers are the same")
    return Estimate(float(kappa), None, None, n, unscored, method)


def agreement_sums(counts: Floats) -> tuple[Floats, Floats]:
    """From counts (n, categories): each row's agreement (n,), and its counts again, to be summed by weight."""
    answers = counts.sum(1)
    agreeing = (counts * (counts - 1)).sum(1) / (answers * (answers - 1))
    return agreeing, counts


def kappa_of_sums(agreeing: Floats, counts: Floats, weights: Floats) -> Floats:
    """Fleiss' kappa (b,) for b weightings (b, n) of the rows; NaN where only one category occurs."""
    observed = weights @ agreeing / weights.sum(1)
    totals = weights @ counts
    shares = totals / totals.sum(1, keepdims=True)
    chance = (shares**2).sum(1)
    kappa: Floats = np.full(len(weights), np.nan)
    return cast(Floats, np.divide(observed - chance, 1 - chance, out=kappa, where=chance < 1 - 1e-12))


def cronbach_alpha(recognised: npt.ArrayLike) -> Estimate:
    """Cronbach's alpha (Psychometrika 16 (1951) 297-334) of the annotators' mean, over rows that all answered.

    Its square root is the most that a perfect predictor of recognisability could correlate with that mean.
    """
    method = "Cronbach's alpha over complete rows"
    table = matrix(recognised)
    complete = ~np.isnan(table).any(1)
    rows, k = table[complete], table.shape[1]
    n, unscored = len(rows), int((~complete).sum())
    if k < 2 or n < 2:
        return undefined(n, unscored, method, f"needs 2 annotators and 2 complete rows, got {k} and {n}")
    alpha = alpha_of_moments(*moments(rows), np.ones((1, n)))[0]
    if np.isnan(alpha):
        return undefined(n, unscored, method, "the annotators' mean is the same in every row")
    return Estimate(float(alpha), None, None, n, unscored, method)


def moments(rows: Floats) -> tuple[Floats, Floats]:
    """(n, k+1) answers with their sum as the last column, and their squares."""
    extended = np.concatenate([rows, rows.sum(1, keepdims=True)], axis=1)
    return extended, extended**2


def alpha_of_moments(values: Floats, squares: Floats, weights: Floats) -> Floats:
    """Cronbach's alpha (b,) for b weightings (b, n) of the rows; NaN where the sum does not vary."""
    total = weights.sum(1, keepdims=True)
    variance = weights @ squares / total - (weights @ values / total) ** 2  # (b, k + 1)
    k = values.shape[1] - 1
    alpha: Floats = np.full(len(weights), np.nan)
    varies = variance[:, -1] > 1e-12
    ratio = np.divide(variance[:, :-1].sum(1), variance[:, -1], out=alpha, where=varies)
    return cast(Floats, k / (k - 1) * (1 - ratio))


def splits(annotators: int) -> Iterator[tuple[list[int], list[int]]]:
    """Every way to set half of the annotators (rounded down) against the others; for an even number each once."""
    everyone = set(range(annotators))
    for chosen in combinations(range(annotators), annotators // 2):
        if annotators % 2 == 0 and 0 not in chosen:
            continue
        yield list(chosen), sorted(everyone - set(chosen))

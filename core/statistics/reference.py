"""The human reference: how well people agree with people, beside which a metric's figures are read.

No number here is "the ceiling": each is named by what is compared with what. Intervals resample originals only, because
an annotator drawn twice would agree with himself.
"""

from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np

from core.statistics import agreement, weighted
from core.statistics.correlation import spearman
from core.statistics.estimate import Estimate, Floats, Number
from core.statistics.resampling import CELLS, Draws, chunks, with_interval
from core.statistics.study import StudyData

MOST_SPLITS = 126  # all of them up to 10 annotators
Leaf = dict[str, Number | int]


def human_reference(study: StudyData, draws: Draws) -> dict[str, Leaf | dict[str, Leaf]]:
    """split_half, one_against_rest, cronbach_alpha, sqrt_alpha, and metric_against_rest for each metric.

    split_half: half of the annotators against the others (two against three of five), mean Spearman over all splits.
    one_against_rest: each annotator against the mean of the rest; metric_against_rest: a metric on that footing.
    """
    k = study.recognised.shape[1]
    everyone = range(k)
    answers = study.recognised
    divided = islice(agreement.splits(k), MOST_SPLITS) if k >= 2 else ()
    halves = [(agreement.mean_of(answers, a), agreement.mean_of(answers, b)) for a, b in divided]
    rests = [agreement.mean_of(answers, [j for j in everyone if j != i]) for i in everyone] if k >= 2 else []
    singles = [(answers[:, i], rest) for i, rest in enumerate(rests)]
    alpha = _alpha(study, draws)
    return {
        "split_half": _mean_spearman(study, halves, draws).to_dict(),
        "one_against_rest": _mean_spearman(study, singles, draws).to_dict(),
        "cronbach_alpha": alpha.to_dict(),
        "sqrt_alpha": _root(alpha).to_dict(),
        "metric_against_rest": {m: _metric_against(study, m, rests, draws).to_dict() for m in study.metrics},
    }


def kappa(study: StudyData, draws: Draws) -> Estimate:
    """Fleiss' kappa of recognised or not, with its interval over originals."""
    point = agreement.fleiss_kappa(study.recognised)
    if point.estimate is None:
        return point
    given = ~np.isnan(study.recognised)
    rows = np.flatnonzero(given.sum(1) >= 2)
    counts = np.stack([(study.recognised[rows] == c).sum(1) for c in (0.0, 1.0)], axis=1).astype(np.float64)
    agreeing, counts = agreement.agreement_sums(counts)
    values = [agreement.kappa_of_sums(agreeing, counts, w[:, rows]) for w in _row_weights(study, draws)]
    return _with_interval(point, values)


def _alpha(study: StudyData, draws: Draws) -> Estimate:
    point = agreement.cronbach_alpha(study.recognised)
    if point.estimate is None:
        return point
    rows = np.flatnonzero(~np.isnan(study.recognised).any(1))
    values, squares = agreement.moments(study.recognised[rows])
    return _with_interval(
        point, [agreement.alpha_of_moments(values, squares, w[:, rows]) for w in _row_weights(study, draws)]
    )


def _root(alpha: Estimate) -> Estimate:
    """Square root of alpha: what a perfect predictor could reach against the mean of these annotators."""
    if alpha.estimate is None or alpha.estimate < 0:
        reason = alpha.reason or "alpha is negative"
        return Estimate(None, None, None, alpha.n, alpha.unscored, "square root of alpha", reason)
    low, high = (None if v is None else max(v, 0.0) ** 0.5 for v in (alpha.low, alpha.high))
    return Estimate(alpha.estimate**0.5, low, high, alpha.n, alpha.unscored, "square root of alpha")


def _mean_spearman(study: StudyData, pairs: list[tuple[Floats, Floats]], draws: Draws) -> Estimate:
    method = "mean Spearman over splits of the annotators"
    points = [spearman(a, b) for a, b in pairs]
    found = _mean_of(points, method, len(study.recognised))
    if found.estimate is None:
        return found
    values = np.sum([_resampled(study, a, b, draws) for a, b in pairs], axis=0)
    return _with_interval(found, [values / len(pairs)])


def _resampled(study: StudyData, a: Floats, b: Floats, draws: Draws) -> Floats:
    """(b,) weighted Spearman of two columns of few levels, by their cross-table; by sorting where there are many."""
    keep = np.flatnonzero(~(np.isnan(a) | np.isnan(b)))
    first, second = np.unique(a[keep], return_inverse=True), np.unique(b[keep], return_inverse=True)
    shape = (draws.originals.shape[1], len(first[0]), len(second[0]))
    if shape[0] * shape[1] * shape[2] > 10 * CELLS:
        by = weighted.ordered(np.where(np.isnan(b), np.nan, a))
        codes = np.searchsorted(second[0], b[by.rows])
        sorted_weights = (weights[:, by.rows] for weights in _row_weights(study, draws))
        found = [weighted.spearman(by, w, np.broadcast_to(codes, w.shape), shape[2]) for w in sorted_weights]
        return np.concatenate([np.empty(0), *found])
    cells = np.zeros(shape)  # rows of each original in each cell of the cross-table
    np.add.at(cells, (study.original[keep], first[1], second[1]), 1.0)
    tables = (draws.originals @ cells.reshape(shape[0], -1)).reshape(-1, *shape[1:])
    across = tables.sum(2)
    ranks = np.cumsum(across, axis=1) - across / 2
    return weighted.spearman_of_sums(tables.sum(1), np.einsum("bij,bi->bj", tables, ranks), (across * ranks**2).sum(1))


def _metric_against(study: StudyData, metric: str, rests: list[Floats], draws: Draws) -> Estimate:
    method = "mean Spearman of the metric with the mean of all annotators but one"
    score = study.oriented(metric)
    found = _mean_of([spearman(score, rest) for rest in rests], method, len(score))
    if found.estimate is None:
        return found
    values = np.zeros(len(draws.originals))
    complete = not np.isnan(np.stack(rests)).any()
    for group in [rests] if complete else [[rest] for rest in rests]:
        answered = ~np.isnan(np.stack(group)).any(0)
        by = weighted.ordered(np.where(answered, score, np.nan))
        values += np.concatenate([np.empty(0), *_sums_against(study, by, group, draws)])
    return _with_interval(found, [values / len(rests)])


def _sums_against(study: StudyData, by: weighted.Ordered, rests: list[Floats], draws: Draws) -> Iterator[Floats]:
    """(b,) sum over `rests` of the weighted Spearman with the sorted score; one sort and one product serve them all."""
    coded = [np.unique(rest[by.rows], return_inverse=True) for rest in rests]
    one_hot = np.concatenate([np.eye(len(levels))[codes] for levels, codes in coded], axis=1)  # (m, all levels)
    cuts = np.cumsum([len(levels) for levels, _ in coded])[:-1]
    for row_weights in _row_weights(study, draws):
        weights = row_weights[:, by.rows]
        ranks = weighted.midranks(by, weights)
        ranked = weights * ranks
        spread = np.einsum("bm,bm->b", ranked, ranks)
        totals, sums = np.split(weights @ one_hot, cuts, axis=1), np.split(ranked @ one_hot, cuts, axis=1)
        yield np.sum([weighted.spearman_of_sums(t, s, spread) for t, s in zip(totals, sums, strict=True)], axis=0)


def _row_weights(study: StudyData, draws: Draws) -> Iterator[Floats]:
    """(b, n) weights of the rows under the draws of the originals, a piece at a time."""
    for piece in chunks(draws, len(study.original)):
        yield piece.originals[:, study.original]


def _mean_of(points: list[Estimate], method: str, n: int) -> Estimate:
    if not points:
        return Estimate(None, None, None, n, 0, method, "needs at least 2 annotators")
    undefined = next((p for p in points if p.estimate is None), None)
    if undefined is not None:
        return Estimate(None, None, None, undefined.n, undefined.unscored, method, undefined.reason)
    used = min(p.n for p in points)
    return Estimate(float(np.mean([p.estimate for p in points])), None, None, used, n - used, method)


def _with_interval(point: Estimate, values: Iterable[Floats], bounds: tuple[float, float] = (-1.0, 1.0)) -> Estimate:
    resampled = list(values)
    return with_interval(point, np.concatenate(resampled) if resampled else np.empty(0), bounds)

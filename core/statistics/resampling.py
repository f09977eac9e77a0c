"""The two-way bootstrap: originals and annotators are drawn with replacement, independently.

Settings share their originals and every annotator judged many rows, so rows are not independent: resampling rows alone
would claim intervals that are too narrow.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

from core.statistics import weighted
from core.statistics.discrimination import order, pairs_within
from core.statistics.estimate import Estimate, Floats
from core.statistics.settings_level import kendall_rows, setting_means, spearman_rows, weighted_shares
from core.statistics.study import FEWEST_ANSWERS, StudyData
from core.statistics.weighted import Booleans, Codes

CELLS = 500_000  # numbers in one working array: a chunk that stays in the processor's cache


@dataclass(frozen=True)
class Draws:
    """b resamples: (b, originals) and (b, annotators) counts of how often each was drawn."""

    originals: Floats
    annotators: Floats


def draw(originals: int, annotators: int, resamples: int, seed: int) -> Draws:
    """Draw originals and annotators with replacement, each as many as there are."""
    rng = np.random.default_rng(seed)
    first = rng.multinomial(originals, np.full(originals, 1 / originals), size=resamples)
    second = rng.multinomial(annotators, np.full(annotators, 1 / annotators), size=resamples)
    return Draws(first.astype(np.float64), second.astype(np.float64))


def chunks(draws: Draws, rows: int) -> Iterator[Draws]:
    """The draws in pieces whose (b, rows) arrays stay small."""
    step = max(1, CELLS // max(rows, 1))
    for start in range(0, len(draws.originals), step):
        yield Draws(draws.originals[start : start + step], draws.annotators[start : start + step])


@dataclass(frozen=True)
class Rates:
    """Recognition rates under b drawings of the annotators.

    codes: (b, n), order the rates; levels: how many codes there are. answered, decided, positive: (b, n): some
    answer, at least 3, and a rate above one half.
    """

    codes: Codes
    levels: int
    answered: Booleans
    decided: Booleans
    positive: Booleans


def rates_of(recognised: Floats, annotators: Floats) -> Rates:
    """Rates (b, n) for answers (n, k) and annotators drawn (b, k) times. Equal fractions get equal codes."""
    k = recognised.shape[1]
    given = ~np.isnan(recognised)
    yes = np.rint(annotators @ np.where(given, recognised, 0.0).T).astype(np.int64)
    asked = np.rint(annotators @ given.T.astype(np.float64)).astype(np.int64)
    if given.all():
        return Rates(yes, k + 1, asked > 0, asked >= FEWEST_ANSWERS, 2 * yes > asked)
    share = np.arange(k + 1)[:, None] / np.maximum(np.arange(k + 1), 1)[None, :]
    _, table = np.unique(np.round(share, 12), return_inverse=True)
    table = table.reshape(share.shape)
    present, codes = np.unique(table[yes, asked], return_inverse=True)
    return Rates(codes.reshape(yes.shape), len(present), asked > 0, asked >= FEWEST_ANSWERS, 2 * yes > asked)


def bootstrap(study: StudyData, draws: Draws) -> dict[str, dict[str, Floats]]:
    """Every statistic under every draw: {metric: {spearman, kendall, auc, pairwise_accuracy, setting_spearman,
    setting_kendall: (b,)}}, NaN where a draw leaves it undefined."""
    parts: dict[str, dict[str, list[Floats]]] = {metric: {} for metric in study.metrics}
    by = {metric: weighted.ordered(study.oriented(metric)) for metric in study.metrics}
    for piece in chunks(draws, len(study.recognised)):
        rates = rates_of(study.recognised, piece.annotators)
        weights = piece.originals[:, study.original]
        for metric in study.metrics:
            for name, values in image_level(by[metric], weights, rates).items():
                parts[metric].setdefault(name, []).append(values)
        for found in (within_original(study, piece, rates), setting_level(study, weights, rates)):
            for metric, named in found.items():
                for name, values in named.items():
                    parts[metric].setdefault(name, []).append(values)
    return {m: {name: np.concatenate(v) for name, v in named.items()} for m, named in parts.items()}


def image_level(by: weighted.Ordered, weights: Floats, rates: Rates) -> dict[str, Floats]:
    """spearman, kendall and auc (b,) of one metric."""
    if not len(by.rows):
        return {name: np.full(len(weights), np.nan) for name in ("spearman", "kendall", "auc")}
    sorted_weights = weights[:, by.rows]
    labelled = sorted_weights * rates.answered[:, by.rows]
    codes = rates.codes[:, by.rows]
    return {
        "spearman": weighted.spearman(by, labelled, codes, rates.levels),
        "kendall": weighted.kendall(by, labelled, codes, rates.levels),
        "auc": weighted.auc(by, sorted_weights, rates.positive[:, by.rows], rates.decided[:, by.rows]),
    }


def within_original(study: StudyData, piece: Draws, rates: Rates) -> dict[str, dict[str, Floats]]:
    """pairwise_accuracy (b,) of every metric. Two copies of one original are two originals: no pairs across them."""
    first, second = pairs_within(study.original)
    found: dict[str, list[Floats]] = {metric: [] for metric in study.metrics}
    for start, stop in _spans(len(piece.originals), len(first)):
        codes, answered = rates.codes[start:stop], rates.answered[start:stop]
        weights = piece.originals[start:stop][:, study.original[first]]
        weights = weights * (answered[:, first] & answered[:, second])
        signs = weights * np.sign(codes[:, first] - codes[:, second])
        different = np.abs(signs)
        for metric, parts in found.items():
            x = study.oriented(metric)
            scored = ~(np.isnan(x[first]) | np.isnan(x[second]))
            pairs = different @ scored.astype(np.float64)
            parts.append((1 + weighted.ratio(signs @ order(x, first, second), pairs, pairs)) / 2)
    return {metric: {"pairwise_accuracy": np.concatenate(parts)} for metric, parts in found.items()}


def setting_level(study: StudyData, weights: Floats, rates: Rates) -> dict[str, dict[str, Floats]]:
    """setting_spearman and setting_kendall (b,) of every metric."""
    settings = len(study.setting_names)
    decided = weights * rates.decided
    shares = weighted_shares(decided * rates.positive, decided, study.setting, settings)
    found: dict[str, dict[str, Floats]] = {}
    for metric in study.metrics:
        means = setting_means(study.oriented(metric), study.setting, settings, weights)
        found[metric] = {
            "setting_spearman": spearman_rows(means, shares),
            "setting_kendall": kendall_rows(means, shares),
        }
    return found


def with_interval(point: Estimate, values: Floats, bounds: tuple[float, float], confidence: float = 0.95) -> Estimate:
    """`point` with a normal interval from the standard deviation of its (b,) resampled values, kept within `bounds`.

    Not percentiles: annotators drawn twice make the mean answer coarser, so resampled correlations lie lower on the
    whole, and percentiles would take that for the estimate's own error. No interval when over a tenth of the
    resamples leave the statistic undefined.
    """
    kept = values[~np.isnan(values)]
    if point.estimate is None or len(kept) < 2 or len(kept) < 0.9 * len(values):
        return point
    half = NormalDist().inv_cdf((1 + confidence) / 2) * float(kept.std(ddof=1))
    low, high = max(bounds[0], point.estimate - half), min(bounds[1], point.estimate + half)
    return replace(point, low=low, high=high)


def _spans(resamples: int, pairs: int) -> Iterator[tuple[int, int]]:
    step = max(1, CELLS // max(pairs, 1))
    for start in range(0, resamples, step):
        yield start, min(start + step, resamples)

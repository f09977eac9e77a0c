"""Each statistic against scipy, scikit-learn, statsmodels or a derivation by hand."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score
from statsmodels.stats.inter_rater import fleiss_kappa as peer_fleiss
from statsmodels.stats.proportion import proportion_confint

from core.statistics import (
    auc,
    cronbach_alpha,
    fleiss_kappa,
    kendall,
    leave_one_out,
    median,
    pairwise_accuracy,
    pearson,
    permutation_p,
    psnr_of_mean_mse,
    spearman,
    wilson,
)

RNG = np.random.default_rng(5)
X = RNG.normal(size=200).round(1)  # with ties
Y = (X + RNG.normal(size=200)).round(1)


def test_correlations_agree_with_scipy() -> None:
    assert spearman(X, Y).estimate == pytest.approx(stats.spearmanr(X, Y).statistic, abs=1e-12)
    assert kendall(X, Y).estimate == pytest.approx(stats.kendalltau(X, Y).statistic, abs=1e-12)
    assert pearson(X, Y).estimate == pytest.approx(stats.pearsonr(X, Y).statistic, abs=1e-12)


def test_pearson_interval_agrees_with_scipy() -> None:
    peer = stats.pearsonr(X, Y).confidence_interval(0.95)  # Fisher z as well
    found = pearson(X, Y)
    assert (found.low, found.high) == pytest.approx((peer.low, peer.high), abs=1e-12)


def test_rank_intervals_by_hand() -> None:
    # x = 1…8, y swaps three pairs of neighbours: sum of squared rank differences = 6,
    # rho = 1 - 6*6/(8*63) = 13/14; z = atanh(13/14) = 1.647918, se = sqrt((1 + rho²/2)/5) = 0.534968
    x, y = np.arange(8.0), np.array([1, 0, 3, 2, 5, 4, 6, 7.0])
    found = spearman(x, y)
    rho = 13 / 14
    half = 1.959963984540054 * math.sqrt((1 + rho**2 / 2) / 5)
    assert found.estimate == pytest.approx(rho, abs=1e-12)
    assert (found.low, found.high) == pytest.approx(
        (math.tanh(math.atanh(rho) - half), math.tanh(math.atanh(rho) + half))
    )
    # 28 pairs, 3 discordant: tau = 22/28; variance of z 0.437/(8 - 4)
    tau, half = 22 / 28, 1.959963984540054 * math.sqrt(0.437 / 4)
    found = kendall(x, y)
    assert found.estimate == pytest.approx(tau, abs=1e-12)
    assert (found.low, found.high) == pytest.approx(
        (math.tanh(math.atanh(tau) - half), math.tanh(math.atanh(tau) + half))
    )


def test_nan_is_left_out_and_counted_and_infinity_ranks() -> None:
    x = np.array([1, 2, np.nan, 4, np.inf, 3])
    y = np.array([1, 2, 3, np.nan, 9, 4.0])
    found = spearman(x, y)
    assert (found.estimate, found.n, found.unscored) == (1.0, 4, 2)
    assert kendall(x, y).estimate == 1.0
    assert pearson(x, y).estimate is None
    assert "infinite" in pearson(x, y).reason


@pytest.mark.parametrize("statistic", [spearman, kendall, pearson])
def test_degenerate_input_gives_a_reason(statistic) -> None:
    cases = (
        ([], [], "got 0"),
        ([1, 2], [1, 2], "got 2"),
        ([1, 1, 1], [1, 2, 3], "first column are equal"),
        ([1, 2, 3], [7, 7, 7], "second column are equal"),
        ([np.nan] * 5, [1] * 5, "got 0"),
    )
    for x, y, words in cases:
        found = statistic(x, y)
        assert found.estimate is None
        assert found.low is None
        assert words in found.reason


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="one length"):
        spearman([1, 2, 3], [1, 2])
    with pytest.raises(ValueError, match="shape"):
        spearman([[1, 2, 3]], [[1, 2, 3]])


@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=3, max_size=30))
def test_correlations_are_symmetric_bounded_and_flip_with_the_sign(rows) -> None:
    x, y = np.array(rows, dtype=float).T
    for statistic in (spearman, kendall, pearson):
        found = statistic(x, y)
        if found.estimate is None:
            continue
        assert -1 <= found.estimate <= 1
        assert statistic(y, x).estimate == pytest.approx(found.estimate, abs=1e-12)
        assert statistic(-x, y).estimate == pytest.approx(-found.estimate, abs=1e-12)
        if found.low is not None:
            assert found.low - 1e-12 <= found.estimate <= found.high + 1e-12


def test_auc_agrees_with_scikit_learn() -> None:
    positive = Y > 0.3
    assert auc(X, positive).estimate == pytest.approx(roc_auc_score(positive, X), abs=1e-12)


def test_auc_by_hand() -> None:
    # positives 3, 2; negatives 2, 1: wins 3>2, 3>1, 2>1 and half for 2=2 of 4 pairs = 7/8.
    # Hanley & McNeil: Q1 = A/(2-A) = 7/9, Q2 = 2A²/(1+A) = 49/60; var = (7/64 + (7/9 - 49/64) + (49/60 - 49/64)) / 4
    found = auc([3, 2, 2, 1, 5], [1, 1, 0, 0, np.nan])
    assert (found.estimate, found.n, found.unscored) == (7 / 8, 4, 1)
    half = 1.959963984540054 * math.sqrt((7 / 64 + 7 / 9 - 49 / 64 + 49 / 60 - 49 / 64) / 4)
    assert found.low == pytest.approx(7 / 8 - half)
    assert found.high == 1.0  # cut at the end of the scale


def test_auc_without_one_of_the_classes() -> None:
    assert auc([1, 2, 3], [0, 0, 0]).reason == "no scored row is recognisable"
    assert auc([1, 2, 3], [1, 1, 1]).reason == "no scored row is unrecognisable"


def test_pairwise_accuracy_by_hand() -> None:
    # original a: rates 0, .5, 1 with scores 1, 3, 2: pairs right, right, wrong. b: rates equal: no pair.
    # c: rates 0 and 1 with one score: one half. Together 2.5 of 4.
    found = pairwise_accuracy([1, 3, 2, 5, 6, 7, 7, np.nan], [0, 0.5, 1, 1, 1, 0, 1, 0], list("aaabbccc"))
    assert (found.estimate, found.n, found.unscored) == (2.5 / 4, 4, 1)


def test_pairwise_accuracy_without_pairs() -> None:
    found = pairwise_accuracy([1, 2, 3], [0, 1, 0], [1, 2, 3])
    assert found.estimate is None
    assert "no two reconstructions" in found.reason
    assert pairwise_accuracy([], [], []).n == 0


def test_infinite_scores_tie_within_an_original() -> None:
    assert pairwise_accuracy([np.inf, np.inf, 1], [0, 1, 0], [1, 1, 2]).estimate == 0.5


def test_fleiss_kappa_agrees_with_statsmodels() -> None:
    answers = RNG.integers(0, 3, size=(50, 4))
    counts = np.stack([(answers == c).sum(1) for c in range(3)], 1)
    assert fleiss_kappa(answers).estimate == pytest.approx(peer_fleiss(counts), abs=1e-12)


def test_fleiss_kappa_with_missing_answers_by_hand() -> None:
    # rows (1,1,-), (0,0,1): P = 1, 1/3; answers: three 1, two 0 of five: chance = .36 + .16 = .52
    found = fleiss_kappa([[1, 1, np.nan], [0, 0, 1], [1, np.nan, np.nan]])
    assert found.estimate == pytest.approx((2 / 3 - 0.52) / 0.48)
    assert (found.n, found.unscored) == (2, 1)


def test_agreement_of_nobody() -> None:
    assert fleiss_kappa([[1.0], [0.0]]).reason == "no row has two answers"
    assert fleiss_kappa([[1, 1], [1, 1]]).reason == "all answers are the same"
    assert cronbach_alpha([[1.0], [0.0]]).estimate is None
    assert "same in every row" in cronbach_alpha([[1, 0], [0, 1]]).reason


def test_cronbach_alpha_by_hand() -> None:
    # columns 0,0,1,1 and 0,1,1,1: variances 1/4, 3/16; sums 0,1,2,2: 11/16; 2 * (1 - (7/16)/(11/16)) = 8/11
    found = cronbach_alpha([[0, 0], [0, 1], [1, 1], [1, 1], [np.nan, 1]])
    assert found.estimate == pytest.approx(8 / 11)
    assert (found.n, found.unscored) == (4, 1)


@pytest.mark.parametrize(("k", "n"), [(0, 8), (1, 8), (5, 8), (8, 8), (300, 1000)])
def test_wilson_agrees_with_statsmodels(k: int, n: int) -> None:
    found = wilson(k, n)
    assert (found.low, found.high) == pytest.approx(proportion_confint(k, n, method="wilson"), abs=1e-12)


def test_wilson_of_nothing() -> None:
    assert wilson(0, 0).estimate is None
    with pytest.raises(ValueError, match="successes"):
        wilson(3, 2)


def test_median_keeps_infinities_and_leaves_nan_out() -> None:
    found = median([np.inf, 1, np.nan, 3, np.inf, 2, 0])
    assert (found.estimate, found.n, found.unscored) == (2.5, 6, 1)
    # n = 6: P(X < 1) = 1/64 <= .025 < 7/64 = P(X < 2), so the interval spans the extremes
    assert (found.low, found.high) == (0.0, math.inf)
    assert median([np.inf, np.inf]).estimate == math.inf
    assert median([-np.inf, np.inf]).estimate is None
    assert median([np.nan]).reason == "nothing was scored"
    assert median([1, 2, 3, 4, 5]).low is None  # P(X < 1) = 1/32 > .025: five values hold no 95 % interval


def test_median_interval_agrees_with_scipy() -> None:
    peer = stats.quantile_test(X, q=0, p=0.5).confidence_interval(0.95)
    found = median(X)
    assert (found.low, found.high) == (peer.low, peer.high)


def test_psnr_of_the_mean_error() -> None:
    # mean of 0 and .02 is .01: 20 dB, while the mean of the two PSNRs is infinite
    assert psnr_of_mean_mse([0, 0.02, np.nan]).estimate == pytest.approx(20.0)
    assert psnr_of_mean_mse([0, 0.0]).estimate == math.inf
    assert psnr_of_mean_mse([np.nan]).estimate is None
    assert psnr_of_mean_mse([65.025, 65.025], data_range=255).estimate == pytest.approx(30.0)  # 255²/65.025 = 1000
    with pytest.raises(ValueError, match="negative"):
        psnr_of_mean_mse([-1])


def test_permutation_p_by_hand_and_from_scipy() -> None:
    # 4 in order: rho = 1; of 24 orders only this and its reverse reach it
    assert permutation_p([1, 2, 3, 4], [1, 2, 3, 4]) == pytest.approx(2 / 24)
    x, y = np.array([3, 1, 4, 1.5, 5, 9]), np.array([2, 7, 1, 8, 2, 8.0])  # ties in y
    peer = stats.permutation_test((x,), lambda v: stats.spearmanr(v, y).statistic, permutation_type="pairings",
                                  n_resamples=np.inf, alternative="two-sided")  # fmt: skip
    rho = stats.spearmanr(x, y).statistic
    exact = (np.abs(peer.null_distribution) >= abs(rho) - 1e-9).mean()
    assert permutation_p(x, y) == pytest.approx(exact, abs=1e-12)
    assert permutation_p([1, 2], [1, 2]) is None
    assert permutation_p(np.arange(9), np.arange(9)) is None
    assert permutation_p([1, 1, 1], [1, 2, 3]) is None


def test_leave_one_out() -> None:
    found = leave_one_out([1, 2, 3, 4], [1, 2, 3, 0])
    assert [e.estimate for e in found] == pytest.approx([-0.5, -0.5, -0.5, 1.0])


def test_an_estimate_is_strict_json() -> None:
    leaf = median([np.inf, 1, np.nan, 3, np.inf, np.inf, 0]).to_dict()
    assert json.loads(json.dumps(leaf, allow_nan=False))["high"] == "inf"
    assert "reason" not in leaf
    assert wilson(0, 0).to_dict()["reason"] == "nothing was counted"

"""Permutation p of few settings: the reference's figures, scipy, and enumeration by hand."""

import math
from itertools import permutations

import numpy as np
import pytest
from scipy import stats

from core.statistics import clustered_share, kendall_test, permutation_p, shared_ranks, spearman_test, wilson

RNG = np.random.default_rng(11)


@pytest.mark.parametrize(("distance", "rho", "p"), [(24, 0.571, 0.20), (16, 0.714, 0.088), (10, 0.821, 0.034)])
def test_seven_settings_have_the_reference_p(distance: int, rho: float, p: float) -> None:
    # rho = 1 - 6 Σd² / (7 · 48): the study's .571, .714 and .821 are Σd² = 24, 16 and 10; its p are exact, two-sided
    x = np.arange(7.0)
    y = next(np.array(o) for o in permutations(range(7)) if sum((i - v) ** 2 for i, v in enumerate(o)) == distance)
    found = spearman_test(x, y)
    assert found.estimate == pytest.approx(rho, abs=5e-4)
    assert found.p == pytest.approx(p, rel=0.03)
    assert found.p == permutation_p(x, y)  # the older code, which lists the orders another way
    assert (found.n, found.method) == (7, "exact")


def test_three_and_four_settings_by_hand() -> None:
    # 3 rows: of 6 orders the one seen and its mirror image are as extreme: p = 2/6. 4 rows: 2/24
    assert spearman_test([1, 2, 3], [5, 6, 9]).p == pytest.approx(2 / 6)
    assert kendall_test([1, 2, 3], [5, 6, 9]).p == pytest.approx(2 / 6)
    found = kendall_test([1, 2, 3, 4], [4, 3, 2, 1])
    assert (found.estimate, found.p) == (-1.0, pytest.approx(2 / 24))
    # one swap of neighbours in 4: tau = (5 - 1) / 6; 1 + 3 orders have at most one discordant pair, twice: 8/24
    assert kendall_test([1, 2, 3, 4], [1, 2, 4, 3]).estimate == pytest.approx(4 / 6)
    assert kendall_test([1, 2, 3, 4], [1, 2, 4, 3]).p == pytest.approx(8 / 24)


@pytest.mark.parametrize("seed", range(4))
def test_ties_agree_with_scipy_on_every_order(seed: int) -> None:
    generator = np.random.default_rng(seed)
    x, y = generator.integers(0, 4, 6).astype(float), generator.integers(0, 3, 6).astype(float)
    x[0], x[1], y[0], y[1] = 9, 8, 7, 6  # never all equal
    for test, peer in ((kendall_test, stats.kendalltau), (spearman_test, stats.spearmanr)):
        found = test(x, y)
        seen = peer(x, y).statistic
        every = [abs(peer(x, np.array(order)).statistic) for order in permutations(y)]
        assert found.estimate == pytest.approx(seen)
        assert found.p == pytest.approx(np.mean([value >= abs(seen) - 1e-9 for value in every]))


def test_more_settings() -> None:
    x, y = RNG.normal(size=14), RNG.normal(size=14)
    y = y + 0.8 * x
    found = kendall_test(x, y)
    assert found.method == "exact"
    assert found.p == pytest.approx(stats.kendalltau(x, y, method="exact").pvalue)
    rho = spearman_test(x, y)
    assert "10,000 random orders" in rho.method
    peer = stats.permutation_test(
        (x,), lambda z: stats.spearmanr(z, y).statistic, permutation_type="pairings", n_resamples=2000, rng=3
    )  # its own random orders: both are within some standard errors of the true p
    assert rho.p == pytest.approx(peer.pvalue, abs=4 * math.sqrt(peer.pvalue / 2000) + 1e-3)
    tied = kendall_test(np.round(x), np.round(y))
    assert "random orders" in tied.method
    large = RNG.normal(size=(2, 40))
    assert kendall_test(*large).p == pytest.approx(stats.kendalltau(*large, method="exact").pvalue)
    assert kendall_test(*large.round()).p == pytest.approx(stats.kendalltau(*large.round()).pvalue)
    assert spearman_test(*large).p == pytest.approx(stats.spearmanr(*large).pvalue)


def test_one_left_out_missing_rows_and_what_is_not_defined() -> None:
    found = spearman_test([1, 2, 3, 4, np.nan, math.inf], [1, 2, 3, 9, 5, -1.0])
    assert found.n == 5  # an infinity ranks at its end
    rest = [stats.spearmanr(np.delete([1, 2, 3, 4, 5], i), np.delete([1, 2, 3, 9, -1], i)).statistic for i in range(5)]
    assert (found.low, found.high) == pytest.approx((min(rest), max(rest)))
    for x, y, words in (([1, 2], [1, 2], "got 2"), ([1, 2, 3], [4, 4, 4], "equal")):
        for test in (kendall_test, spearman_test):
            assert test(x, y).p is None
            assert words in test(x, y).reason


def test_ranks_share_places_and_keep_what_is_missing() -> None:
    values = [3.0, math.inf, 3.0, np.nan, -math.inf, 1.0]
    assert shared_ranks(values).tolist()[:3] == [2, 1, 2]
    assert shared_ranks(values).tolist()[4:] == [5, 4]
    assert math.isnan(shared_ranks(values)[3])
    assert shared_ranks([3.0, 1.0, 1.0], higher_first=False).tolist() == [3, 1, 1]
    assert shared_ranks([]).tolist() == []


def test_a_share_of_clustered_answers() -> None:
    # 4 images of 3 answers, each unanimous, 2 recognised: the answers say as much as 4 would. By hand: p = 1/2,
    # Σ(h - pt)² = 4 · 1.5² = 9, var = 9 · 4/3 / 144 = 1/12, effective n = (1/4) / (1/12) = 3
    found = clustered_share([3, 3, 0, 0], [3, 3, 3, 3])
    assert (found.estimate, found.n) == (0.5, 12)
    z = 1.959963984540054
    half = z / (1 + z**2 / 3) * math.sqrt(1 / 12 + z**2 / 36)
    assert (found.low, found.high) == pytest.approx((0.5 - half, 0.5 + half))
    # one answer an image: close to Wilson's own (m - 1 for m in the variance)
    single = clustered_share([1] * 30 + [0] * 70, [1] * 100)
    assert (single.low, single.high) == pytest.approx((wilson(30, 100).low, wilson(30, 100).high), abs=2e-3)
    # nobody recognises: as many images, not answers, are behind it
    none = clustered_share([0] * 5, [3] * 5)
    assert (none.low, none.high) == pytest.approx((0.0, wilson(0, 5).high))
    assert clustered_share([1], [3]).high > 0.9  # one image says nothing of others
    assert clustered_share([], []).reason == "nobody has answered"
    with pytest.raises(ValueError, match="hits"):
        clustered_share([4], [3])

"""The weighted kernels equal the plain statistics of rows repeated as often as they were drawn."""

import numpy as np
import pytest

from core.statistics import agreement, auc, cronbach_alpha, fleiss_kappa, kendall, pairwise_accuracy, spearman, weighted
from core.statistics.reference import human_reference
from core.statistics.resampling import Draws, bootstrap, draw, rates_of, with_interval
from core.statistics.settings_level import kendall_rows, setting_means, spearman_rows
from core.statistics.study import StudyData


def small_study(*, missing: bool = False, seed: int = 3) -> StudyData:
    """12 originals in 3 settings, 4 annotators, a continuous and a tied metric with a gap and an infinity."""
    rng = np.random.default_rng(seed)
    original, setting = np.tile(np.arange(12), 3), np.repeat(np.arange(3), 12)
    ease = rng.normal(size=12)[original] + 0.5 * setting
    recognised = (ease[:, None] + rng.normal(size=(36, 4)) > 0).astype(float)
    if missing:
        recognised[rng.random(recognised.shape) < 0.2] = np.nan
    smooth = ease + rng.normal(size=36)
    smooth[4] = np.nan
    tied = np.round(ease)
    tied[7] = np.inf
    return StudyData(setting, original, recognised, {"smooth": smooth, "tied": tied},
                     {"smooth": "higher", "tied": "lower"}, ("a", "b", "c"))  # fmt: skip


def repeated(study: StudyData, originals: np.ndarray, annotators: np.ndarray) -> tuple[StudyData, np.ndarray]:
    """The study with copies written out; every copy of an original is an original of its own."""
    rows, ids = [], []
    for row, original in enumerate(study.original):
        for copy in range(int(originals[original])):
            rows.append(row)
            ids.append(1000 * original + copy)
    columns = np.repeat(np.arange(len(annotators)), annotators.astype(int))
    copied = StudyData(
        study.setting[rows], np.array(ids), study.recognised[np.ix_(rows, columns)],
        {m: v[rows] for m, v in study.metrics.items()}, study.directions, study.setting_names,
    )  # fmt: skip
    return copied, np.array(rows)


@pytest.mark.parametrize("missing", [False, True])
def test_bootstrap_equals_plain_statistics_of_repeated_rows(missing: bool) -> None:
    study = small_study(missing=missing)
    draws = draw(12, 4, 12, seed=1)
    found = bootstrap(study, draws)
    compared = 0
    for b in range(12):
        copy, _ = repeated(study, draws.originals[b], draws.annotators[b])
        for metric in study.metrics:
            x, p = copy.oriented(metric), copy.rate
            plain = {
                "spearman": spearman(x, p),
                "kendall": kendall(x, p),
                "auc": auc(x, copy.recognisable),
                "pairwise_accuracy": pairwise_accuracy(x, p, copy.original),
            }
            for name, estimate in plain.items():
                expected = np.nan if estimate.estimate is None else estimate.estimate
                assert found[metric][name][b] == pytest.approx(expected, abs=1e-9, nan_ok=True), (metric, name, b)
                compared += estimate.estimate is not None
    assert compared > 60


def test_setting_level_equals_plain_statistics_of_repeated_rows() -> None:
    study = small_study()
    draws = draw(12, 4, 20, seed=2)
    found = bootstrap(study, draws)["smooth"]
    for b in range(20):
        copy, _ = repeated(study, draws.originals[b], draws.annotators[b])
        rows = [copy.setting == s for s in range(3)]
        means = [np.nanmean(copy.metrics["smooth"][r]) for r in rows]
        shares = [np.nanmean(copy.recognisable[r]) for r in rows]
        for name, statistic in (("setting_spearman", spearman), ("setting_kendall", kendall)):
            expected = statistic(means, shares).estimate
            assert found[name][b] == pytest.approx(np.nan if expected is None else expected, abs=1e-9, nan_ok=True)


def test_kappa_and_alpha_by_weight() -> None:
    study = small_study()
    weights = draw(12, 4, 5, seed=4).originals[:, study.original]
    counts = np.stack([(study.recognised == c).sum(1) for c in (0, 1)], 1).astype(float)
    kappas = agreement.kappa_of_sums(*agreement.agreement_sums(counts), weights)
    alphas = agreement.alpha_of_moments(*agreement.moments(study.recognised), weights)
    for b in range(5):
        rows = np.repeat(np.arange(36), weights[b].astype(int))
        assert kappas[b] == pytest.approx(fleiss_kappa(study.recognised[rows]).estimate)
        assert alphas[b] == pytest.approx(cronbach_alpha(study.recognised[rows]).estimate)


def test_human_reference_does_not_depend_on_the_way_it_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    study, draws = small_study(missing=True), draw(12, 4, 15, seed=6)
    by_table = human_reference(study, draws)
    monkeypatch.setattr("core.statistics.reference.CELLS", 0)  # sort instead of the cross-table
    by_sort = human_reference(study, draws)
    for name in ("split_half", "one_against_rest"):
        assert by_sort[name] == pytest.approx(by_table[name])
        assert by_table[name]["low"] is not None


def test_rates_are_ordered_by_code_and_need_three_answers() -> None:
    recognised = np.array([[1, 0, np.nan, np.nan], [1, 1, 0, 0], [1, 1, 1, 0], [np.nan] * 4])
    rates = rates_of(recognised, np.ones((1, 4)))
    assert rates.codes[0, 0] == rates.codes[0, 1] < rates.codes[0, 2]  # 1/2 = 2/4 < 3/4
    assert rates.answered.tolist() == [[True, True, True, False]]
    assert rates.decided.tolist() == [[False, True, True, False]]
    assert rates.positive[0, 2]
    assert not rates.positive[0, 1]  # one half is not above one half


def test_undefined_weightings_are_nan() -> None:
    by = weighted.ordered([1.0, 1.0, 1.0])
    weights, codes = np.ones((1, 3)), np.array([[0, 1, 2]])
    assert np.isnan(weighted.spearman(by, weights, codes, 3)).all()
    assert np.isnan(weighted.kendall(by, weights, codes, 3)).all()
    assert np.isnan(weighted.auc(by, weights, np.ones((1, 3), bool), np.ones((1, 3), bool))).all()


def test_rows_of_settings() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 4, (6, 5)).astype(float), rng.normal(size=(6, 5))
    b[5, 0] = np.nan
    for row in range(5):
        assert spearman_rows(a, b)[row] == pytest.approx(spearman(a[row], b[row]).estimate)
        assert kendall_rows(a, b)[row] == pytest.approx(kendall(a[row], b[row]).estimate)
    assert np.isnan(spearman_rows(a, b)[5])
    assert np.isnan(kendall_rows(a, b)[5])


def test_setting_means_with_infinities_and_gaps() -> None:
    values = np.array([1.0, np.inf, np.nan, 3.0, np.nan, -np.inf, np.inf])
    setting = np.array([0, 0, 1, 1, 2, 3, 3])
    means = setting_means(values, setting, 4, np.ones((1, 7)))[0]
    assert means[0] == np.inf
    assert means[1] == 3.0
    assert np.isnan(means[2])  # nothing scored
    assert np.isnan(means[3])  # both ends


def test_same_seed_same_draws_and_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    study = small_study()
    draws = draw(12, 4, 30, seed=9)
    assert np.array_equal(draws.originals, draw(12, 4, 30, seed=9).originals)
    assert not np.array_equal(draws.originals, draw(12, 4, 30, seed=10).originals)
    assert (draws.originals.sum(1) == 12).all()
    assert (draws.annotators.sum(1) == 4).all()
    whole = bootstrap(study, draws)
    monkeypatch.setattr("core.statistics.resampling.CELLS", 100)
    pieces = bootstrap(study, draws)
    for metric, named in whole.items():
        for name, values in named.items():
            assert np.allclose(values, pieces[metric][name], equal_nan=True, atol=1e-12)


def test_interval_stays_on_the_scale_and_needs_enough_resamples() -> None:
    point = spearman([1, 2, 3, 4, 5.0], [1, 2, 3, 5, 4.0])
    found = with_interval(point, np.array([0.7, 0.8, 0.9, 1.0]), (-1.0, 1.0))
    # standard deviation of .7 .8 .9 1.0 is sqrt(.05/3); the estimate is .9
    assert found.low == pytest.approx(0.9 - 1.959963984540054 * (0.05 / 3) ** 0.5)
    assert found.high == 1.0
    undefined = with_interval(wide(point), np.array([np.nan, np.nan, 0.5, 0.6]), (-1.0, 1.0))
    assert undefined.low is None


def wide(point):
    """`point` without the interval it came with."""
    from dataclasses import replace

    return replace(point, low=None, high=None)


def test_draws_are_a_plain_record() -> None:
    assert Draws(np.ones((1, 2)), np.ones((1, 3))).annotators.shape == (1, 3)

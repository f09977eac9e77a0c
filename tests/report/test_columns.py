"""A run's columns and percentiles, against the same by hand and by scipy."""

import math

import numpy as np
import pytest
from scipy.stats import rankdata

from core.report import columns
from core.report.columns import NONE, leakage, percentiles, run_table
from core.report.records import Query
from core.report.views import cards_of, reconstruction_page, run_metrics
from core.storage.database import bump
from core.storage.scores import StoredScore, write_scores
from tests.filled_store import fill_store

INF = math.inf


@pytest.fixture
def filled(store):
    return fill_store(store, originals=10, runs=2)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3.0, 1.0, 2.0], [100, 0, 50]),  # of 2 others: both, none and one are lower
        ([1.0, 1.0, 2.0], [25, 25, 100]),  # a tie counts half: 0.5 of 2
        ([INF, 5.0, -INF], [100, 50, 0]),
        ([INF, INF, 0.0], [75, 75, 0]),  # two infinities tie: (1 + 0.5) / 2
        ([4.0, math.nan, 2.0], [100, math.nan, 0]),  # what is unscored counts nowhere
        ([7.0], [math.nan]),  # nothing to stand among
        ([], []),
    ],
)
def test_percentiles_by_hand(values, expected):
    np.testing.assert_array_equal(percentiles(np.array(values, dtype=float)), np.array(expected, dtype=float))


def test_percentiles_are_average_ranks_as_scipy_gives_them():
    values = np.random.default_rng(0).integers(0, 50, 500).astype(float)
    expected = 100 * (rankdata(values, "average") - 1) / (len(values) - 1)
    np.testing.assert_allclose(percentiles(values), expected, rtol=1e-12)


def test_lower_is_more_leakage_where_the_metric_says_so():
    assert leakage("mse", np.array([0.1, 0.2])).tolist() == [-0.1, -0.2]
    assert leakage("psnr", np.array([10.0, 20.0])).tolist() == [10.0, 20.0]
    assert np.isnan(leakage("victim_probability", np.array([0.5]))).all()  # a diagnostic has no direction
    assert np.isnan(leakage("not known here", np.array([0.5]))).all()


def test_the_columns_hold_what_the_cards_say(store, filled):
    table = run_table(store, 1)
    cards = reconstruction_page(store, Query(run=1, size=50)).cards
    assert table.ids.tolist() == [c.reconstruction for c in cards]
    assert table.originals.tolist() == [c.original for c in cards]
    assert table.labels.tolist() == [c.label for c in cards]
    for name, column in table.scores.items():
        for value, card in zip(column, cards, strict=True):
            expected = card.scores[name].value
            assert math.isnan(value) if expected is None else value == expected
    assert table.scores["psnr"][0] == INF
    assert math.isnan(table.scores["ssim"][9])


def test_percentiles_are_of_the_same_role_and_100_leaks_most(store, filled):
    cards = cards_of(store, filled.reconstructions[:10])
    assert cards[0].scores["psnr"].percentile == 100.0
    assert cards[0].scores["mse"].percentile == 100.0  # the lowest error leaks most
    assert cards[9].scores["ssim"].percentile is None
    control = cards_of(store, filled.controls[:2])
    assert sorted(c.scores["psnr"].percentile for c in control) == [0.0, 100.0]  # among two controls


def test_a_new_score_and_a_new_version_show_at_once(store, filled):
    pairing = int(run_table(store, 1).pairings[3])
    assert run_metrics(store, 1)["psnr"].version == "1"
    with store.database.write() as connection:
        write_scores(connection, [StoredScore("pairing", pairing, "attacked", "psnr", "99", "", 77.0)])
        bump(connection, "scores")
    table = run_table(store, 1)
    assert table.metrics["psnr"].version == "99"
    assert np.isnan(np.delete(table.scores["psnr"], 3)).all()  # the old version is not mixed in
    assert table.scores["psnr"][3] == 77.0


def test_another_reference_has_its_own_scores(store, filled):
    assert run_table(store, 1, reference="source").metrics == {}
    assert (run_table(store, 1, reference="source").pairings == NONE).all()


def test_a_run_that_does_not_exist_is_empty(store, filled):
    table = run_table(store, 99)
    assert (len(table.ids), table.metrics) == (0, {})


def test_columns_cannot_be_written_to(store, filled):
    with pytest.raises(ValueError, match="read-only"):
        run_table(store, 1, role="").scores["mse"][0] = 1.0


def test_a_large_run_is_read_anew_only_now_and_then_while_scores_come_in(store, filled, monkeypatch):
    reads = []
    real = columns._read
    monkeypatch.setattr(columns, "_read", lambda *asked: reads.append(asked) or real(*asked))
    now = {"is": 1000.0}
    monkeypatch.setattr(columns.time, "monotonic", lambda: now["is"])

    def slow_read(*asked):
        now["is"] += 2.0  # seconds that reading takes
        return real(*asked)

    def bump_and_read():
        with store.database.write() as connection:
            bump(connection, "scores")
        return run_table(store, 2)

    bump_and_read()
    bump_and_read()
    assert len(reads) == 2  # a quick one is always up to date
    monkeypatch.setattr(columns, "_read", slow_read)
    bump_and_read()
    first = now["is"]
    bump_and_read()
    assert now["is"] == first  # not read: it would take 2 s of each view
    now["is"] += columns.PATIENCE * 2.0
    bump_and_read()
    assert now["is"] > first + columns.PATIENCE * 2.0

"""A run's columns and percentiles, against the same by hand and by scipy."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import rankdata

from core.metrics.registry import METRICS, weights_hash
from core.report import columns, score_columns
from core.report.columns import NONE, leakage, percentiles, run_table
from core.report.records import Query
from core.report.score_frames import score_frame
from core.report.views import cards_of, reconstruction_page
from core.storage import schema
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


def add(store, pairings, metric, version, weights, value):
    with store.database.write() as connection:
        rows = [StoredScore("pairing", int(one), "attacked", metric, version, weights, value) for one in pairings]
        write_scores(connection, rows)
        bump(connection, "scores")


def test_a_new_version_shows_at_once_when_it_is_as_full_and_an_old_one_comes_back(store, filled, monkeypatch):
    pairings = run_table(store, 1, "").pairings
    before = run_table(store, 1).scores["psnr"]
    monkeypatch.setitem(METRICS, "psnr", replace(METRICS["psnr"], version="99"))
    add(store, pairings[:1], "psnr", "99", "", 77.0)
    table = run_table(store, 1)
    assert (table.metrics["psnr"].version, table.metrics["psnr"].anew, table.metrics["psnr"].of) == ("1", 1, 12)
    np.testing.assert_array_equal(table.scores["psnr"], before)  # never a mix, never a blank column
    add(store, pairings, "psnr", "99", "", 66.0)
    table = run_table(store, 1)
    assert (table.metrics["psnr"].version, table.metrics["psnr"].of) == ("99", 0)
    assert table.scores["psnr"].tolist() == [77.0] + [66.0] * 9
    assert score_frame(store, ["psnr"], 1)["psnr"].tolist() == table.scores["psnr"].tolist()
    monkeypatch.setitem(METRICS, "psnr", replace(METRICS["psnr"], version="1"))
    assert run_table(store, 1).metrics["psnr"].version == "1"  # though no row is newer
    np.testing.assert_array_equal(run_table(store, 1).scores["psnr"], before)
    np.testing.assert_array_equal(score_frame(store, ["psnr"], 1)["psnr"], before)


def test_weights_that_come_back_show_their_scores_again(store, filled, monkeypatch):
    name = "classifier_probability"
    folder = store.settings.weights / "judges"
    folder.mkdir(parents=True)

    def put(*judges):
        for path in folder.iterdir():
            path.unlink()
        for judge in judges:
            (folder / judge).write_text(judge)
        return weights_hash(name, store.settings)

    monkeypatch.setattr("core.report.present.KEPT_SECONDS", 0.0)
    here = replace(METRICS[name], files=lambda _: " ".join(sorted(path.name for path in folder.iterdir())))
    monkeypatch.setitem(METRICS, name, here)
    two, one = put("first", "second"), put("first")
    pairings, version = run_table(store, 1, "").pairings, METRICS[name].version

    def shown():
        column = run_table(store, 1).scores[name].tolist()
        assert score_frame(store, [name], 1)[name].tolist() == column  # the two pages agree
        return column

    add(store, pairings, name, version, one, 0.1)
    add(store, pairings, name, version, two, 0.9)
    assert shown() == [0.1] * 10  # though the others' rows are newer
    put("first", "second")  # a judge was added
    assert shown() == [0.9] * 10
    put("first")  # and removed: no row was written since
    assert shown() == [0.1] * 10
    put("third")  # nothing is scored by it yet: the newest
    assert shown() == [0.9] * 10


def test_what_weights_are_here_is_looked_at_now_and_then_and_hashed_only_where_it_matters(store, filled, monkeypatch):
    asked = []
    monkeypatch.setattr("core.report.present.weights_hash", lambda name, _: asked.append(name) or "a" * 64)
    pairings, version = run_table(store, 1, "").pairings, METRICS["lpips_alex"].version
    add(store, pairings, "lpips_alex", version, "a" * 64, 0.1)
    run_table(store, 1)
    assert asked == []  # one kind only: there is nothing to choose
    add(store, pairings, "lpips_alex", version, "b" * 64, 0.9)
    assert run_table(store, 1).scores["lpips_alex"][0] == 0.1
    add(store, pairings, "mae", METRICS["mae"].version, "", 0.5)
    run_table(store, 1)
    assert asked == ["lpips_alex"]


@pytest.mark.parametrize(("apart", "most"), [(5_000, 60), (10_000_000, 60)])
def test_what_lies_between_the_pairings_of_a_run_is_not_read(store, filled, monkeypatch, apart, most):
    """Pairings of another run lie between this one's first and last: run 1 gets one far beyond them."""
    counted = []
    real = score_columns._Rows
    monkeypatch.setattr(score_columns, "_Rows", lambda **parts: counted.append(len(parts["ids"])) or real(**parts))
    last = int(run_table(store, 1, "").pairings.max())
    with store.database.write() as connection:
        for table, column in ((schema.scores, "subject_id"), (schema.pairings, "id")):
            moved = table.update().where(table.c[column] == last)
            connection.execute(moved.values({column: last + apart}))
        bump(connection, "scores")
    between = range(last + 1_500, last + 1_600)
    add(store, between, "mse", "1", "", 0.5)
    expected = run_table(store, 1, "").scores["mse"]
    assert counted[-1] < most
    assert not np.isnan(expected).any()


@pytest.mark.parametrize(
    ("known", "words"),
    [
        (np.arange(5, 2_000), ["BETWEEN 5 AND 1999"]),
        (np.r_[1:100, 50_000:50_100], ["BETWEEN 1 AND 99", "BETWEEN 50000 AND 50099"]),
        (np.arange(0, 600 * 5_000, 5_000), ["IN (", "IN ("]),  # far apart one by one: 500 at a time
        (np.arange(0, 600 * 900, 900), ["IN (", "IN ("]),  # near, yet 900 times as much would be read
    ],
)
def test_pairings_are_read_as_ranges_or_by_the_hundred(known, words):
    found = [str(part.compile(compile_kwargs={"literal_binds": True})) for part in score_columns._parts(known)]
    assert len(found) == len(words)
    for part, word in zip(found, words, strict=True):
        assert word in part


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

"""Two runs of the same originals: matched by original, ties, infinities, and versions that do not compare."""

import math
from dataclasses import replace

import numpy as np
import pytest

from core.errors import UserError
from core.metrics.registry import METRICS
from core.report.beside import better, comparable_metrics, differences, duels, median, paired_rows, sharing
from core.report.columns import run_table
from core.report.records import Query
from core.report.views import reconstruction_page
from core.storage import schema
from core.storage.database import bump
from core.storage.scores import StoredScore, write_scores
from tests.filled_store import fill_store

INF = math.inf


@pytest.fixture
def filled(store):
    return fill_store(store, originals=10, runs=2)


def test_runs_that_share_originals_are_named_with_how_many(store, filled):
    assert [(one.run, one.common) for one in sharing(store, 1)] == [(2, 10)]
    with store.database.write() as connection:
        third = schema.reconstructions.c.id == filled.reconstructions[10]
        connection.execute(schema.reconstructions.update().where(third).values(chosen=False))
    assert sharing(store, 1)[0].common == 9
    assert sharing(store, 99) == ()


def test_duels_count_by_hand(store, filled):
    here, there = run_table(store, 1), run_table(store, 2)
    psnr = next(duel for duel in duels(here, there) if duel.metric == "psnr")
    first, second = here.scores["psnr"], there.scores["psnr"]
    assert (psnr.here, psnr.there, psnr.ties) == (
        int((first > second).sum()), int((first < second).sum()), int((first == second).sum()),
    )  # fmt: skip
    assert psnr.n == 10
    assert (psnr.median_here, psnr.median_there) == (np.median(first), np.median(second))
    mse = next(duel for duel in duels(here, there) if duel.metric == "mse")
    assert mse.here == psnr.here  # a lower error leaks more wherever a higher PSNR does
    ssim = next(duel for duel in duels(here, there) if duel.metric == "ssim")
    assert ssim.n == 9  # the last is unscored in both


def test_rows_are_matched_by_original_and_the_first_of_several_counts(store, filled):
    here = run_table(store, 1)
    shuffled = run_table(store, 2).rows(np.array([5, 3, 3, 8]))
    rows, others = paired_rows(here, shuffled)
    assert here.originals[rows].tolist() == shuffled.originals[others].tolist() == sorted(shuffled.originals[[1, 0, 3]])
    assert others.tolist() == [1, 0, 3]


@pytest.mark.parametrize(
    ("metric", "here", "there", "expected"),
    [
        ("psnr", 30.0, 20.0, "here"),
        ("mse", 0.3, 0.2, "there"),
        ("psnr", INF, INF, "tie"),
        ("psnr", INF, 40.0, "here"),
        ("psnr", None, 20.0, ""),
        ("victim_probability", 0.9, 0.1, ""),
    ],
)
def test_which_leaks_more(metric, here, there, expected):
    assert better(metric, here, there) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [([1.0, 2.0, 9.0], 2.0), ([1.0, 3.0], 2.0), ([1.0, INF, INF], INF), ([INF, INF], INF), ([-INF], -INF), ([], None)],
)  # fmt: skip
def test_a_median_survives_infinities(values, expected):
    assert median(np.array(values, dtype=float)) == expected


def test_versions_that_differ_are_not_compared(store, filled, monkeypatch):
    monkeypatch.setitem(METRICS, "psnr", replace(METRICS["psnr"], version="99"))
    pairings = run_table(store, 2, "").pairings
    with store.database.write() as connection:
        newer = StoredScore("pairing", 0, "attacked", "psnr", "99", "", 50.0)
        write_scores(connection, [replace(newer, subject_id=int(i)) for i in pairings])
        bump(connection, "scores")
    here, there = run_table(store, 1), run_table(store, 2)
    assert comparable_metrics(here, there) == {"mse", "ssim"}
    psnr = next(duel for duel in duels(here, there) if duel.metric == "psnr")
    assert (psnr.n, psnr.problem) == (0, "scored in another version")


def test_pages_beside_hold_the_shared_originals_in_order_of_the_gap(store, filled):
    with store.database.write() as connection:
        third = schema.reconstructions.c.id == filled.reconstructions[13]
        connection.execute(schema.reconstructions.update().where(third).values(chosen=False))
        bump(connection, "reconstructions")
    query = Query(run=1, beside=2, sort="difference:psnr", descending=True, size=50)
    page = reconstruction_page(store, query)
    assert 3 not in [card.target for card in page.cards]
    assert page.total == 9
    gaps = []
    for card in page.cards:
        other = page.others[card.reconstruction]
        assert (other.original, other.run) == (card.original, 2)
        gaps.append(card.scores["psnr"].value - other.scores["psnr"].value)
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[0] == INF
    with pytest.raises(UserError, match="between two runs"):
        reconstruction_page(store, replace(query, beside=None))


def test_what_two_runs_were_asked_for_differently_by_hand():
    here = {"attack": "dlg", "config": {"iterations": 45, "restarts": 2}, "originals": [1], "threat": {"defences": []}}
    there = {
        "attack": "dlg",
        "config": {"iterations": 14},
        "originals": [2],
        "threat": {"defences": [{"name": "clip"}]},
    }
    assert differences(here, there) == ("iterations 45 / 14", "restarts 2 / none", "defences none / clip")
    assert differences(here, here) == ()

"""No figure over one or two scores stands anywhere while their cards hide them; controls and the switch show all."""

import re

import pytest
from sqlalchemy import delete

from core.report.beside import Duel
from core.report.summary import MetricSummary
from core.storage import schema
from core.storage.database import bump
from pages._cards import FEWEST, Look
from pages._scores import duels_html
from pages._summary import _headline, _row
from tests.filled_store import fill_store

PAGE = "pages/reconstructions.py"


def everything(test):
    return "\n".join(h.value for h in test.html)


def attacked(connection, run):
    """Pairings of a run's attack, in order of target."""
    rec, pair = schema.reconstructions, schema.pairings
    mine = pair.select().join(rec, rec.c.id == pair.c.reconstruction_id)
    return connection.execute(mine.where(rec.c.job_id == run, rec.c.role == "attack").order_by(rec.c.target)).all()


def keep_scores(store, run, metric, most):
    """Take a metric's scores from all but the first `most` of a run's attack."""
    score = schema.scores
    with store.database.write() as connection:
        rows = attacked(connection, run)
        gone = [row.id for row in rows][most:]
        connection.execute(delete(score).where(score.c.metric == metric, score.c.subject_id.in_(gone)))
        bump(connection, "scores")


def unpair(store, run, most):
    """Give all but the first `most` attacked originals of a run to originals that no other run has."""
    pair, orig = schema.pairings, schema.originals
    with store.database.write() as connection:
        rows = attacked(connection, run)
        for row in rows[most:]:
            of = connection.execute(orig.select().where(orig.c.id == row.original_id)).one()
            copy = {**of._mapping, "name": f"{of.name} again"}
            copy.pop("id")
            made = connection.execute(orig.insert().values(**copy)).inserted_primary_key[0]
            connection.execute(pair.update().where(pair.c.id == row.id).values(original_id=made))
        bump(connection, "reconstructions")


def duel_rows(test):
    table = next(h.value for h in test.html if "run 1 leaks more</td>" in h.value)
    return dict(re.findall(r"<th title=[^>]*>(\S+) [↑↓]</th>(.*?)</tr>", table))


@pytest.mark.parametrize("shared", [1, 2])
def test_two_runs_that_share_one_or_two_originals_keep_their_scores(app, store, shared):
    fill_store(store, originals=5, runs=2)
    unpair(store, 2, shared)
    test = app(PAGE, run="1", beside="2", annotator="Ana")
    assert not test.exception
    for row in duel_rows(test).values():
        assert re.findall(r"<td>(.*?)</td>", row) == ["hidden"] * 3 + [str(shared)] + ["hidden"] * 2
    shown = duel_rows(app(PAGE, run="1", beside="2", annotator="Ana", scores="true"))
    assert "hidden" not in "".join(shown.values())
    assert "dB" in shown["PSNR"]


def test_a_metric_with_two_scores_is_no_figure_of_the_summary(app, store):
    fill_store(store, originals=5, runs=1)
    keep_scores(store, 1, "psnr", 2)
    test = app(PAGE, run="1", annotator="Ana")
    table = next(h.value for h in test.html if "PSNR of mean MSE" in h.value)
    row = re.search(r"PSNR ↑</th>(.*?)</tr>", table).group(1)
    assert re.findall(r"<td>(.*?)</td>", row) == ["hidden", "hidden", "hidden", "2", "hidden", "3"]
    title = next(e.label for e in test.expander if "Scores of the run" in e.label)
    assert "PSNR" not in title
    assert "SSIM" in title  # of four
    shown = app(PAGE, run="1", annotator="Ana", scores="true")
    assert "PSNR ↑" in next(e.label for e in shown.expander if "Scores of the run" in e.label)
    assert "hidden" not in next(h.value for h in shown.html if "PSNR of mean MSE" in h.value)


def test_a_mean_over_one_finite_score_is_hidden_though_three_are_scored():
    row = MetricSummary("psnr", n=3, infinite=2, unscored=0, median=float("inf"), mean=21.25, of_mean_error=26.02)
    cells = re.findall(r"<td>(.*?)</td>", _row(row, 3))
    assert cells == ["∞ dB", "hidden", "hidden", "3", "2", "0"]
    assert "21.2" in _row(row)
    assert "∞" in _headline([row], 3)
    assert _headline([MetricSummary("psnr", 2, 0, 1, 20.0, 20.0)], 3) == ""


def test_only_looks_that_hide_scores_ask_for_three():
    def least(scores, judged):
        return Look((), "target", "difference", scores, judged, frozenset()).least

    assert [least(False, True), least(True, True), least(False, False)] == [FEWEST, 0, 0]


def test_a_metric_that_cannot_be_compared_still_says_why():
    html = duels_html([Duel("psnr", 0, 0, 0, 0, None, None, "scored in another <version>")], 1, 2, 3)
    assert "not compared: scored in another &lt;version&gt;" in html


def test_the_bar_of_the_controls_does_not_tell_the_only_leaked_score(app, store):
    """The bar is the median score of what leaked: with a cut that one passes, it would be that one's score."""
    fill_store(store, originals=5, runs=1)
    with store.database.write() as connection:
        score = schema.scores
        connection.execute(
            score.update().where(score.c.metric == "psnr", score.c.special == "inf").values(special=None, value=61.75)
        )
        bump(connection, "scores")
    told = [h.value for h in app(PAGE, run="1", annotator="Ana", cut="60").html if "Control" in h.value]
    assert "stay below the attack" in told[0]
    assert "61.8" not in told[0]
    shown = [h.value for h in app(PAGE, run="1", annotator="Ana", cut="60", scores="true").html if "Control" in h.value]
    assert "stay below 61.8 dB" in shown[0]


def test_the_median_of_an_effort_counts_the_scored_originals(app, store):
    filled = fill_store(store, originals=5, runs=1)
    keep_scores(store, filled.runs[0], "psnr", 1)
    test = app(PAGE, run="1", annotator="Ana")
    test.button(key="effort_queue").click().run()
    table = next(h.value for h in test.html if "Iterations × restarts" in h.value)
    assert "<td>hidden</td>" in table

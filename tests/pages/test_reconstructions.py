"""Reconstructions: empty, filled, sorted, filtered, answered, and links that name nothing (BAD_INPUTS 40)."""

import re
from dataclasses import replace

import pytest

from core.jobs.rescore import rescore
from core.labels.answers import current_answers
from core.labels.studies import default_study
from core.storage import schema
from core.storage.database import bump
from core.storage.scores import StoredScore, write_scores
from tests.filled_store import fill_store

PAGE = "pages/reconstructions.py"


def names(test):
    return [m.group(1) for h in test.html for m in re.finditer(r'<div class="card-head"><b[^>]*>([^<]*)', h.value)]


def cards(test):
    return [h.value for h in test.html if h.value.startswith('<div class="card-head"')]


def test_an_empty_store_points_to_the_demo(app):
    test = app(PAGE)
    assert not test.exception
    assert any("No run yet" in m.value for m in test.markdown)


@pytest.mark.parametrize("value", ["99", "../../etc/passwd", "-1", "1 or 1=1", "<script>", "9" * 40, "１"])
def test_a_link_to_no_run_is_one_clear_sentence(app, store, value):
    fill_store(store, originals=3, runs=1)
    test = app(PAGE, run=value)
    assert not test.exception
    assert len(test.error) == 1
    assert not cards(test)
    assert "<script>" not in test.error[0].value.replace("\\<script\\>", "")
    assert len(test.error[0].value) < 250


def test_without_a_choice_the_picker_goes_back_to_the_newest_run(app, store):
    filled = fill_store(store, originals=3, runs=2)
    test = app(PAGE, run=str(filled.runs[0]))
    test.selectbox(key="run_choice").set_value(None).run()
    assert not test.exception
    assert not test.error
    assert "run" not in test.query_params
    assert test.selectbox(key="run_choice").value == filled.runs[1]


def test_scores_are_hidden_until_answered_and_the_switch_shows_them(app, store):
    fill_store(store, originals=3, runs=1)
    test = app(PAGE, run="1", annotator="Ana")
    assert not test.exception
    assert len(cards(test)) == 3
    assert all("hidden until you answer" in card and "PSNR" not in card for card in cards(test))
    test.toggle(key="scores").set_value(True).run()
    assert all("PSNR ↑" in card and "MSE ↓" in card for card in cards(test))
    assert "∞" in cards(test)[0]  # the first of the fixture's first run is perfect
    assert "1 not scored" in cards(test)[2]  # its last ssim is left out, with a reason


def test_no_score_or_loss_of_an_unanswered_original_stands_anywhere(app, store):
    filled = fill_store(store, originals=3, runs=1)
    test = app(PAGE, run="1", annotator="Ana")
    shown = [h.value for h in test.html]
    worst = [one for one in shown if 'class="worst"' in one]
    assert "photo-000 · score hidden" in worst[0]
    assert " dB" not in worst[0]
    assert not any("loss 0.0" in one for one in shown)  # the fixture's losses: 0.01, 0.02, 0.03
    test.button_group(key=f"answer_{filled.reconstructions[1]}").set_value("unsure").run()
    assert any("loss 0.0200" in card for card in cards(test) if "photo-001" in card)
    assert not any("loss 0.0" in card for card in cards(test) if "photo-001" not in card)
    test = app(PAGE, run="1", annotator="Ana", scores="true")
    assert all("loss 0.0" in card for card in cards(test))
    worst = [h.value for h in test.html if 'class="worst"' in h.value]
    assert "score hidden" not in worst[0]


def unscore(store, run, metric="lpips_alex"):
    """A metric of which every pairing of the run has a row without a value."""
    with store.database.write() as connection:
        pairings = connection.execute(
            schema.pairings.select()
            .join(schema.reconstructions, schema.reconstructions.c.id == schema.pairings.c.reconstruction_id)
            .where(schema.reconstructions.c.job_id == run)
        ).all()
        write_scores(
            connection,
            [
                StoredScore("pairing", p.id, "attacked", metric, "0.1", "", None, "there are no weights")
                for p in pairings
            ],
        )
        bump(connection, "scores")


def test_a_metric_without_a_value_is_left_out_and_said_once(app, store):
    filled = fill_store(store, originals=3, runs=1)
    unscore(store, filled.runs[0])
    test = app(PAGE, run="1", view="table", scores="true", sort="lpips_alex")
    assert not test.exception
    assert "lpips_alex" not in test.dataframe[0].value.columns
    assert "lpips_alex" not in test.selectbox(key="sort").options
    assert [i.value for i in test.info if "LPIPS alex" in i.value]
    assert [e.label for e in test.expander if "without a score" in e.label] == ["1 metric without a score in this run"]
    assert any(c.value.replace("\\", "") == "LPIPS alex: there are no weights" for c in test.caption)


def test_the_page_opens_the_newest_run_with_results(app, store):
    filled = fill_store(store, originals=2, runs=2)
    with store.database.write() as connection:
        of_newest = schema.reconstructions.c.job_id == filled.runs[1]
        connection.execute(schema.reconstructions.update().where(of_newest).values(chosen=False))
        connection.execute(schema.jobs.update().where(schema.jobs.c.id == filled.runs[1]).values(state="cancelled"))
    test = app(PAGE)
    assert test.selectbox(key="run_choice").value == filled.runs[0]
    assert len(cards(test)) == 2
    assert test.selectbox(key="run_choice").options[0].startswith(f"{filled.runs[1]} ")  # it can still be chosen


def test_an_inline_answer_is_stored_at_once_as_not_blind(app, store):
    filled = fill_store(store, originals=3, runs=1)
    first = filled.reconstructions[0]
    test = app(PAGE, run="1", annotator="Ana")
    test.button_group(key=f"answer_{first}").set_value("yes").run()
    assert not test.exception
    with store.database.read() as connection:
        event = connection.execute(schema.label_events.select()).one()
        annotator = connection.execute(schema.annotators.select().where(schema.annotators.c.name == "Ana")).one()
    assert (event.kind, event.answer, event.blind, event.annotator_id) == ("answer", "yes", False, annotator.id)
    assert "PSNR" in next(card for card in cards(test) if "photo-000" in card)
    test.button_group(key=f"answer_{first}").set_value(None).run()
    assert current_answers(store, default_study(store), annotator.id) == {}
    assert "hidden until you answer" in next(card for card in cards(test) if "photo-000" in card)


def test_sorted_paged_and_filtered(app, store):
    fill_store(store, originals=15, runs=1)
    test = app(PAGE, run="1")
    assert names(test) == [f"photo-{i:03d}" for i in range(12)]
    test.selectbox(key="sort").set_value("psnr").run()
    test.button_group(key="order").set_value("descending").run()
    assert names(test)[0] == "photo-000"  # infinite PSNR is the highest
    assert names(test)[1] == "photo-001"
    test.selectbox(key="by").set_value("ssim").run()
    test.number_input(key="least").set_value(2.0).run()
    assert names(test) == []
    assert any("Nothing matches" in m.value for m in test.markdown)
    assert not test.exception


def test_the_table_view_hides_scores_too(app, store):
    fill_store(store, originals=3, runs=1)
    test = app(PAGE, run="1")
    test.button_group(key="view").set_value("table").run()
    assert not test.exception
    table = test.dataframe[0].value
    assert list(table["name"]) == ["photo-000", "photo-001", "photo-002"]
    assert table["psnr"].isna().all()
    assert table["loss"].isna().all()
    assert list(table["scores"]) == ["hidden until you answer"] * 3
    test.toggle(key="scores").set_value(True).run()
    assert test.dataframe[0].value["psnr"].notna().all()
    assert list(test.dataframe[0].value["scores"]) == ["", "", "not scored: SSIM"]  # the fixture leaves it out


def test_a_name_with_markup_stays_text(app, store):
    fill_store(store, originals=2, runs=1)
    with store.database.write() as connection:
        connection.execute(schema.originals.update().values(name="<script>alert(1)</script>", class_name="<b>x"))
    test = app(PAGE, run="1")
    assert not test.exception
    assert all("<script>alert" not in h.value and "<b>x" not in h.value for h in test.html)
    assert any("&lt;script&gt;" in h.value for h in test.html)


def test_a_run_without_reconstructions_says_so(app, store):
    fill_store(store, originals=2, runs=1)
    with store.database.write() as connection:
        for table in ("scores", "pairings", "reconstructions"):
            connection.execute(schema.metadata.tables[table].delete())
        connection.execute(schema.jobs.update().values(state="failed", error="The loss <b>diverged</b>."))
    test = app(PAGE, run="1")
    assert not test.exception
    assert any("no reconstructions" in m.value for m in test.markdown)
    assert "diverged" in test.error[0].value


def long_ended_run(store):
    """A run of 3 originals whose scores the runner is not about to queue by itself."""
    filled = fill_store(store, originals=3, runs=1)
    with store.database.write() as connection:
        connection.execute(schema.jobs.update().values(finished=1.0))
    return filled.runs[0]


def score_jobs(store):
    with store.database.read() as connection:
        return connection.execute(schema.jobs.select().where(schema.jobs.c.kind == "score")).all()


def score_button(test):
    return [b for b in test.button if b.label == "Score again"]


def test_scoring_that_failed_can_be_asked_for_again(app, store):
    run = long_ended_run(store)
    assert not score_button(app(PAGE, run="1"))  # nothing to mend: these metrics need no weights
    rescore(store, run)
    with store.database.write() as connection:
        child = schema.jobs.update().where(schema.jobs.c.kind == "score")
        connection.execute(child.values(state="failed", error="the disk was full"))
    test = app(PAGE, run="1")
    assert any("the disk was full" in w.value for w in test.warning)
    (button,) = score_button(test)
    button.click().run()
    assert not test.exception
    assert [(job.state, job.parent_id) for job in score_jobs(store)] == [("failed", 1), ("queued", 1)]
    assert not score_button(test)  # it is on its way
    assert any("scoring" in m.value for m in test.markdown)
    assert not test.warning


def test_scores_can_be_asked_for_again_once_weights_that_were_missing_have_come(app, store, monkeypatch):
    long_ended_run(store)
    with store.database.write() as connection:
        missing = StoredScore("pairing", 1, "attacked", "lpips_alex", "0.1", "", None, "there are no weights")
        write_scores(connection, [missing])
        bump(connection, "scores")
    assert not score_button(app(PAGE, run="1"))  # they are missing still: asking again would change nothing
    monkeypatch.setattr("pages._progress.missing_here", lambda *_: "")
    (button,) = score_button(app(PAGE, run="1"))
    assert "LPIPS" in button.help
    with store.database.write() as connection:
        write_scores(connection, [replace(missing, weights_hash="a" * 64, value=0.3, reason="")])
        bump(connection, "scores")
    assert not score_button(app(PAGE, run="1"))


def test_more_effort_is_queued_once_and_stands_beside_the_run(app, store):
    fill_store(store, originals=3, runs=1)
    test = app(PAGE, run="1")
    assert any("No run of other effort" in c.value for c in test.caption)
    test.button(key="effort_queue").click().run()
    assert not test.exception
    table = next(h.value for h in test.html if "Iterations × restarts" in h.value)
    assert table.count("<tr") == 1 + 1 + 4  # the head, this run, and the four that were queued
    assert table.count("(this run)") == 1
    assert table.count("queued") == 4
    test.button(key="effort_queue").click().run()
    again = next(h.value for h in test.html if "Iterations × restarts" in h.value)
    assert again.count("<tr") == 6

"""Reconstructions: scores and percentiles on cards, maps, the detail view, two runs, the source, odd links."""

import html
import re

import numpy as np
import pytest

from core.jobs.aside import Answer
from core.labels.annotators import annotator_id
from core.report.sets import SetScore
from core.storage import schema
from core.storage.database import bump
from core.storage.scores import StoredScore, write_scores
from tests.filled_store import fill_store, photographs
from tests.report.test_views import say

PAGE = "pages/reconstructions.py"


def everything(test):
    return "\n".join(h.value for h in test.html)


def cards(test):
    return [h.value for h in test.html if h.value.startswith('<div class="card-head"')]


def said(test):
    return [html.unescape(one.value).replace("\\", "") for one in (*test.info, *test.error)]


def test_cards_show_percentiles_and_directions_once_scores_may_be_seen(app, store):
    filled = fill_store(store, originals=4, runs=1)
    test = app(PAGE, run="1", annotator="Ana")
    assert 'class="pct"' not in "".join(cards(test))
    test.button_group(key=f"answer_{filled.reconstructions[0]}").set_value("yes").run()
    assert not test.exception
    test = app(PAGE, run="1", annotator="Ana")
    assert "percentile 100 of 100" in cards(test)[0]  # perfect
    assert "PSNR ↑" in cards(test)[0]
    assert "MSE ↓" in cards(test)[0]
    assert 'class="pct"' not in cards(test)[1]
    assert sum("100 leaks most" in c.value for c in test.caption) == 1  # stated once


def test_diagnostics_stand_apart_and_many_scores_are_one_click_away(app, store):
    fill_store(store, originals=3, runs=1)
    names = [
        "victim_probability",
        "lpips_alex",
        "lpips_vgg",
        "lpips_squeeze",
        "dists",
        *(f"other_{i}" for i in range(9)),
    ]
    with store.database.write() as connection:
        pairings = connection.execute(schema.pairings.select()).all()
        write_scores(
            connection, [StoredScore("pairing", p.id, "attacked", n, "1", "", 0.5) for p in pairings for n in names]
        )
        bump(connection, "scores")
    test = app(PAGE, run="1", scores="true")
    assert not test.exception
    head, folded = cards(test)[0].split('<details class="more">', 1)
    assert head.count("<tr class=") == 8 + 4  # scores, and the groups that they stand in
    assert "8 more scores" in folded
    assert "diagnostics, not leakage" in folded
    assert "victim probability" not in folded.split('<div class="diagnostics">')[0]
    test.multiselect(key="shown").set_value(["psnr"]).run()
    assert cards(test)[0].split("<details", 1)[0].count("<tr class=") == 2
    assert "15 more scores" in cards(test)[0]


def test_the_summary_survives_infinities_and_names_what_it_left_out(app, store):
    fill_store(store, originals=5, runs=1)
    test = app(PAGE, run="1")
    table = next(h.value for h in test.html if "PSNR of mean MSE" in h.value)
    row = re.search(r"PSNR ↑</th>(.*?)</tr>", table).group(1)
    cells = re.findall(r"<td>(.*?)</td>", row)
    assert cells[3:] == ["5", "1", "0"]  # n, infinite, unscored
    assert "∞" not in cells[1]
    assert cells[2].endswith(" dB")


def test_the_summary_of_two_originals_would_tell_a_hidden_score(app, store):
    fill_store(store, originals=2, runs=1)
    assert "PSNR of mean MSE" not in everything(app(PAGE, run="1"))
    assert "PSNR of mean MSE" in everything(app(PAGE, run="1", scores="true"))


def test_set_metrics_stand_in_the_summary_with_their_warning(app, store, monkeypatch):
    fill_store(store, originals=3, runs=1)
    found = (
        SetScore("fid", "Fréchet <distance>", "lower", 71.5, "", 3, 2048, "Only 3 <pictures>.", "run", (1,)),
        SetScore("kid", "Kernel distance", "lower", None, "no weights", 3, 100, "", "setting", (1, 2)),
    )
    monkeypatch.setattr("pages._summary.set_scores", lambda *_, **__: found)
    shown = everything(app(PAGE, run="1"))
    assert "FID ↓" in shown
    assert "71.5" in shown
    assert "Only 3 &lt;pictures&gt;." in shown
    assert "1 set metric not scored" in shown
    assert "KID: no weights" in shown
    assert "<distance>" not in shown


def test_a_warning_stands_once_however_many_set_metrics_it_is_about(app, store, monkeypatch):
    fill_store(store, originals=3, runs=1)
    few = [
        SetScore(name, name, "higher", 0.5, "", 3, 100, "From 3 pictures.", "run", (1,)) for name in ("recall", "kid")
    ]
    monkeypatch.setattr("pages._summary.set_scores", lambda *_, **__: tuple(few))
    shown = everything(app(PAGE, run="1"))
    assert shown.count("From 3 pictures.") == 1
    assert "recall, KID: From 3 pictures." in shown


def test_a_link_to_a_control_says_that_it_is_one_and_asks_nobody(app, store):
    filled = fill_store(store, originals=3, runs=1)
    test = app(PAGE, run="1", reconstruction=str(filled.controls[0]), scores="true")
    assert not test.exception
    assert "a control: the same attack, given another update" in everything(test)
    assert not [group for group in test.button_group if str(group.key).startswith("answer_")]
    assert "not among those listed" not in everything(test)


def test_the_third_picture_is_a_choice(app, store):
    fill_store(store, originals=3, runs=1)
    test = app(PAGE, run="1", map="SSIM map", scores="true")
    assert "SSIM map of photo-000 and its reconstruction, dark where alike; mean SSIM 1.00" in everything(test)
    test = app(PAGE, run="1", map="SSIM map")
    assert "SSIM map of photo-000 and its reconstruction, dark where alike&quot;" not in everything(test)
    assert "mean SSIM" not in everything(test)  # a score in disguise: hidden until answered


def test_lpips_maps_are_asked_for_and_waited_for(app, store, monkeypatch):
    fill_store(store, originals=3, runs=1)
    answers = {"ready": False}

    def lpips_map(settings, original, reconstruction):
        return Answer(**answers, value=np.full((32, 32), 0.25, np.float32) if answers["ready"] else None, problem="")

    monkeypatch.setattr("core.jobs.aside.lpips_map", lpips_map)
    test = app(PAGE, run="1", map="LPIPS map", scores="true")
    assert everything(test).count('aria-label="LPIPS map: being computed …"') == 3
    assert any("being computed" in c.value for c in test.caption)
    answers["ready"] = True
    test.run()
    assert everything(test).count("mean of the map 0.250") == 3
    assert not any("being computed" in c.value for c in test.caption)


def test_an_lpips_map_that_cannot_be_says_why(app, store, monkeypatch):
    fill_store(store, originals=3, runs=1)
    monkeypatch.setattr("core.jobs.aside.lpips_map", lambda *_: Answer(True, value=None, problem="no <weights> here"))
    test = app(PAGE, run="1", map="LPIPS map")
    assert "no &lt;weights&gt; here" in everything(test)
    assert not any("being computed" in c.value for c in test.caption)


def test_a_picture_whose_file_is_gone_is_said_in_its_place(app, store):
    filled = fill_store(store, originals=3, runs=1)
    with store.database.read() as connection:
        row = connection.execute(schema.reconstructions.select()).first()
    store.artifacts.remove(row.image_sha)
    test = app(PAGE, run="1", label="unanswered")
    assert not test.exception
    test = app(PAGE, run="1", reconstruction=str(filled.reconstructions[0]))
    assert not test.exception
    assert any("holds no file" in e.value for e in test.error)


def test_the_detail_view_has_its_link_neighbours_and_answer(app, store):
    filled = fill_store(store, originals=4, runs=1)
    test = app(PAGE, run="1", reconstruction=str(filled.reconstructions[1]), annotator="Ana", sort="PSNR")
    assert not test.exception
    shown = everything(test)
    assert "Scores are hidden until you answer." in shown
    assert 'class="pct"' not in shown
    assert "mean SSIM" not in shown
    assert any("3 of 4 by PSNR, ascending" in c.value.replace("\\", "") for c in test.caption)
    test.button_group(key=f"answer_{filled.reconstructions[1]}").set_value("no").run()
    assert not test.exception
    shown = everything(test)
    assert "percentile" in shown
    assert "mean SSIM" in shown
    assert "<td>version</td>" in shown
    test.button(key="after").click().run()
    assert test.query_params["reconstruction"] == str(filled.reconstructions[0])
    assert test.button(key="after").disabled  # the highest PSNR is the last
    test.button(key="back").click().run()
    assert "reconstruction" not in test.query_params
    assert len(cards(test)) == 4


@pytest.mark.parametrize("value", ["99", "-1", "x", "<b>", "1 or 1=1"])
def test_a_link_to_no_reconstruction_is_one_sentence(app, store, value):
    fill_store(store, originals=3, runs=1)
    test = app(PAGE, run="1", reconstruction=value)
    assert not test.exception
    assert len(test.error) == 1
    assert not cards(test)


@pytest.mark.parametrize(
    ("name", "value"),
    [("sort", "beauty"), ("map", "x-ray"), ("shown", "<b>"), ("class", "99"), ("view", "wall"), ("least", "many"),
     ("label", "all"), ("reference", "mirror"), ("order", "random"), ("beside", "7"), ("beside", "x")],
)  # fmt: skip
def test_what_a_link_gets_wrong_is_one_sentence(app, store, name, value):
    fill_store(store, originals=3, runs=1)
    test = app(PAGE, run="1", **{name: value})
    assert not test.exception
    assert len(said(test)) == 1
    assert len(said(test)[0]) < 250
    assert len(cards(test)) == 3  # the page stands all the same


def test_two_runs_beside_each_other_on_cards_and_in_the_table(app, store):
    filled = fill_store(store, originals=4, runs=2)
    test = app(PAGE, run="1", beside="2", annotator="Ana")
    assert not test.exception
    assert all("until you answer both" in card for card in cards(test))
    assert all("leaks more" not in card for card in cards(test))
    test.button_group(key=f"answer_{filled.reconstructions[0]}").set_value("yes").run()
    assert "until you answer both" in cards(test)[0]
    test.button_group(key=f"answer_{filled.reconstructions[4]}").set_value("yes").run()
    test = app(PAGE, run="1", beside="2", annotator="Ana")
    assert 'aria-label="run 1 leaks more"' in cards(test)[0]
    assert all("until you answer both" in card for card in cards(test)[1:])
    duel = next(h.value for h in test.html if "run 1 leaks more</td>" in h.value)
    assert "PSNR ↑" in duel
    test.button_group(key="view").set_value("table").run()
    table = test.dataframe[0].value
    assert table["psnr 1"].notna().sum() == 1  # the one that was answered in both
    assert list(table["scores"]) == ["", *["hidden until you answer both"] * 3]
    test = app(PAGE, run="1", beside="2", reconstruction=str(filled.reconstructions[1]), scores="true")
    assert not test.exception
    assert "leaks more: ◀︎ ▶︎" in everything(test)


def test_the_source_is_offered_where_it_is_paired_and_said_on_cards(app, store):
    filled = fill_store(store, originals=3, runs=1)
    assert not [g for g in app(PAGE, run="1").button_group if g.key == "reference"]
    sha = store.artifacts.put_png(photographs(1, 48)[0])
    with store.database.write() as connection:
        connection.execute(schema.originals.update().values(source_sha=sha))
        for made, original in zip(filled.reconstructions, filled.originals, strict=True):
            row = {"reconstruction_id": made, "original_id": original, "method": "given", "cost_name": ""}
            statement = schema.pairings.insert().values(**row, reference="source")
            pairing = connection.execute(statement).inserted_primary_key[0]
            write_scores(connection, [StoredScore("pairing", pairing, "source", "psnr", "1", "", 10.0 + made)])
        bump(connection, "scores")
    test = app(PAGE, run="1", reference="un-augmented original", scores="true")
    assert not test.exception
    assert test.button_group(key="reference").value == "source"
    assert all("scored against the un-augmented original" in card for card in cards(test))
    assert "11.0" in cards(test)[0]
    assert any("un-augmented original" in c.value.replace("\\", "") for c in test.caption)
    test.button_group(key="reference").set_value("attacked").run()
    assert "SSIM" in cards(test)[0]


def test_contested_ones_can_be_listed(app, store):
    filled = fill_store(store, originals=4, runs=1)
    say(store, "Ana", filled.reconstructions[2], "yes")
    say(store, "Ben", filled.reconstructions[2], "no")
    test = app(PAGE, run="1", label="contested")
    assert [re.search(r"<b[^>]*>([^<]*)", card).group(1) for card in cards(test)] == ["photo-002"]
    assert annotator_id(store, "Ana")
    assert any("Shown: contested; 1 of them." in c.value.replace("\\", "") for c in test.caption)


def test_an_ending_with_its_loss_is_hidden_too(app, store):
    fill_store(store, originals=3, runs=1)
    with store.database.write() as connection:
        connection.execute(schema.reconstructions.update().values(status="stopped: all iterations used, loss 1.8e-05"))
    assert "1.8e-05" not in "".join(cards(app(PAGE, run="1")))
    assert all("1.8e-05" in card for card in cards(app(PAGE, run="1", scores="true")))

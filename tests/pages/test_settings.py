"""The Settings page without a browser: every state, sorting, choices in the link, blindness."""

import re

import pytest
from sqlalchemy import update

from core.storage import schema
from core.storage.database import bump
from pages import _settings_table
from tests.filled_settings import fill_settings, say, set_scores
from tests.filled_store import fill_store

PAGE = "pages/settings.py"


def table(test) -> str:
    return next(one.value for one in test.html if 'class="settings"' in one.value)


def titles(test) -> list[str]:
    return re.findall(r'class="title">([^<]*)<', table(test))


def words(test) -> str:
    return " ".join(e.value for kind in ("markdown", "caption", "html", "error") for e in test.get(kind))


def test_an_empty_store_says_what_appears_here(app):
    test = app(PAGE)
    assert not test.exception
    assert "No setting has been attacked yet" in words(test)
    assert {one.proto.label for one in test.get("page_link")} >= {
        "Start an audit",
        "Launch a campaign of many settings",
    }


def test_a_campaign_with_every_state(app, store):
    filled = fill_settings(store)
    set_scores(store, filled.runs[0], {"fid": 50.0}, 4)
    test = app(PAGE, campaign=str(filled.campaign))
    assert not test.exception
    assert "5 done · 1 waiting · 1 training · 1 failed" in words(test)
    html = table(test)
    assert "◌ not run yet" in html
    assert "◔ its victim is being trained" in html
    assert "The device ran out of memory" in html
    assert f"reconstructions?run={filled.runs[0]}" in html
    assert ">90 %<small>of 200</small><" in html  # accuracy
    assert html.index(">setting<") < html.index(">verdict<") < html.index(">accuracy<")  # what a phone shows
    row = html[html.index('scope="row"') :]
    assert row.index("▲ leaks") < row.index("90 %")
    assert "The same in all: data set photos, victim lenet, defence clean, attack dlg." in words(test).replace("\\", "")
    assert "of all answers, those that recognise" in words(test)
    assert '100 %<sup class="rank first">1</sup><small>4 of 4 images</small>' in html
    assert "FID ↓ ⚠" in html
    assert "2 controls hold" in html
    agreement = next(one.value for one in test.html if "agreement" in one.value)
    assert "+1.00" in agreement
    assert "Over 5 settings" in words(test)
    assert "<td>ε 4.50 (δ 1e-5, one image)</td>" in table(test)


def test_a_job_that_gets_on_redraws_nothing_and_one_that_ends_does(store):
    fill_settings(store)
    before = _settings_table._seen(store)
    with store.database.write() as connection:
        bump(connection, "jobs")  # as every step of a running job does
    assert _settings_table._seen(store) == before
    with store.database.write() as connection:
        training = schema.jobs.c.state == "running"
        assert connection.execute(update(schema.jobs).where(training).values(state="done")).rowcount
    assert _settings_table._seen(store) != before


def test_sorting_columns_and_statistic_are_in_the_link(app, store):
    filled = fill_settings(store, amounts=(0.5, 0.1, 0.9))
    test = app(PAGE, campaign=str(filled.campaign))
    assert [one.split(" · ")[1] for one in titles(test)[:3]] == ["none", "crop+flip", "ats 3-1-7"]
    test.selectbox(key="settings_sort").set_value("mse").run()
    assert [one.split(" · ")[1] for one in titles(test)[:3]] == ["crop+flip", "none", "ats 3-1-7"]
    assert test.query_params["sort"] == "mse"
    again = app(PAGE, campaign=str(filled.campaign), sort="ssim", stat="median", cols="pixels", blind="0")
    assert not again.exception
    html = table(again)
    assert "PSNR ↑ dB" in html
    assert "SSIM" not in html
    assert titles(again)[0].endswith("crop+flip")
    assert again.toggle(key="settings_seen").value


def test_a_broken_link_is_one_sentence_with_a_way_out(app, store):
    fill_settings(store, amounts=(0.5,), answers=False)
    for query in ({"sort": "nonsense"}, {"stat": "mode"}, {"cols": "nonsense"}, {"blind": "7"}, {"ref": "x"},
                  {"campaign": "99"}, {"campaign": "x"}):  # fmt: skip
        test = app(PAGE, **query)
        assert not test.exception
        assert len(test.error) + len(test.warning) + len(test.info) == 1, query


def test_nobody_has_answered(app, store):
    filled = fill_settings(store, answers=False)
    test = app(PAGE, campaign=str(filled.campaign))
    assert not test.exception
    assert "0 of 5 settings have 3 answered images or more" in words(test)
    assert not [one for one in test.html if 'class="scores summary agreement"' in one.value]
    assert "by PSNR ≥ 20 dB, nobody answered" in table(test)
    assert "Settings against a second measure" in [one.value for one in test.subheader]
    say(store, filled.reconstructions[0][0], "Ana", True)
    test.run()
    assert "1 undetermined" in table(test)
    assert "<small>1 answer</small>" in table(test)
    assert test.selectbox(key="settings_x").value == "psnr"


def test_all_runs_are_grouped_by_setting(app, store):
    filled = fill_store(store, originals=4, runs=2)
    test = app(PAGE)
    assert not test.exception
    assert len(titles(test)) == 1  # two seeds of one setting
    assert all(f"run={run}" in table(test) for run in filled.runs)


def test_means_over_few_reconstructions_stay_hidden_until_asked_for(app, store):
    filled = fill_settings(store, amounts=(0.1, 0.5), originals=2, answers=False)
    test = app(PAGE, campaign=str(filled.campaign))
    assert table(test).count("hidden") >= 4
    test.toggle(key="settings_few").set_value(True).run()
    assert not test.exception
    assert "hidden</td>" not in table(test)


def test_what_a_run_is_called_cannot_break_the_page(app, store):
    filled = fill_settings(store, amounts=(0.1,), answers=False)
    with store.database.write() as connection:
        connection.execute(update(schema.campaign_settings).values(title="<b>x</b>", error='"><script>'))
        bump(connection, "jobs")
    test = app(PAGE, campaign=str(filled.campaign))
    assert not test.exception
    assert "<script>" not in table(test)
    assert "&lt;b&gt;x" in table(test)


def test_a_choice_does_not_follow_to_other_settings(app, store):
    filled = fill_settings(store, amounts=(0.1, 0.5))
    test = app(PAGE, campaign=str(filled.campaign))
    test.selectbox(key="settings_sort").set_value("ssim").run()
    with store.database.write() as connection:
        connection.execute(schema.scores.delete().where(schema.scores.c.metric == "ssim"))
        bump(connection, "scores")
    test.query_params.clear()
    test.run()
    assert not test.exception
    assert not test.error
    assert test.selectbox(key="settings_sort").value == "plan"


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ({"sort": "loss"}, "cannot be sorted by 'loss'"),  # as another page may leave it in the address
        ({"cols": "pixels,none"}, "no columns 'none'"),
        ({"stat": "mode"}, "stat must be mean or median, not 'mode'"),
        ({"ref": "both"}, "ref must be attacked or source, not 'both'"),
        ({"blind": "yes"}, "blind must be 0 or 1, not 'yes'"),
    ],
)
def test_a_choice_that_there_is_not_gets_one_sentence_and_the_usual(app, store, query, says):
    filled = fill_settings(store, amounts=(0.1, 0.5))
    link = {"campaign": str(filled.campaign), "annotator": "Ana"}
    usual, test = app(PAGE, **link), app(PAGE, **link, **query)
    assert not test.exception
    assert not test.error
    (told,) = (one.value.replace("\\", "") for one in test.info if "The usual" in one.value)
    assert says in told
    assert table(test) == table(usual)

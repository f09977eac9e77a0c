"""The Campaigns page: define, launch, watch; without a runner."""

import pytest
from sqlalchemy import update

from core.campaigns.presets import PRESETS
from core.campaigns.toml import read_toml
from core.jobs.campaign_work import advance
from core.jobs.campaigns import ask_campaign, submit_campaign
from core.jobs.launch import RunnerMark
from core.report.campaigns import campaign, campaigns
from core.storage.campaigns import setting_states
from core.storage.database import bump
from core.storage.schema import jobs
from pages import _campaign_watch

PAGE = "pages/campaigns.py"


def words(test) -> str:
    return " ".join(str(element.value) for kind in (test.markdown, test.caption, test.error) for element in kind)


def test_one_click_launches_the_mini_study_and_shows_it(app, store):
    test = app(PAGE)
    assert not test.exception
    assert "2 victims" in words(test)
    assert "12 settings" in words(test)
    test.button(key="campaign_launch").click().run()
    assert not test.exception
    (row,) = campaigns(store)
    assert (row.title, row.settings, row.state) == ("Mini study", 12, "queued")
    assert test.query_params["campaign"] == "1"
    assert "narrow ConvNet · crop+flip · noise" in words(test).replace("\\", "")


def test_launched_again_it_is_offered_and_not_queued(app, store):
    test = app(PAGE)
    test.button(key="campaign_launch").click().run()
    test = app(PAGE)
    test.button(key="campaign_launch").click().run()
    assert len(campaigns(store)) == 1
    assert "nothing was queued" in words(test)


def test_a_slip_in_the_text_is_one_sentence_and_bars_the_launch(app, store):
    test = app(PAGE)
    text = test.text_area(key="campaign_toml").value
    test.text_area(key="campaign_toml").set_value(text.replace("epochs", "epoch")).run()
    assert [error.value.replace("\\", "") for error in test.error] == [
        "There is no key 'epoch' in [[recipes]] number 1; did you mean epochs?"
    ]
    assert test.button(key="campaign_launch").disabled
    assert campaigns(store) == []


def test_a_preset_replaces_the_text(app):
    test = app(PAGE)
    test.button_group(key="campaign_preset").set_value("mini-cut").run()
    assert "2 settings" in words(test)
    assert "cut short" in test.text_area(key="campaign_toml").value


def test_a_missing_data_set_says_how_to_get_it(app):
    test = app(PAGE)
    test.button_group(key="campaign_preset").set_value("paper").run()
    assert not test.exception
    assert "cifar100" in test.error[0].value.replace("\\", "")
    assert test.button(key="campaign_launch").disabled


def test_more_than_500_settings_are_asked_first(app, store):
    test = app(PAGE)
    many = "\n".join(f'[[victims]]\nname = "v{n}"\narchitecture = "lenet"\ninit_seed = {n}\n' for n in range(501))
    data = '[[data]]\ndataset = "photos"\noriginals = { count = 2 }\n'
    plan = f'name = "many"\n{data}{many}\n[[recipes]]\nname = "r"\nbatch_size = 8\n'
    test.text_area(key="campaign_toml").set_value(plan + '[[attacks]]\nattack = "dlg"\n').run()
    assert not test.exception
    assert test.button(key="campaign_launch").disabled
    test.checkbox(key="campaign_meant").check().run()
    test.button(key="campaign_launch").click().run()
    assert not test.error, test.error[0].value
    (row,) = campaigns(store)
    assert row.settings == 501


def test_pause_resume_and_cancel(app, store):
    job = submit_campaign(store, PRESETS["mini-cut"].campaign).job_id
    test = app(PAGE, campaign=str(job))
    test.button(key="campaign_pause").click().run()
    assert campaign(store, job).row.state == "paused"
    test.button(key="campaign_run").click().run()
    assert campaign(store, job).row.state == "queued"
    test.button(key="campaign_cancel").click().run()
    assert campaign(store, job).row.state == "cancelled"
    assert not test.exception


def test_a_paused_job_says_why_and_is_resumed_here(app, store):
    job = submit_campaign(store, PRESETS["mini-cut"].campaign).job_id
    advance(store)
    training = setting_states(store, job)[0].train_job
    with store.database.write() as connection:
        values = {"state": "paused", "error": "The disk is full."}
        connection.execute(update(jobs).where(jobs.c.id == training).values(**values))
        bump(connection, "jobs")
    test = app(PAGE, campaign=str(job))
    assert "Paused: The disk is full." in words(test).replace("\\", "")
    test.button(key="campaign_run").click().run()
    assert not test.exception
    assert setting_states(store, job)[0].train_state == "queued"


def test_the_form_writes_the_plan(app):
    test = app(PAGE)
    test.multiselect(key="form_recipes").set_value(["none", "prune 70 %"]).run()
    test.button(key="form_write").click().run()
    assert not test.exception
    assert not test.error
    text = test.text_area(key="campaign_toml").value
    assert 'name = "prune 70 %"' in text
    assert "2 settings" in words(test)


def test_the_form_attacks_early_epochs_and_augmented_images(app):
    test = app(PAGE)
    test.text_input(key="form_checkpoints").set_value("5, 1").run()
    test.checkbox(key="form_augmented").check().run()
    test.button(key="form_write").click().run()
    assert not test.error
    plan = read_toml(test.text_area(key="campaign_toml").value)
    assert [one.checkpoints for one in plan.recipes] == [(1, 5)]
    assert [one.augmented for one in plan.threats] == [True]
    assert "3 settings" in words(test)
    test.text_input(key="form_checkpoints").set_value("one").run()
    test.button(key="form_write").click().run()
    assert "Epochs are whole numbers" in test.error[0].value


def test_a_link_to_no_campaign_is_one_sentence(app):
    test = app(PAGE, campaign="77")
    assert "There is no campaign 77" in test.error[0].value.replace("\\", "")
    assert "Traceback" not in words(test)


def own(test):
    text = test.text_area(key="campaign_toml").value
    test.text_area(key="campaign_toml").set_value(text.replace("Mini study", "My very own")).run()


def test_a_plan_survives_another_page_and_a_watched_campaign(app, store):
    test = app(PAGE)
    own(test)
    test.switch_page("pages/metrics.py").run()
    assert not [one for one in test.text_area if one.key == "campaign_toml"]
    test.switch_page(PAGE).run()
    assert 'name = "My very own"' in test.text_area(key="campaign_toml").value
    test.button(key="campaign_launch").click().run()
    assert campaigns(store)[0].title == "My very own"
    assert not test.text_area
    del test.query_params["campaign"]
    test.run()
    assert 'name = "My very own"' in test.text_area(key="campaign_toml").value


def test_another_plan_is_no_preset_any_more(app):
    test = app(PAGE)
    choice = test.button_group(key="campaign_preset")
    assert (choice.value, len(choice.options)) == ("mini", len(PRESETS))
    assert "Under 15 minutes" in words(test)
    own(test)
    assert test.button_group(key="campaign_preset").value == "own"
    assert "Your own plan" in words(test)
    assert "Under 15 minutes" not in words(test)
    test.button_group(key="campaign_preset").set_value("mini-cut").run()
    assert "cut short" in test.text_area(key="campaign_toml").value
    test.button_group(key="campaign_preset").set_value("own").run()
    assert "My very own" in test.text_area(key="campaign_toml").value
    assert not test.exception


@pytest.mark.parametrize(("wanted", "sentence"), [("1", "There is no campaign 1"), ("x", "must be a whole number")])
def test_a_bad_link_goes_on_as_without_it(app, wanted: str, sentence: str):
    test = app(PAGE, campaign=wanted)
    assert [sentence in error.value.replace("\\", "") for error in test.error] == [True]
    assert not test.button(key="campaign_launch").disabled
    assert "None yet." in words(test)


def test_the_history_is_read_anew_with_the_store(app, store):
    job = submit_campaign(store, PRESETS["mini-cut"].campaign).job_id
    test = app(PAGE, campaign=str(job))
    assert "queued] Campaign 1" in words(test)
    ask_campaign(store, job, "pause")
    test.run()
    assert "paused] Campaign 1" in words(test)
    assert "queued]" not in words(test)


def test_the_history_redraws_itself_while_a_campaign_lives(app, store, monkeypatch):
    polled = {}
    fragment = _campaign_watch.st.fragment

    def noting(call, run_every=None):
        if call.__module__ == _campaign_watch.__name__:
            polled[call.__name__] = run_every
        return fragment(call)

    monkeypatch.setattr(_campaign_watch.st, "fragment", noting)
    job = submit_campaign(store, PRESETS["mini-cut"].campaign).job_id
    app(PAGE, campaign=str(job))
    assert polled == {"_panel": _campaign_watch.POLL_SECONDS, "_history": _campaign_watch.POLL_SECONDS}
    ask_campaign(store, job, "cancel")
    app(PAGE, campaign=str(job))
    assert polled == {"_panel": None, "_history": None}


def state_of(store, job: int, state: str, **more: object) -> None:
    with store.database.write() as connection:
        connection.execute(update(jobs).where(jobs.c.id == job).values(state=state, **more))
        bump(connection, "jobs")


def test_a_paused_campaign_says_what_still_computes(app, store):
    job = submit_campaign(store, PRESETS["mini-cut"].campaign).job_id
    advance(store)
    training = setting_states(store, job)[0].train_job
    state_of(store, training, "running")
    ask_campaign(store, job, "pause")
    test = app(PAGE, campaign=str(job))
    assert "still training] 1" in words(test)
    assert [one.label for one in test.expander if "Settings" in one.label] == ["Settings: 1 still training, 1 waiting"]
    state_of(store, training, "paused")
    test.run()
    assert "still" not in words(test)


def bar(test) -> str:
    (found,) = [one.proto.text for one in test.get("progress")]
    return found


@pytest.mark.parametrize("started", [None, 1.0])
def test_no_living_runner_is_said(app, store, monkeypatch, started: float | None):
    job = submit_campaign(store, PRESETS["mini-cut"].campaign).job_id
    state_of(store, job, "queued" if started is None else "running", started=started)
    woken = []
    monkeypatch.setattr("pages._shared.ensure_runner", lambda settings: woken.append(1) or 1)
    again = "" if started is None else " again"
    test = app(PAGE, campaign=str(job))
    assert bar(test).endswith(f"; the runner is being started{again}")
    monkeypatch.setattr("pages._shared.living_runner", lambda settings: RunnerMark(1, 1.0, "code"))
    looked = len(woken)
    test.run()
    said = "waiting for the runner" if started is None else "the time left is known after the first one"
    assert bar(test).endswith(f"; {said}")
    assert len(woken) == looked  # one lives: no other is asked for

"""The Campaigns page: define, launch, watch; without a runner."""

from sqlalchemy import update

from core.campaigns.presets import PRESETS
from core.campaigns.toml import read_toml
from core.jobs.campaign_work import advance
from core.jobs.campaigns import submit_campaign
from core.report.campaigns import campaign, campaigns
from core.storage.campaigns import setting_states
from core.storage.database import bump
from core.storage.schema import jobs

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

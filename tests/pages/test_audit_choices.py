"""Audit's choices: what is shared, the defences in order, the attack by family; each reaches the job and the link."""

import json
from dataclasses import asdict, fields

import pytest

from core.attacks import ATTACKS
from core.jobs.foresight import Foresight
from core.jobs.payloads import from_json
from core.leakage.defences import DEFENCES
from core.leakage.defences.text import read_defence
from core.leakage.threat import ThreatModel
from core.report.estimate import TimeEstimate
from core.storage import schema
from pages._audit_defence import PLACES
from pages._shared import plain

PAGE = "pages/audit.py"
WITH_NORM = {"model": "convnet-narrow", "count": "4"}


def words(test):
    return " ".join(e.value for kind in ("markdown", "caption", "error", "warning") for e in test.get(kind))


def launched(test, store):
    """Press Launch; the one job that this stored."""
    test.button(key="launch").click().run()
    assert not test.exception
    assert not test.error
    with store.database.read() as connection:
        (row,) = connection.execute(schema.jobs.select()).all()
    return from_json(row.payload_type, row.payload_version, row.payload)


def keys(test):
    return {
        element.key for kind in ("number_input", "toggle", "button_group", "selectbox") for element in test.get(kind)
    }


def test_every_part_of_the_threat_model_reaches_the_job(app, store):
    test = app(PAGE, model="convnet-narrow", count="8")
    test.button_group(key="update").set_value("weights").run()
    test.number_input(key="batch").set_value(8).run()
    test.number_input(key="clients").set_value(2).run()
    test.number_input(key="epochs").set_value(2).run()
    test.number_input(key="local_batch").set_value(2).run()
    test.number_input(key="local_lr").set_value(0.05).run()
    test.button_group(key="known").set_value("inferred").run()
    test.button_group(key="bn").set_value("train").run()
    test.toggle(key="running").set_value(False).run()
    test.toggle(key="private").set_value(True).run()
    assert "2 clients make 4 local steps each on 4 images" in words(test)
    wanted = ThreatModel(8, "train", "inferred", "weights", 2, False, True, 2, 2, 0.05)
    payload = launched(test, store)
    assert payload.threat == wanted
    shown = dict(test.table[0].value.itertuples(index=False))  # the run's settings
    assert shown["Shared"] == "new weights \\(FedAvg\\)"
    assert shown["Local learning rate"] == "0\\.05"
    assert shown["Running statistics"] == "withheld"


def test_a_link_reopens_the_threat_model(app, store):
    query = {"update": "weights", "batch": "4", "clients": "2", "epochs": "3", "local_batch": "2", "local_lr": "0.1"}
    query |= {"known": "inferred", "bn": "train", "running": "false", "private": "true"}
    payload = launched(app(PAGE, **WITH_NORM, **query), store)
    assert payload.threat == ThreatModel(4, "train", "inferred", "weights", 2, False, True, 3, 2, 0.1)


@pytest.mark.parametrize("bad", ["x", "-1", "1e9", "<b>", "../.."])
def test_a_link_with_values_that_mean_nothing_still_opens(app, store, bad):
    names = ("update", "batch", "clients", "epochs", "local_batch", "local_lr", "known", "bn", "running", "attack")
    test = app(PAGE, **dict.fromkeys((*names, "knob_dlg_restarts", "adaptive", "family"), bad))
    assert not test.exception
    assert launched(test, store).threat.update == "gradients"


def test_only_what_applies_is_asked(app):
    test = app(PAGE, **WITH_NORM)
    assert {"epochs", "local_batch", "local_lr", "clients"}.isdisjoint(keys(test))
    assert test.toggle(key="running_fixed").disabled  # eval mode computes with them
    assert test.toggle(key="private_fixed").disabled
    test.button_group(key="update").set_value("weights").run()
    assert {"epochs", "local_batch", "local_lr"} <= keys(test)
    test.number_input(key="batch").set_value(2).run()
    assert "clients" in keys(test)
    test.selectbox(key="model").set_value("lenet").run()
    assert {"bn", "running_fixed", "private_fixed"}.isdisjoint(keys(test))
    assert "The model has no BatchNorm statistics" in words(test)


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({"batch": "3", "count": "8"}, "8 images do not fill updates of 3; choose updates of 1, 2, 4, 8"),
        ({"batch": "4", "clients": "3", "count": "4"}, "cannot be shared equally by 3 clients"),
        ({"batch": "4", "update": "weights", "local_batch": "5", "count": "4"}, "local batches of 1 to 4 images"),
    ],
)
def test_what_does_not_go_together_is_said_before_the_launch(app, store, query, sentence):
    test = app(PAGE, **query)
    assert not test.exception
    assert sentence in test.error[0].value.replace("\\", "")
    assert test.button(key="launch").disabled
    assert "**3 Threat model**: its choices do not go together" in words(test)


def choose(test, name):
    """Pick an attack by its family."""
    if test.button_group(key="family").value != ATTACKS[name].family:
        test.button_group(key="family").set_value(ATTACKS[name].family).run()
    if test.selectbox(key="attack").value != name:
        test.selectbox(key="attack").set_value(name).run()


def test_every_attack_is_explained_with_every_knob_its_meaning_and_default(app):
    test = app(PAGE)
    for name, attack in ATTACKS.items():
        choose(test, name)
        assert not test.exception
        assert test.button_group(key="family").value == attack.family
        shown = words(test)
        assert plain(attack.summary) in shown
        assert plain(attack.source) in shown
        assert ("changes what the server sends" in shown) == (attack.family == "malicious server")
        for field in fields(attack.config):
            knob = test.get_by_key(f"knob_{name}_{field.name}")
            assert field.name.replace("_", " ") in knob.label.lower()
            assert "default" in knob.label
            assert plain(str(field.metadata["help"])) in shown


def test_a_link_reopens_the_attack_and_its_knobs(app, store):
    test = app(PAGE, attack="inverting-gradients", **{"knob_inverting-gradients_steps": "7"})
    assert "steps = 7" in words(test)
    payload = launched(test, store)
    assert (payload.attack, payload.config["steps"]) == ("inverting-gradients", 7)


def test_an_attack_that_does_not_fit_says_why_and_cannot_be_launched(app):
    test = app(PAGE, batch="16", count="16", images="lfw")
    assert "16; choose another batch size" in test.error[0].value.replace("\\", "")
    assert test.button(key="launch").disabled
    listed = {row.attack: row.why for table in test.table for row in table.value.itertuples() if "why" in table.value}
    assert "idlg" in listed


def test_defences_are_added_ordered_set_and_removed(app, store):
    test = app(PAGE, count="2")
    test.button(key="add_clip").click().run()
    test.button(key="add_gaussian").click().run()
    test.button(key="defence_earlier_2").click().run()
    test.number_input(key="defence_2_std").set_value(0.25).run()
    test.button(key="add_top-k").click().run()
    test.button(key="defence_remove_1").click().run()
    assert not test.exception
    assert test.query_params["defence"] == ["gaussian:std=0.25", "top-k"]
    payload = launched(test, store)
    assert payload.threat.defences == (read_defence("gaussian:std=0.25"), read_defence("top-k"))
    assert payload.threat.adaptive
    shown = dict(test.table[0].value.itertuples(index=False))
    assert "std = 0\\.25" in shown["Defence 1"]
    assert shown["The attacker is told of the defence"] == "yes"


def test_a_link_reopens_the_defences_in_their_order(app, store):
    test = app(PAGE, count="2", defence=["clip:norm=0.5", "gaussian"], adaptive="false")
    assert test.number_input(key="defence_1_norm").value == 0.5
    payload = launched(test, store)
    assert [one.name for one in payload.threat.defences] == ["clip", "gaussian"]
    assert payload.threat.defences[0].settings["norm"] == 0.5
    assert not payload.threat.adaptive


@pytest.mark.parametrize(
    ("text", "word"),
    [("magic", "magic"), ("clip:norm=-1", "norm"), ("clip:nrom=1", "norm"), ("clip:norm", "key=value")],
)
def test_a_link_to_an_unknown_defence_is_one_sentence(app, text, word):
    test = app(PAGE, defence=[text])
    assert not test.exception
    assert len(test.error) == 1
    assert word in test.error[0].value.replace("\\", "")
    assert not test.button(key="launch").disabled  # without it


@pytest.mark.parametrize("names", [list(DEFENCES)[start : start + 7] for start in range(0, len(DEFENCES), 7)])
def test_every_defence_is_offered_with_its_place_summary_source_and_settings(app, names):
    test = app(PAGE, count="2", defence=names)
    assert not test.exception
    shown = words(test)
    for slot, name in enumerate(names, start=1):
        defence = DEFENCES[name]
        assert test.button(key=f"add_{name}").label.replace("\\", "") == defence.title
        assert shown.count(plain(defence.summary)) == 2  # where it is offered, and where it is chosen
        assert plain(defence.source) in shown
        assert f"**{slot}  {plain(defence.title)}**" in shown
        assert f":gray-badge[on {PLACES[defence.place]}] {plain(defence.summary)}" in shown
        for field in fields(defence.config):
            knob = test.get_by_key(f"defence_{slot}_{field.name}")
            assert field.name.replace("_", " ") in knob.label.lower()
            assert plain(str(field.metadata["help"])) in shown


def test_dp_sgd_shows_its_epsilon(app):
    from core.leakage.defences.clipping import epsilon

    config = DEFENCES["dp-sgd"].config
    test = app(PAGE, defence=["dp-sgd"])
    assert f"ε = {epsilon(config):.3g}" in words(test)
    test.number_input(key="defence_1_noise").set_value(0.0).run()
    assert "ε is infinite" in words(test)


def test_defences_that_cannot_be_combined_are_explained(app):
    test = app(PAGE, defence=["gaussian", "dp-sgd"])
    assert "put it first" in words(test)
    assert test.button(key="launch").disabled
    test.button(key="defence_earlier_2").click().run()
    assert not test.error
    assert not test.button(key="launch").disabled


def test_the_settings_of_a_defence_are_those_of_its_config():
    for name, defence in DEFENCES.items():
        assert read_defence(name).settings == json.loads(json.dumps(asdict(defence.config)))


def test_what_speaks_against_a_run_is_said_before_it_and_forbids_nothing(app, store, monkeypatch):
    found = Foresight(("The model is saturated.",), norm=0.0042, kept=0.25)
    monkeypatch.setattr("pages._audit_forecast.foresee", lambda settings, request: found)
    test = app(PAGE, model="convnet-narrow", count="1", defence=["clip"], adaptive="false")
    shown = " ".join(warning.value.replace("\\", "") for warning in test.warning)
    assert "ReLUs or max-pooling" in shown  # DLG on a ConvNet
    assert "The attacker is not told" in shown
    assert "The model is saturated." in shown
    assert "0.0042" in words(test).replace("\\", "")
    assert "cosine with the undefended update is about 0.250" in words(test).replace("\\", "")
    assert launched(test, store).attack == "dlg"


def test_while_something_is_measured_the_page_says_so(app, monkeypatch):
    monkeypatch.setattr("pages._audit_forecast.foresee", lambda settings, request: Foresight(measuring=True))
    measured = TimeEstimate(90.0, 200.0, "a guess", guess=True, measuring=True)
    monkeypatch.setattr("pages._audit_forecast.estimate_request", lambda store, **asked: measured)
    test = app(PAGE)
    assert not test.exception
    assert "About **1 min 30 s**, roughly; measuring…" in words(test)
    assert "Measuring what the first update gives away" in words(test)
    assert not test.button(key="launch").disabled


def test_a_prior_without_batchnorm_is_refused_before_launch(app):
    test = app(PAGE, attack="gradinversion", model="lenet")
    assert "BatchNorm" in test.warning[0].value
    assert test.button(key="launch").disabled
    test.selectbox(key="model").set_value("convnet-narrow").run()
    assert not test.button(key="launch").disabled

"""Campaigns in the store: launched whole, asked for step by step, once each, whatever is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from sqlalchemy import func, insert, select, update

from core.campaigns.grid import expand
from core.campaigns.plan import AttackChoice, Campaign, Data, Originals, Threat, Training, Victim
from core.campaigns.presets import PRESETS as PRESET_CAMPAIGNS
from core.campaigns.resolve import resolve
from core.errors import UserError
from core.jobs import campaign_work
from core.jobs.campaign_requests import attack_request, check_campaign
from core.jobs.campaign_work import advance
from core.jobs.campaigns import ask_campaign, submit_campaign
from core.jobs.claims import claim, somebody_waits
from core.jobs.compose import demo_request, prepare_attack, submit_attack
from core.jobs.launch import PROJECT, environment_of
from core.jobs.payloads import ScoreJob
from core.jobs.queue import submit_within
from core.jobs.runner import Runner
from core.jobs.sources import Interrupted
from core.leakage.threat import ThreatModel
from core.models.spec import ModelSpec
from core.models.training.recipe import Recipe
from core.report.campaign_words import estimate_lines
from core.settings import load_settings
from core.storage import schema
from core.storage.campaigns import halted, setting_states
from core.storage.store import Store, open_store
from tests.images.dataset_files import cifar100_archive
from tests.jobs.conftest import job_row, outcome

jobs = schema.jobs
QUICK = Recipe(epochs=2, batch_size=8, augment="none")
PRIVATE = Training("private", replace(QUICK, defence="dp-sgd"))
WARM = Training("warm", replace(QUICK, start="imagenet"))
ATTACK = AttackChoice("ig", "inverting-gradients", {"steps": 20}, controls=0)
PRESETS = (Victim("a", preset="lenet"), Victim("b", preset="mlp"))


def plan(**changes: object) -> Campaign:
    values: dict = {
        "name": "tiny",
        "data": (Data("photos", "photos", size=16, originals=Originals(count=2)),),
        "victims": (Victim("one", "lenet"), Victim("two", "lenet", init_seed=1)),
        "recipes": (Training("r", QUICK),),
        "attacks": (ATTACK,),
        "device": "cpu",
        **changes,
    }
    return Campaign(**values)


def counts(store: Store) -> dict[str, int]:
    """Jobs of each kind."""
    with store.database.read() as connection:
        rows = connection.execute(select(jobs.c.kind, func.count()).group_by(jobs.c.kind))
        return {row[0]: row[1] for row in rows}


def finish(store: Store, job: int, state: str = "done", error: str | None = None) -> None:
    with store.database.write() as connection:
        connection.execute(
            update(jobs).where(jobs.c.id == job).values(state=state, error=error, started=1.0, finished=2.0)
        )


def test_a_campaign_is_stored_whole_and_asked_once(store: Store):
    first = submit_campaign(store, plan())
    again = submit_campaign(store, plan())
    assert (first.already, again.already, again.job_id) == (False, True, first.job_id)
    assert [state.title for state in setting_states(store, first.job_id)] == ["one", "two"]
    assert counts(store) == {"campaign": 1}
    anew = submit_campaign(store, plan(), anew=True)
    assert len(setting_states(store, anew.job_id)) == 2


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"data": (Data("p", "phtos"),)}, "'phtos'; did you mean photos.*data set 'p' of the campaign"),
        ({"data": (Data("p", "photos", originals=Originals(count=99)),)}, "99 images were asked for"),
        ({"threats": (Threat("t", ThreatModel(batch_size=4)),)}, "do not fill updates of 4.*setting one"),
        ({"victims": (Victim("v", model=7),)}, "no model 7 in this store, which victim 'v' names"),
        ({"victims": (Victim("v", "resnet20-4"),), "recipes": (PRIVATE,)}, "take resnet20-4-gn"),
        ({"recipes": (WARM,)}, "No ImageNet weights are published for.*setting one"),
        ({"victims": tuple(Victim(str(n), "lenet", init_seed=n) for n in range(501))}, "501 settings.*confirm"),
    ],
)  # fmt: skip
def test_what_cannot_run_is_refused_and_nothing_is_stored(store: Store, changes: dict, sentence: str):
    with pytest.raises(UserError, match=sentence):
        submit_campaign(store, plan(**changes))
    assert counts(store) == {}
    with store.database.read() as connection:
        assert connection.execute(select(func.count()).select_from(schema.campaign_settings)).scalar_one() == 0


def test_a_million_settings_are_asked_about_before_one_is_made_or_checked(store: Store, monkeypatch):
    victims = tuple(Victim(f"v{n}", "lenet", init_seed=n) for n in range(1000))
    attacks = tuple(replace(ATTACK, name=f"a{n}") for n in range(1000))
    million = plan(victims=victims, attacks=attacks)
    found = resolve(million, store.settings)
    monkeypatch.setattr("core.campaigns.grid.Setting", None)
    with pytest.raises(UserError, match="1,000,000 settings, each a run of its own; confirm"):
        submit_campaign(store, million)
    monkeypatch.undo()
    lines = estimate_lines(store, million, found)  # what a person sees beside the question, in seconds
    assert lines[0].startswith("1,000,000 settings: 1,000 trainings, 1,000,000 runs on 2 originals, 2,000,000 recon")
    assert counts(store) == {}


def test_weights_to_start_from_and_memory_are_looked_at_before_the_launch(store: Store, monkeypatch):
    here = replace(store, settings=replace(store.settings, torch_cache=None))
    with pytest.raises(UserError, match=r"weights of resnet18 are not on this machine.*setting v"):
        submit_campaign(here, plan(victims=(Victim("v", "resnet18"),), recipes=(WARM,)))
    monkeypatch.setattr("core.jobs.training.MOST_BYTES", 15 * 16 * 16 * 3)  # the photographs are more than 15
    with pytest.raises(UserError, match=r"images of 16×16 are .*fewer images or a smaller size.*setting one"):
        submit_campaign(store, plan())
    assert counts(store) == {}


def test_the_paper_s_study_can_be_launched_on_an_archive_of_its_layout(store: Store):
    archive = store.settings.datasets / "cifar100" / "cifar-100-binary.tar.gz"
    archive.parent.mkdir(parents=True)
    cifar100_archive(archive, per_class=1, test_per_class=6)
    study = PRESET_CAMPAIGNS["paper"].campaign
    found = check_campaign(store, study)["CIFAR-100"]
    assert (found.originals, len(found.classes), found.data.size) == (600, 100, 32)
    campaign = submit_campaign(store, study).job_id
    assert advance(store)
    states = setting_states(store, campaign)
    assert len(states) == 14
    assert [state.state for state in states] == ["training"] + ["waiting"] * 13
    asked = json.loads(job_row(store, states[0].train_job or 0).payload)
    assert (asked["model"]["num_classes"], asked["recipe"]["augment"], asked["data"]["dataset"]) == (
        100,
        "none",
        "cifar100",
    )
    finish(store, states[0].train_job or 0)

    # the augmented image of the second way is what is attacked: crop and flip with 4 black pixels around
    settings = expand(study)
    spec = ModelSpec("resnet20-4", num_classes=100, class_names=found.classes, mean=found.data.mean, std=found.data.std)
    with store.database.write() as connection:
        row = {"name": "m", "spec": spec.to_json(), "identity": "x", "origin": "", "created": 0.0, "epoch": 200}
        facts = {"facts": json.dumps({"final": True}), "job_id": states[0].train_job}
        connection.execute(insert(schema.models).values(**row, **facts))
    request = attack_request(store, study, settings[1], states[0].train_job)
    assert len(request.prepared) == 600
    assert [(one.name, one.settings) for one in request.threat.defences] == [
        ("crop-flip", {"padding": 4, "flip": True})
    ]
    assert sorted({one.label for one in request.prepared}) == list(range(100))


def test_a_disk_without_room_is_said_before_the_launch(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("core.campaigns.size.free_bytes", lambda home: 1 << 20)
    with pytest.raises(UserError, match="1 MiB are free"):
        submit_campaign(store, plan())
    assert counts(store) == {}


def test_one_job_at_a_time_and_a_training_once_for_all_its_settings(store: Store):
    attacks = (ATTACK, replace(ATTACK, name="longer", settings={"steps": 30}))
    campaign = submit_campaign(store, plan(attacks=attacks)).job_id
    assert advance(store)
    states = setting_states(store, campaign)
    assert states[0].train_job == states[1].train_job is not None
    assert states[2].train_job is None  # its victim is another one, and its turn comes later
    assert not advance(store)  # the training waits for the runner
    assert counts(store) == {"campaign": 1, "train": 1}
    finish(store, states[0].train_job, "failed", "It broke.")
    for _ in range(2):
        assert advance(store)  # both settings of that training, in turn
    states = setting_states(store, campaign)
    assert [state.state for state in states] == ["failed", "failed", "waiting", "waiting"]
    assert "It broke." in str(states[0].why)
    assert counts(store)["train"] == 1  # not tried again for the second
    assert advance(store)
    assert counts(store)["train"] == 2  # and the other victim goes on


def keep_model(store: Store, train_job: int, epoch: int, *, final: bool) -> None:
    """The row of a trained model."""
    spec = ModelSpec("lenet", num_classes=2)
    with store.database.write() as connection:
        row = {"name": "m", "spec": spec.to_json(), "identity": f"{train_job} {epoch}", "origin": "", "created": 0.0}
        facts = {"facts": json.dumps({"final": final}), "job_id": train_job, "epoch": epoch}
        connection.execute(insert(schema.models).values(**row, **facts))


def test_weights_that_were_deleted_are_trained_anew_once_for_the_settings_that_lack_them(store: Store):
    recipes = (Training("r", QUICK, checkpoints=(1,)),)
    first = submit_campaign(store, plan(recipes=recipes, victims=plan().victims[:1])).job_id
    advance(store)
    old = setting_states(store, first)[0].train_job or 0
    finish(store, old)
    keep_model(store, old, 2, final=True)  # that of epoch 1 was deleted
    ask_campaign(store, first, "cancel")
    anew = submit_campaign(store, plan(recipes=recipes, victims=plan().victims[:1]), anew=True).job_id
    assert advance(store)
    lost, kept = setting_states(store, anew)
    assert (lost.parts["epoch"], kept.parts["epoch"]) == (1, None)
    assert (lost.train_state, kept.train_job) == ("queued", old)
    assert lost.train_job != old
    assert not advance(store)
    assert counts(store)["train"] == 2


def test_the_campaign_ends_with_the_count_of_what_failed(store: Store):
    campaign = submit_campaign(store, plan(victims=PRESETS)).job_id
    for state in ("done", "failed"):
        advance(store)
        asked = max(one.attack_job or 0 for one in setting_states(store, campaign))
        finish(store, asked, state, "Out of memory." if state == "failed" else None)
    assert advance(store)
    row = job_row(store, campaign)
    assert (row.state, row.error) == ("done", "1 of 2 settings failed; the table says why of each.")
    assert [one.why for one in setting_states(store, campaign)] == [None, "Out of memory."]
    assert not advance(store)
    assert submit_campaign(store, plan(victims=PRESETS)).already
    anew = submit_campaign(store, plan(victims=PRESETS), anew=True).job_id
    advance(store)
    advance(store)
    first, second = setting_states(store, anew)
    assert first.attack_job == setting_states(store, campaign)[0].attack_job  # done, so not computed again
    assert second.attack_job != setting_states(store, campaign)[1].attack_job


def test_anew_asks_again_for_scores_that_failed(store: Store):
    one = plan(victims=PRESETS[:1])
    campaign = submit_campaign(store, one).job_id
    advance(store)
    run = setting_states(store, campaign)[0].attack_job or 0
    finish(store, run)
    with store.database.write() as connection:
        submit_within(connection, ScoreJob(attack_job=run), "Scores", parent=run)
    broken = setting_states(store, campaign)[0].score_job or 0
    finish(store, broken, "failed", "No such metric.")
    assert advance(store)
    assert job_row(store, campaign).state == "failed"
    anew = submit_campaign(store, one, anew=True).job_id
    assert advance(store)
    (again,) = setting_states(store, anew)
    assert (again.attack_job, again.state) == (run, "scoring")
    finish(store, again.score_job or 0)
    assert advance(store)
    assert job_row(store, anew).state == "done"
    assert counts(store)["score"] == 2


def test_where_all_failed_so_has_the_campaign(store: Store, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise UserError("No such picture.")

    monkeypatch.setattr(campaign_work, "attack_request", refuse)
    campaign = submit_campaign(store, plan(victims=PRESETS)).job_id
    while advance(store):
        pass
    assert job_row(store, campaign).state == "failed"
    assert {one.why for one in setting_states(store, campaign)} == {"No such picture."}


class Killed(BaseException):
    """Stands for kill -9: nothing catches it."""


@pytest.mark.parametrize("place", ["_link", "submit_training", "submit_within", "prepare_attack", "_note"])
@pytest.mark.parametrize("before", [True, False])
def test_killed_anywhere_it_goes_on_and_asks_nothing_twice(
    store: Store, monkeypatch: pytest.MonkeyPatch, place: str, before: bool
):
    real = getattr(campaign_work, place)

    def dies(*arguments: object, **named: object) -> None:
        monkeypatch.setattr(campaign_work, place, real)
        if not before:
            real(*arguments, **named)
        raise Killed

    # one victim's training fails, so that a note is written too; the other is there already
    campaign = submit_campaign(store, plan(victims=(Victim("one", "lenet"), PRESETS[0]))).job_id
    monkeypatch.setattr(campaign_work, place, dies)
    killed = 0
    for _ in range(12):
        try:
            advance(store)
        except Killed:
            killed += 1
        for one in setting_states(store, campaign):
            if one.train_state == "queued" and one.train_job:
                finish(store, one.train_job, "failed", "It broke.")
            if one.attack_state == "queued" and one.attack_job:
                finish(store, one.attack_job)
    assert killed == 1
    assert counts(store) == {"campaign": 1, "train": 1, "attack": 1}
    assert job_row(store, campaign).state == "done"
    assert [one.state for one in setting_states(store, campaign)] == ["failed", "done"]


def test_pause_resume_and_cancel_act_on_its_jobs_and_on_no_other(store: Store):
    mine = submit_campaign(store, plan()).job_id
    advance(store)
    other = submit_campaign(store, plan(name="other", victims=plan().victims[:1])).job_id
    advance(store)  # the same training: asked for once
    shared = setting_states(store, mine)[0].train_job
    assert shared == setting_states(store, other)[0].train_job
    ask_campaign(store, mine, "pause")
    assert (job_row(store, mine).state, job_row(store, shared).state) == ("paused", "queued")  # the other waits for it
    ask_campaign(store, other, "cancel")
    assert job_row(store, shared).state == "queued"  # it is the first campaign's
    ask_campaign(store, mine, "run")
    ask_campaign(store, mine, "pause")
    assert job_row(store, shared).state == "paused"
    assert not advance(store)
    ask_campaign(store, mine, "run")
    assert (job_row(store, mine).state, job_row(store, shared).state) == ("queued", "queued")
    ask_campaign(store, mine, "cancel")
    assert (job_row(store, mine).state, job_row(store, shared).state) == ("cancelled", "cancelled")
    with pytest.raises(UserError, match="cancelled already"):
        ask_campaign(store, mine, "run")
    with pytest.raises(UserError, match="no campaign 99"):
        ask_campaign(store, 99, "pause")


def test_the_last_campaign_that_waits_for_a_job_cancels_it(store: Store):
    first = submit_campaign(store, plan()).job_id
    advance(store)
    second = submit_campaign(store, plan(name="other", victims=plan().victims[:1])).job_id
    advance(store)
    shared = setting_states(store, first)[0].train_job or 0
    ask_campaign(store, first, "cancel")
    assert job_row(store, shared).state == "queued"  # the second waits for it
    ask_campaign(store, second, "cancel")
    assert job_row(store, shared).state == "cancelled"


def test_a_person_s_own_run_outlives_the_campaign_that_waits_for_it(store: Store):
    one = plan(victims=PRESETS[:1])
    payload = prepare_attack(store, attack_request(store, one, expand(one)[0], None))
    with store.database.write() as connection:
        own = submit_within(connection, payload, "mine").job_id
    campaign = submit_campaign(store, one).job_id
    advance(store)
    assert setting_states(store, campaign)[0].attack_job == own
    ask_campaign(store, campaign, "cancel")
    assert job_row(store, own).state == "queued"


def test_what_is_paused_of_a_running_campaign_says_why_and_goes_on_when_it_is_resumed(store: Store):
    campaign = submit_campaign(store, plan(victims=PRESETS)).job_id
    advance(store)
    run = setting_states(store, campaign)[0].attack_job or 0
    finish(store, run, "paused", "The disk is full.")
    states = setting_states(store, campaign)
    assert (states[0].paused_job, states[0].why) == (run, "Paused: The disk is full.")
    assert halted(states) is None  # the other one has its turn
    assert advance(store)
    finish(store, setting_states(store, campaign)[1].attack_job or 0)
    assert not advance(store)
    stuck = halted(setting_states(store, campaign))
    assert stuck is not None
    assert stuck.paused_job == run
    ask_campaign(store, campaign, "run")
    assert (job_row(store, campaign).state, job_row(store, run).state) == ("running", "queued")
    assert halted(setting_states(store, campaign)) is None


def test_no_runner_claims_a_campaign_and_a_person_s_run_passes_it(store: Store):
    campaign = submit_campaign(store, plan(victims=PRESETS)).job_id
    with store.database.write() as connection:
        assert claim(connection, "here:home:1", 5) is None
        assert somebody_waits(connection)  # what is scored in the background makes way
    asked = submit_attack(store, demo_request()).job_id

    def beat() -> None:
        with store.database.read() as connection:
            if somebody_waits(connection):
                raise Interrupted

    with pytest.raises(Interrupted):  # the run waits, so no attack is prepared now
        advance(store, beat)
    assert job_row(store, campaign).state == "running"
    finish(store, asked)
    assert advance(store, beat)
    with store.database.write() as connection:
        claimed = claim(connection, "here:home:1", 5)
        assert claimed is not None
        assert claimed.kind == "attack"


def results(store: Store, campaign: int) -> list[object]:
    """Of each setting: its state, every reconstruction, and every score."""
    found = []
    for one in setting_states(store, campaign):
        with store.database.read() as connection:
            rec, pair, score = schema.reconstructions, schema.pairings, schema.scores
            rows = connection.execute(
                select(rec.c.role, rec.c.target, pair.c.reference, score.c.metric, score.c.value, score.c.special)
                .join(pair, pair.c.reconstruction_id == rec.c.id)
                .join(score, (score.c.subject_id == pair.c.id) & (score.c.subject_kind == "pairing"))
                .where(rec.c.job_id == one.attack_job)
                .order_by(rec.c.role, rec.c.target, pair.c.reference, score.c.metric)
            ).all()
        found.append((one.title, one.state, outcome(store, one.attack_job or 0), [tuple(row) for row in rows]))
    return found


def test_kill_9_of_the_runner_ends_in_the_undisturbed_table(store: Store, tmp_path):
    """Killed while the first victim is attacked: its training is over, the second one has not been asked for."""
    campaign = submit_campaign(store, plan()).job_id
    environment = {**environment_of(store.settings), "PYTHONPATH": str(PROJECT)}

    def start() -> subprocess.Popen:
        return subprocess.Popen([sys.executable, "-m", "core", "worker", "--until-idle"], cwd=PROJECT, env=environment)

    runner = start()
    deadline = time.monotonic() + 120
    while not counts(store).get("attack"):
        assert time.monotonic() < deadline, counts(store)
        assert runner.poll() is None
        time.sleep(0.01)
    os.kill(runner.pid, signal.SIGKILL)
    runner.wait()
    assert job_row(store, campaign).state == "running"
    assert start().wait(timeout=240) == 0
    assert job_row(store, campaign).state == "done"
    assert counts(store) == {"campaign": 1, "train": 2, "attack": 2, "score": 2}

    calm = open_store(
        load_settings({**environment, "SEMSIGHT_HOME": str(tmp_path / "calm"), "SEMSIGHT_DATABASE_URL": ""})
    )
    again = submit_campaign(calm, plan()).job_id
    Runner(calm).run(until_idle=True)
    table = results(store, campaign)
    assert table == results(calm, again)
    assert all(state == "done" and made and scores for _, state, made, scores in table)
    calm.database.dispose()

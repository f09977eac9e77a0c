"""What is read about campaigns: states, shares, time left, and a fixed number of questions."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace

import pytest
from sqlalchemy import event, insert, update

from core.campaigns.plan import AttackChoice, Campaign, Data, Originals, Training, Victim
from core.campaigns.presets import PRESETS
from core.campaigns.resolve import resolve
from core.errors import UserError
from core.images.dataset import DataChoice
from core.jobs.campaigns import submit_campaign
from core.models.spec import ModelSpec
from core.models.training.recipe import Recipe
from core.report import campaign_estimate
from core.report.campaign_estimate import estimate_campaign
from core.report.campaign_notes import campaign_notes
from core.report.campaign_words import estimate_lines, progress_line, size_line, time_line
from core.report.campaigns import campaign, campaigns, plan_of
from core.report.estimate_table import COLD_SECONDS
from core.settings import load_settings
from core.storage import schema
from core.storage.store import Store, open_store

RECIPE = Recipe(epochs=10, batch_size=8)


@pytest.fixture
def store(home) -> Iterator[Store]:
    made = open_store(load_settings())
    yield made
    made.database.dispose()


def plan(many: int = 4, **changes: object) -> Campaign:
    values: dict = {
        "name": "four",
        "data": (Data("photos", "photos", size=32, held_out=0.25, originals=Originals(count=8)),),
        "victims": tuple(Victim(f"v{n}", "lenet", init_seed=n) for n in range(many)),
        "recipes": (Training("r", RECIPE),),
        "attacks": (AttackChoice("ig", "inverting-gradients", {"steps": 100}, controls=0),),
        **changes,
    }
    return Campaign(**values)


def job(store: Store, kind: str, state: str, seconds: float = 0.0, parent: int | None = None, **changes: object) -> int:
    text = {"payload_type": kind, "payload_version": 1, "payload": "{}", "identity": "", "title": kind}
    times = {"created": 0.0, "started": 100.0, "finished": 100.0 + seconds, "attempt": 1, "wanted": "run"}
    with store.database.write() as connection:
        row = insert(schema.jobs).values(kind=kind, state=state, parent_id=parent, **{**text, **times, **changes})
        return int(connection.execute(row.returning(schema.jobs.c.id)).scalar_one())


def shard(store: Store, job_id: int, step: int, total: int) -> None:
    with store.database.write() as connection:
        values = {"job_id": job_id, "position": 0, "role": "attack", "plan": "{}", "state": "running"}
        connection.execute(insert(schema.shards).values(**values, step=step, total=total))


def link(store: Store, campaign_id: int, position: int, **values: object) -> None:
    table = schema.campaign_settings
    with store.database.write() as connection:
        mine = (table.c.campaign_id == campaign_id) & (table.c.position == position)
        connection.execute(update(table).where(mine).values(**values))


@contextmanager
def questions(store: Store) -> Iterator[list[str]]:
    """The statements that are sent meanwhile."""
    sent: list[str] = []

    def hear(_connection, _cursor, statement, *_: object) -> None:
        if not statement.startswith(("BEGIN", "PRAGMA", "ROLLBACK", "COMMIT")):
            sent.append(statement)

    event.listen(store.database._reader, "before_cursor_execute", hear)
    yield sent
    event.remove(store.database._reader, "before_cursor_execute", hear)


def halfway(store: Store) -> int:
    """Four settings: done; half attacked; its training a quarter done; waiting."""
    mine = submit_campaign(store, plan()).job_id
    trained = [job(store, "train", state, 30.0) for state in ("done", "done", "running")]
    shard(store, trained[2], 1, 4)
    done, running = job(store, "attack", "done", 60.0), job(store, "attack", "running")
    shard(store, running, 50, 100)
    job(store, "score", "done", 4.0, parent=done)
    for position, (training, attack) in enumerate(zip(trained, (done, running, None), strict=True)):
        link(store, mine, position, train_job_id=training, attack_job_id=attack)
    return mine


def test_states_shares_and_time_left(store: Store):
    view = campaign(store, halfway(store))
    assert [one.state for one in view.settings] == ["done", "attacking", "training", "waiting"]
    # stages count the same: training, attack, scoring
    assert [one.share for one in view.settings] == pytest.approx([1, (1 + 0.5) / 3, 0.25 / 3, 0])
    assert view.share == pytest.approx((1 + 0.5 + 0.25 / 3) / 4)
    # left: .5 + 1 + 1 attacks of 60 s, .75 + 1 trainings of 30 s, 3 scorings of 4 s
    assert view.left == pytest.approx(2.5 * 60 + 1.75 * 30 + 3 * 4)
    assert (view.row.settings, view.row.asked, view.row.ended) == (4, 2, 1)
    assert progress_line(view) == "queued, 40 % (1 attacking, 1 done, 1 training, 1 waiting), about 4 min left"


def test_no_time_is_said_before_anything_has_ended(store: Store):
    assert campaign(store, submit_campaign(store, plan()).job_id).left is None


@pytest.mark.parametrize(
    ("attack", "score", "state", "why"),
    [
        ("queued", None, "attacking", None),
        ("paused", None, "paused", "waits to be resumed"),
        ("failed", None, "failed", "It broke."),
        ("cancelled", None, "failed", "was cancelled"),
        ("done", None, "done", None),
        ("done", "queued", "scoring", None),
        ("done", "done", "done", None),
        ("done", "failed", "failed", "scoring did not finish"),
    ],
)
def test_the_state_of_a_setting_without_training(
    store: Store, attack: str, score: str | None, state: str, why: str | None
):
    mine = submit_campaign(store, plan(victims=(Victim("p", preset="lenet"),))).job_id
    run = job(store, "attack", attack, 1.0, error="It broke." if attack == "failed" else None)
    link(store, mine, 0, attack_job_id=run)
    if score:
        job(store, "score", "failed", 1.0, parent=run)  # an older one does not count
        job(store, "score", score, 1.0, parent=run)
    (one,) = campaign(store, mine).settings
    assert one.state == state
    assert (one.why is None) == (why is None)
    assert why is None or why in str(one.why)


def test_questions_do_not_grow_with_the_settings(store: Store):
    few, many = submit_campaign(store, plan(2)).job_id, submit_campaign(store, plan(60)).job_id
    sent = {}
    for name, number in (("few", few), ("many", many)):
        with questions(store) as heard:
            campaign(store, number)
            campaigns(store)
        sent[name] = len(heard)
    assert sent["few"] == sent["many"] <= 8


def test_a_campaign_that_is_not_there(store: Store):
    for read in (campaign, plan_of):
        with pytest.raises(UserError, match="no campaign 5"):
            read(store, 5)


def test_the_plan_comes_back_as_it_was_launched(store: Store):
    assert plan_of(store, submit_campaign(store, plan()).job_id) == plan()


def test_the_estimate_counts_and_goes_by_what_was_measured(store: Store):
    asked = plan()
    found = resolve(asked, store.settings)
    guess = estimate_campaign(store, asked, found, measure=False)
    assert guess.guess
    assert (guess.size.trainings, guess.size.reconstructions, guess.size.trained) == (4, 32, 4 * 24 * 10)
    spec = ModelSpec("lenet", num_classes=4)
    trained = job(store, "train", "done", 10.0)
    with store.database.write() as connection:
        row = {"name": "m", "spec": spec.to_json(), "identity": "x", "origin": "", "job_id": trained, "created": 0.0}
        connection.execute(insert(schema.models).values(**row))
        facts = json.dumps({"images_per_second": 48.0})
        epoch = {"job_id": trained, "epoch": 1, "time": 0.0, "facts": facts}
        connection.execute(insert(schema.training_epochs).values(**epoch))
    known = estimate_campaign(store, asked, found, measure=False)
    # 4 trainings of 24 images × 10 epochs at 48 images a second, and their starts
    assert known.train_seconds == pytest.approx(4 * (240 / 48 + campaign_estimate.START_SECONDS))
    assert "measured on earlier ones" in known.basis[0]
    assert known.seconds == pytest.approx(known.train_seconds + known.attack_seconds + known.score_seconds)
    assert size_line(known).startswith(
        "4 settings: 4 trainings, 4 runs on 8 originals, 32 reconstructions and 0 controls;"
    )
    assert time_line(known).startswith("a guess: about ")


def test_a_full_disk_is_warned_of(store: Store, monkeypatch: pytest.MonkeyPatch):
    asked = plan()
    found = resolve(asked, store.settings)
    assert estimate_campaign(store, asked, found, measure=False).warning is None
    monkeypatch.setattr(campaign_estimate, "free_bytes", lambda home: 1000)
    assert "make room" in str(estimate_campaign(store, asked, found, measure=False).warning)


def test_more_work_takes_longer_and_more_disk(store: Store):
    small, large = plan(), plan(recipes=(Training("r", Recipe(**{**asdict(RECIPE), "epochs": 100}), (5, 50)),))
    found = resolve(small, store.settings)
    one, other = (estimate_campaign(store, each, found, measure=False) for each in (small, large))
    assert other.size.settings == 3 * one.size.settings  # the two checkpoints are attacked too
    assert other.train_seconds > one.train_seconds
    warm = one.attack_seconds - COLD_SECONDS  # the worker starts once
    assert other.attack_seconds == pytest.approx(COLD_SECONDS + 3 * warm)
    assert other.size.disk > one.size.disk


def test_on_an_empty_store_the_mini_study_is_told_to_take_minutes(store: Store):
    """Its jobs took 15 min of two cores beside other work, and 8 to 14 min where less went on (2026-11-25)."""
    mini = PRESETS["mini"].campaign
    found = estimate_campaign(store, mini, resolve(mini, store.settings), measure=False)
    assert 8 * 60 < found.seconds < 18 * 60


def test_notes_say_what_victims_have_seen_and_where_labels_are_drawn(store: Store):
    trained = job(store, "train", "done", payload=json.dumps({"data": asdict(DataChoice("photos", held_out=0.25))}))
    with store.database.write() as connection:
        for name, classes, made in (("cars", ("ford", "fiat"), None), ("four", (), trained)):
            spec = ModelSpec("lenet", num_classes=len(classes) or 4, class_names=classes)
            row = {"name": name, "spec": spec.to_json(), "identity": name, "origin": "", "job_id": made, "created": 0.0}
            connection.execute(insert(schema.models).values(**row))
    victims = (Victim("ours", "lenet"), Victim("cars", model=1), Victim("stored", model=2))
    asked = plan(victims=victims)
    assert campaign_notes(store, asked, resolve(asked, store.settings)) == (
        "photos: Held out: the victim has seen none of these images.",
        "photos: labels are drawn, as its classes do not fit cars.",
        "photos, stored: Held out: the victim has seen none of these images.",
    )
    seen = plan(victims=victims[:1], data=(replace(asked.data[0], originals=Originals("train", 8)),))
    estimate = estimate_campaign(store, seen, resolve(seen, store.settings), measure=False)
    assert estimate.notes == ("photos: The victim was trained on all of these images.",)
    lines = estimate_lines(store, seen, resolve(seen, store.settings))
    assert "note: photos: The victim was trained on all of these images." in lines

"""The table of settings against the rows it is made of, ranks and agreement by hand or by scipy."""

import hashlib
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from scipy import stats
from sqlalchemy import event, select, update

from core.errors import UserError
from core.jobs.payloads import AttackJob, to_json
from core.leakage.threat import ThreatModel
from core.models.training.recipe import PAPER_RECIPES, Recipe
from core.report import settings_scores
from core.report.columns import run_table
from core.report.evidence import run_verdict, threshold
from core.report.settings_records import RATE, SHARE, figure, value_of
from core.report.settings_table import OTHER_VERSION, frame, settings_table
from core.report.settings_words import recipe_words, threat_words
from core.report.summary import run_summary
from core.statistics import clustered_share, wilson
from core.storage import schema
from core.storage.database import bump
from core.storage.store import Store
from core.tables import write_csv
from tests.filled_settings import say, set_scores
from tests.report.settings_fixtures import filled, settings_store, settings_template  # noqa: F401

scores, pair, rec, jobs = schema.scores, schema.pairings, schema.reconstructions, schema.jobs


@pytest.fixture
def store(settings_store: Store) -> Store:  # noqa: F811
    return settings_store


def change(store: Store, *statements: object) -> None:
    with store.database.write() as connection:
        for statement in statements:
            connection.execute(statement)  # type: ignore[call-overload]
        for name in ("scores", "reconstructions", "jobs"):
            bump(connection, name)


def stored(store: Store, pairings: tuple[int, ...], metric: str) -> np.ndarray:
    with store.database.read() as connection:
        rows = connection.execute(
            select(scores.c.subject_id, scores.c.value).where(
                scores.c.metric == metric, scores.c.subject_id.in_(pairings), scores.c.subject_kind == "pairing"
            )
        )
        found = dict(rows.all())
    return np.array([found[one] for one in pairings])


@contextmanager
def counted(store: Store) -> Iterator[list[str]]:
    asked: list[str] = []

    def note(connection, cursor, statement, *rest):  # type: ignore[no-untyped-def]
        asked.append(statement)

    event.listen(store.database._reader, "before_cursor_execute", note)
    yield asked
    event.remove(store.database._reader, "before_cursor_execute", note)


def test_rows_are_those_of_the_plan_with_what_is_missing_left_empty(store, filled) -> None:  # noqa: F811
    table = settings_table(store, campaign=filled.campaign)
    assert [row.title.split(" · ")[1] for row in table.rows[:2]] == ["none", "crop+flip"]
    assert [row.state for row in table.rows] == ["done"] * 5 + ["waiting", "training", "failed"]
    assert table.rows[-1].reason == "The device ran out of memory; take smaller shards."
    assert [row.victim.accuracy for row in table.rows[:3]] == pytest.approx([0.9, 0.8, 0.7])
    assert [row.victim.epsilon for row in table.rows[:3]] == [None, None, 4.5]
    told = frame(table)
    guarantee = [tuple(told[name][place] for name in ("epsilon", "delta", "unit")) for place in (0, 2)]
    assert guarantee == [(None, None, ""), (4.5, 1e-5, "one image (add or remove one)")]
    assert table.rows[0].victim.held_out == 200
    for row in table.rows[5:]:
        assert (row.reconstructions, row.people, row.verdict, row.metrics) == (None, None, None, {})
    for column in table.columns:
        assert column.ranks[5:] == (None, None, None)


def test_a_training_that_failed_and_a_row_that_could_not_be_asked_for_say_why(store, filled) -> None:  # noqa: F811
    table = schema.campaign_settings
    waiting = (table.c.campaign_id == filled.campaign) & (table.c.position == 5)
    change(
        store,
        update(table).where(waiting).values(error="The data set is not here."),
        update(jobs).where(jobs.c.id == filled.training).values(state="failed", error="No space left."),
    )
    rows = settings_table(store, campaign=filled.campaign).rows
    assert (rows[5].state, rows[5].reason) == ("failed", "The data set is not here.")
    assert (rows[6].state, rows[6].reason) == ("failed", "The training of its victim failed: No space left.")


def test_figures_are_those_of_the_rows_and_of_the_run_s_own_page(store, filled) -> None:  # noqa: F811
    table = settings_table(store, campaign=filled.campaign)
    for row, run, pairings in zip(table.rows, filled.runs, filled.pairings, strict=False):
        mse, ssim = stored(store, pairings, "mse"), stored(store, pairings, "ssim")
        assert figure(row.metrics["mse"], "mean") == pytest.approx(mse.mean())
        assert figure(row.metrics["ssim"], "median") == pytest.approx(np.median(ssim))
        # the mean that stands for a score in dB is that of the errors: PSNR of the mean MSE
        assert figure(row.metrics["psnr"], "mean") == pytest.approx(-10 * math.log10(mse.mean()))
        assert list(row.metrics.values()) == list(run_summary(run_table(store, run)))
        assert row.verdict == run_verdict(store, run, threshold())
    assert table.column("mse").ranks[:5] == (1, 2, 3, 4, 5)  # lower leaks more, and they were made worse in turn
    assert table.column("psnr").ranks[:5] == (1, 2, 3, 4, 5)


def test_infinities_and_unscored_are_counted_and_keep_their_place(store, filled) -> None:  # noqa: F811
    first, second = filled.pairings[2][:2]
    psnr = scores.c.metric == "psnr"
    change(
        store,
        update(scores).where(psnr, scores.c.subject_id == first).values(value=None, special="inf"),
        update(scores).where(psnr, scores.c.subject_id == second).values(value=None, reason="left out by the test"),
    )
    row = settings_table(store, campaign=filled.campaign).rows[2]
    found = row.metrics["psnr"]
    assert (found.n, found.infinite, found.unscored) == (3, 1, 1)
    errors = 10 ** (-stored(store, filled.pairings[2][2:], "psnr") / 10)
    assert figure(found, "mean") == pytest.approx(-10 * math.log10(errors.sum() / 3))  # the perfect one's error is 0
    change(store, update(scores).where(psnr, scores.c.subject_id.in_(filled.pairings[2])).values(
        value=None, special="inf", reason=""))  # fmt: skip
    table = settings_table(store, campaign=filled.campaign)
    assert figure(table.rows[2].metrics["psnr"], "mean") == math.inf
    assert table.column("psnr").ranks[:5] == (2, 3, 1, 4, 5)
    assert frame(table)["psnr_of_mean_error"][2] == math.inf


def test_people_by_hand(store, filled) -> None:  # noqa: F811
    table = settings_table(store, campaign=filled.campaign)
    for place in range(5):  # setting i: 4 - i of 4 images recognised by all three
        said = table.rows[place].people
        assert (said.recognisable, said.undetermined, said.unlabelled) == (4 - place, 0, 0)
        assert said.share == wilson(4 - place, 4)
        assert said.rate == clustered_share([3] * (4 - place) + [0] * place, [3] * 4)
    assert table.column(SHARE).ranks[:5] == (1, 2, 3, 4, 5)
    say(store, filled.reconstructions[4][0], "Dan", True)
    say(store, filled.reconstructions[3][1], "Dan", True)
    later = settings_table(store, campaign=filled.campaign)
    assert later.rows[4].people.rate.estimate == pytest.approx(1 / 13)  # an answer shows at once
    assert later.column(SHARE).ranks == table.column(SHARE).ranks  # 1 of 4 is no majority


def test_equal_values_share_a_rank(store, filled) -> None:  # noqa: F811
    for annotator in ("Dan", "Eve", "Fay", "Gus"):
        say(store, filled.reconstructions[1][3], annotator, True)  # 4 of 7: now all four of setting 2, as of setting 1
    table = settings_table(store, campaign=filled.campaign)
    assert table.column(SHARE).ranks[:5] == (1, 1, 3, 4, 5)
    assert table.column(RATE).ranks[:3] == (1, 2, 3)


def test_agreement_is_scipy_s_with_exact_p(store, filled) -> None:  # noqa: F811
    for annotator in ("Dan", "Eve", "Fay", "Gus"):
        for one in filled.reconstructions[4]:
            say(store, one, annotator, True)  # 4 of 7: people now see most in what every score says leaks least
    table = settings_table(store, campaign=filled.campaign)
    assert table.against == SHARE
    assert "5 settings" in table.agreement_words
    people = [value_of(row, table.column(SHARE), "mean") for row in table.rows[:5]]
    mse = [-figure(row.metrics["mse"], "mean") for row in table.rows[:5]]
    found = {one.column: one for one in table.agreement}["mse"]
    assert found.tau.estimate == pytest.approx(stats.kendalltau(mse, people).statistic)
    assert found.rho.estimate == pytest.approx(stats.spearmanr(mse, people).statistic)
    # shares 4, 3, 2, 1, 4 of 4: among 6 concordant and 3 discordant pairs and a tie, τ-b = 3 / √(10 · 9)
    assert found.tau.estimate == pytest.approx(3 / math.sqrt(90))
    assert (found.tau.n, found.tau.method) == (5, "exact")


def test_agreement_is_withheld_for_few_answers_and_falls_back_to_the_rate(store, filled) -> None:  # noqa: F811
    events = schema.label_events
    change(store, events.delete())
    with store.database.write() as connection:
        bump(connection, "labels")
    empty = settings_table(store, campaign=filled.campaign)
    assert empty.agreement == ()
    told = "0 of 5 settings have 3 answered images or more, and a ranking needs at least 4 such settings."
    assert empty.agreement_words == f"Too few answers yet: {told}"
    assert empty.rows[0].people.share.estimate is None
    assert empty.rows[0].verdict.verdict.basis == "threshold"
    assert any("Nobody has answered yet" in note and "PSNR ≥ 20 dB" in note for note in empty.notes)
    for place in range(5):
        for one in filled.reconstructions[place][: 2 if place == 4 else 3]:
            say(store, one, "Ana", place < 2)
        table = settings_table(store, campaign=filled.campaign)
        assert bool(table.agreement) == (place >= 3)  # from the fourth setting with three answered images on
        assert table.agreement_words.startswith("Over 4" if place >= 3 else f"Too few answers yet: {place + 1} of 5")
    assert table.against == RATE
    assert table.rows[0].people.undetermined == 3
    assert {one.tau.n for one in table.agreement} == {4}  # the fifth has two answered images


def test_answers_given_beside_the_original_count_only_when_asked(store, filled) -> None:  # noqa: F811
    say(store, filled.reconstructions[4][0], "Dan", True, blind=False)
    table = settings_table(store, campaign=filled.campaign)
    assert table.rows[4].people.rate.n == 12
    assert table.rows[4].people.beside == 1
    assert "1 answer given beside the original is left out." in table.notes
    assert settings_table(store, campaign=filled.campaign, blind_only=False).rows[4].people.rate.n == 13


def test_versions_are_never_mixed(store, filled) -> None:  # noqa: F811
    old = (scores.c.metric == "psnr") & scores.c.subject_id.in_(filled.pairings[3])
    change(store, update(scores).where(old).values(metric_version="0"))
    table = settings_table(store, campaign=filled.campaign)
    assert "psnr" not in table.rows[3].metrics
    assert table.rows[3].unscored["psnr"] == OTHER_VERSION
    assert table.column("psnr").ranks[:5] == (1, 2, 3, None, 4)
    assert {one.tau.n for one in table.agreement if one.column == "psnr"} == {4}


def test_set_metrics_over_the_run_and_the_setting(store, filled) -> None:  # noqa: F811
    for place, value in enumerate((50.0, 90.0, 70.0)):
        set_scores(store, filled.runs[place], {"fid": value, "kid": value / 1000}, 4 + place)
    set_scores(store, filled.runs[0], {"fid": 44.0}, 8, runs=(filled.runs[0], filled.runs[0]))
    table = settings_table(store, campaign=filled.campaign)
    assert table.rows[0].run_sets["fid"].value == 50.0
    assert table.rows[0].setting_sets["fid"].value == 44.0
    column = table.column("fid")
    assert column.ranks[:5] == (1, 3, 2, None, None)  # lower leaks more
    assert column.note.startswith("From 4 to 6 pictures: with fewer than ")
    assert "value depends on their number" in column.note
    told = frame(table)
    assert (told["fid_run"][1], told["fid_run_n"][1], told["fid_setting"][0]) == (90.0, 5, 44.0)
    assert told["fid_run"][4] is None


def run_again(store: Store, run: int, **changed: object) -> int:
    """A finished attack job like `run`, with copies of its reconstructions, pairings and scores."""
    with store.database.write() as connection:
        row = connection.execute(select(jobs).where(jobs.c.id == run)).one()._asdict()
        values = json.loads(row.pop("payload")) | changed
        del row["id"], row["identity"]
        payload = json.dumps(values, sort_keys=True, separators=(",", ":"))
        name = hashlib.sha256(payload.encode()).hexdigest()
        made = connection.execute(jobs.insert().values(**row, payload=payload, identity=name)).inserted_primary_key[0]
        for one in connection.execute(select(rec).where(rec.c.job_id == run)).mappings().all():
            copy = {**one, "job_id": made, "update_id": None}
            del copy["id"]
            new = connection.execute(rec.insert().values(**copy)).inserted_primary_key[0]
            paired = connection.execute(select(pair).where(pair.c.reconstruction_id == one["id"])).mappings().one()
            both = {**paired, "reconstruction_id": new}
            del both["id"]
            pairing = connection.execute(pair.insert().values(**both)).inserted_primary_key[0]
            old = select(scores).where(scores.c.subject_kind == "pairing", scores.c.subject_id == paired["id"])
            for score in connection.execute(old).mappings().all():
                again = {**score, "subject_id": pairing}
                del again["id"]
                connection.execute(scores.insert().values(**again))
        bump(connection, "reconstructions")
    return int(made)


def test_without_a_campaign_runs_of_one_setting_share_a_row(store, filled) -> None:  # noqa: F811
    other = run_again(store, filled.runs[0], seed=7)
    table = settings_table(store)
    assert [row.runs for row in table.rows] == [(filled.runs[0], other), *((run,) for run in filled.runs[1:]), ()]
    both = table.rows[0]
    assert (both.originals, both.reconstructions, both.metrics["mse"].n) == (4, 8, 8)
    alone = settings_table(store, runs=[filled.runs[0]]).rows[0]
    assert both.metrics["mse"].mean == pytest.approx(alone.metrics["mse"].mean)  # the copy scores the same
    assert both.verdict.verdict.originals == 4  # each original once, by the attempt that leaks most
    newest = run_again(store, other)  # the very same question again
    assert settings_table(store).rows[0].runs == (filled.runs[0], newest)
    assert table.rows[0].parts["data"] == "photos"
    assert table.rows[1].title == "lenet · crop+flip"  # as the campaign that asked for it calls its parts
    assert table.alike == {"data": "photos", "victim": "lenet", "threat": "clean", "attack": "dlg"}
    assert table.rows[-1].state == "failed"


def test_runs_without_a_campaign_are_told_in_words_from_what_was_asked(store, filled) -> None:  # noqa: F811
    change(store, schema.campaign_settings.delete())
    table = settings_table(store)
    assert table.rows[1].parts["threat"] == "gaussian (std 0.001)"
    assert table.rows[0].parts["recipe"] == "none"
    assert table.rows[1].title == "victim 1 · crop+flip · gaussian (std 0.001)"
    assert "data" in table.alike


def trained_facts(accuracy: float, **recipe: object) -> str:
    """Facts as a training of this app stores them."""
    values = Recipe(**recipe).to_dict()  # type: ignore[arg-type]
    return json.dumps(
        {"accuracy": accuracy, "held_out": 8, "dataset": "photos", "recipe": values, "recipe_words": "mine"}
    )


def test_a_trained_victim_s_name_does_not_repeat_its_recipe_and_likes_are_told_apart(store, filled) -> None:  # noqa: F811
    models = schema.models
    change(store, schema.campaign_settings.delete())
    for number, rate in enumerate((0.1, 0.05, 0.05)):
        facts = trained_facts(0.5, learning_rate=rate, augment="none")
        one = models.c.id == filled.models[number]
        change(store, update(models).where(one).values(name="LeNet, mine · photos · mine · 20 epochs", facts=facts))
    titles = [row.title for row in settings_table(store, runs=filled.runs[:3]).rows]
    # the second differs by a defence; the first and the third by nothing but the recipe's learning rate
    assert titles[0].startswith("LeNet · mine")
    assert titles[2] == "LeNet · mine (learning rate 0.05, augment none) · no defence"
    assert len(set(titles)) == 3
    change(
        store, update(models).where(models.c.id == filled.models[2]).values(facts=trained_facts(0.5, augment="none"))
    )
    titles = [row.title for row in settings_table(store, runs=[filled.runs[0], filled.runs[2]]).rows]
    # one recipe, told as "none" for both: only the model's number is left
    change(
        store, update(models).where(models.c.id == filled.models[0]).values(facts=trained_facts(0.5, augment="none"))
    )
    titles = [row.title for row in settings_table(store, runs=[filled.runs[0], filled.runs[2]]).rows]
    assert titles == [f"LeNet (model {filled.models[i]})" for i in (0, 2)]


def test_two_campaigns_with_the_same_words_for_other_victims_are_told_apart(store, filled) -> None:  # noqa: F811
    table = schema.campaign_settings
    first = json.dumps({"data": "photos", "victim": "lenet", "recipe": "none", "threat": "clean", "attack": "dlg"})
    mine = table.c.attack_job_id == filled.runs[2]
    with store.database.write() as connection:
        row = connection.execute(select(jobs).where(jobs.c.id == filled.campaign)).mappings().one()
        copy = {**row, "identity": "0" * 64, "payload": "{}"}
        del copy["id"]
        other = int(connection.execute(jobs.insert().values(**copy)).inserted_primary_key[0])
        connection.execute(update(table).where(mine).values(parts=first, campaign_id=other))
        bump(connection, "jobs")
    titles = [row.title for row in settings_table(store).rows]
    assert titles[0] == f"lenet · none (campaign {filled.campaign})"
    assert titles[2] == f"lenet · none (campaign {other})"


def test_answers_about_controls_are_accounted_for(store, filled) -> None:  # noqa: F811
    said = settings_table(store, campaign=filled.campaign).notes
    assert not any("controls" in note for note in said)
    with store.database.read() as connection:
        mine = (rec.c.job_id == filled.runs[0]) & (rec.c.role == "prior")
        prior = int(connection.execute(select(rec.c.id).where(mine)).scalars().first())
    say(store, prior, "Ana", False)
    table = settings_table(store, campaign=filled.campaign)
    assert table.rows[0].people.controls == 1
    assert any(
        note.startswith("Of 61 answers the people's columns count 60; 1 was about controls") for note in table.notes
    )


def test_alike_settings_are_told_apart(store, filled) -> None:  # noqa: F811
    run_again(store, filled.runs[0], config={"restarts": 3})
    titles = [row.title for row in settings_table(store).rows]
    assert next(title for title in titles if "restarts" in title).endswith("dlg (restarts 1)")
    assert len(set(titles)) == len(titles)


def test_only_what_ended_well_is_ranked(store, filled) -> None:  # noqa: F811
    change(store, update(jobs).where(jobs.c.id == filled.runs[0]).values(state="running"))
    table = settings_table(store, campaign=filled.campaign)
    assert table.rows[0].state == "running"
    assert table.rows[0].metrics["mse"].n == 4  # so far
    assert table.column("mse").ranks[:5] == (None, 1, 2, 3, 4)
    assert {one.tau.n for one in table.agreement} == {4}


def test_the_model_alone_is_flagged_and_left_out_of_agreement(store, filled) -> None:  # noqa: F811
    mine = pair.c.id.in_(filled.pairings[0])
    change(store, update(pair).where(mine).values(method="nearest", cost_name="mse"))
    table = settings_table(store, campaign=filled.campaign)
    assert table.rows[0].nearest == "mse"
    assert any(note.startswith("≈") for note in table.notes)
    assert {one.tau.n for one in table.agreement} == {4}
    assert "1 of attacks on the model alone left out" in table.agreement_words


def test_settings_without_a_defence_on_the_input_have_one_picture_for_both_references(store, filled) -> None:  # noqa: F811
    source = filled.pairings[1]
    with store.database.write() as connection:
        for one in source:
            row = connection.execute(select(pair).where(pair.c.id == one)).mappings().one()
            copy = {**row, "reference": "source"}
            del copy["id"]
            made = connection.execute(pair.insert().values(**copy)).inserted_primary_key[0]
            values = {"subject_kind": "pairing", "subject_id": made, "reference": "source", "metric": "mse"}
            version = {"metric_version": "1", "weights_hash": "", "value": 0.5, "reason": "", "created": 1.0}
            connection.execute(scores.insert().values(**values, **version))
        bump(connection, "scores")
        bump(connection, "reconstructions")
    table = settings_table(store, campaign=filled.campaign, reference="source")
    assert table.references == ("attacked", "source")
    assert [row.reference for row in table.rows[:2]] == ["attacked", "source"]
    assert table.rows[1].metrics["mse"].mean == 0.5
    assert table.column("mse").ranks[:5] == (1, 5, 2, 3, 4)
    assert settings_table(store, campaign=filled.campaign).rows[1].metrics["mse"].mean < 0.1


def test_questions_do_not_grow_with_the_settings(store, filled) -> None:  # noqa: F811
    with counted(store) as few:
        settings_table(store, runs=filled.runs[:1])
    with counted(store) as many:
        settings_table(store, runs=filled.runs[1:])
    assert len(many) <= len(few)  # the first also read the answers, once for the process
    with counted(store) as again:
        settings_table(store, runs=filled.runs[1:])
    assert len(again) < len(many)


def test_drawn_labels_are_noted(store, filled) -> None:  # noqa: F811
    assert not any("drawn" in note for note in settings_table(store, campaign=filled.campaign).notes)
    settings_scores._kept.clear()  # an original's label never changes under a run; here it does
    change(store, update(schema.originals).values(label_source="drawn"))
    assert any(note.startswith("Labels were drawn in ") for note in settings_table(store, runs=filled.runs).notes)


def test_what_does_not_exist_is_one_sentence(store, filled) -> None:  # noqa: F811
    cases = (
        ({"campaign": 99}, "no campaign 99"),
        ({"runs": [99]}, "no run 99"),
        ({"reference": "x"}, "attacked or source"),
        ({"statistic": "mode"}, "mean or median"),
    )
    for asked, words in cases:
        with pytest.raises(UserError, match=words):
            settings_table(store, **asked)


def test_the_frame_as_csv(store, filled) -> None:  # noqa: F811
    table = settings_table(store, campaign=filled.campaign)
    told = frame(table)
    assert list(told["mse_rank"])[:6] == [1, 2, 3, 4, 5, None]
    assert told["recognisable"][1] == 0.75
    assert told["controls"][0] == "a mismatched gradient: held; the prior alone: held"
    text = write_csv(told).decode()
    assert text.count("\r\n") == 9
    assert ",0,0," not in text.split("\r\n")[6]  # a setting that waits has empty cells, not zeros
    assert text.split("\r\n")[6].startswith("6,")


def test_pictures_are_of_the_same_originals(store, filled) -> None:  # noqa: F811
    table = settings_table(store, campaign=filled.campaign)
    shown = [tuple(original for original, _ in row.pictures) for row in table.rows[:5]]
    assert len(set(shown)) == 1
    assert len(shown[0]) == 3


def test_the_payload_s_words() -> None:
    for name, recipe in PAPER_RECIPES.items():
        assert recipe_words(recipe.to_dict()) == name
    assert recipe_words(Recipe(epochs=10, learning_rate=0.05).to_dict()) == "epochs 10, learning rate 0.05"
    assert recipe_words(None) == ""
    payload = json.loads(to_json(AttackJob(None, (), (), "dlg", {}, ThreatModel(batch_size=4, update="weights"))))  # type: ignore[arg-type]
    assert threat_words(payload["threat"]) == "no defence, FedAvg, batch 4, 4 local steps"

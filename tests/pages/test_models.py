"""Models: the zoo, one model closely, deleting a checkpoint, exports, and links that name nothing."""

import json

import pytest
from streamlit.testing.v1 import AppTest

from core.jobs.payloads import from_json
from core.jobs.prepared import prepared_images
from core.models.presets import PRESETS
from core.storage import schema
from pages._curves import log_domain
from tests.pages.test_audit import words
from tests.trained_rows import QUICK, trained_model, training_rows

PAGE = "pages/models.py"


def table(test: AppTest, place: int = 0) -> list[dict[str, object]]:
    return test.dataframe[place].value.to_dict("records")


def test_an_empty_store_shows_the_presets_and_the_way_to_a_training(app, store):
    test = app(PAGE)
    assert not test.exception
    assert "Only presets so far" in words(test)
    assert {str(row["model"]).partition("#")[2] for row in table(test)} == set(PRESETS)
    trained = next(row for row in table(test) if str(row["model"]).endswith("#lenet-faces"))
    assert trained["accuracy"] == pytest.approx(93)  # percent
    assert trained["n"] == 100


def test_trained_models_come_first_with_what_is_known_of_them(app, store):
    job = training_rows(store, epsilon=7.5)
    model, _ = trained_model(store, job, epsilon=7.5)
    test = app(PAGE)
    assert not test.exception
    first = table(test)[0]
    assert str(first["model"]).startswith(f"models?model={model}#")
    assert (first["origin"], first["accuracy"], first["n"], first["epsilon"]) == ("trained", 87.5, 40, 7.5)
    assert first["delta"] == 1e-5
    test.text_input(key="find").set_value("resnet20").run()
    assert {"resnet20" in str(row["model"]) for row in table(test)} == {True}
    test.text_input(key="find").set_value("no such model").run()
    assert not test.dataframe
    assert "No model fits" in words(test)


def test_a_model_closely_shows_its_curves_recipe_and_epochs(app, store):
    job = training_rows(store)
    kept, _ = trained_model(store, job, epoch=2, final=False)
    last, _ = trained_model(store, job, epoch=4)
    test = app(PAGE, model=str(last))
    assert not test.exception
    assert "88 %" in [metric.value for metric in test.metric]
    assert "Licence of Faces" in words(test).replace("\\", "")
    assert [row["epoch"] for row in table(test)] == [2, 4]
    recipe = {row["setting"]: row["value"] for part in test.table for row in part.value.to_dict("records")}
    assert recipe["Learning rate"] == "0\\.05"
    assert recipe["Images in all"] == "40"
    assert len(test.get("vega_lite_chart")) == 4
    assert kept != last


def test_only_an_unused_checkpoint_can_be_deleted(app, store):
    job = training_rows(store)
    kept, _ = trained_model(store, job, epoch=2, final=False)
    last, _ = trained_model(store, job, epoch=4)
    assert "forget" not in [button.key for button in app(PAGE, model=str(last)).button]
    test = app(PAGE, model=str(kept))
    test.button(key="forget").click().run()
    assert not test.exception
    assert "model" not in test.query_params  # back at the table
    with store.database.read() as connection:
        assert [row.id for row in connection.execute(schema.models.select())] == [last]


@pytest.mark.parametrize("value", ["77", "../../x", "<b>", "lenet2"])
def test_a_link_to_no_model_is_one_sentence_with_the_way_out(app, store, value):
    test = app(PAGE, model=value)
    assert not test.exception
    assert len(test.error) == 1
    assert "lenet-faces" in test.dataframe[0].value.to_string()  # the page goes on as without the link


def test_a_preset_has_a_page_of_its_own(app, store):
    test = app(PAGE, model="lenet-faces")
    assert not test.exception
    assert not test.error
    assert "93 %" in [metric.value for metric in test.metric]


# --- trainings --------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("state", "said"),
    [("queued", "waiting for the runner"), ("paused", "paused at"), ("running", "400 images a second")],
)
def test_a_training_that_goes_on_can_be_paused_resumed_and_cancelled(app, store, state, said):
    job = training_rows(store, epochs=2, state=state)
    test = app(PAGE, view="Train a victim", training=str(job))
    assert not test.exception
    assert said in test.get("progress")[0].proto.text
    assert "75 %" in [metric.value for metric in test.metric]  # held-out accuracy after epoch 2
    assert len(test.get("vega_lite_chart")) == 2  # the early view: accuracy and gradient norm
    first = "training_run" if state == "paused" else "training_pause"
    test.button(key=f"{first}_{job}").click().run()
    test.button(key=f"training_cancel_{job}").click().run()
    assert not test.exception
    with store.database.read() as connection:
        assert connection.execute(schema.jobs.select()).one().wanted == "cancel"


def test_a_failed_training_says_why(app, store):
    job = training_rows(store, epochs=0, state="failed", error="The loss is <b>NaN</b>; lower the learning rate.")
    test = app(PAGE, view="Train a victim", training=str(job))
    assert not test.exception
    assert "lower the learning rate" in test.error[0].value
    assert "Training 1" in words(test)


def test_a_private_training_shows_what_it_spent(app, store):
    job = training_rows(store, epsilon=8.0)
    test = app(PAGE, view="Train a victim", training=str(job))
    assert not test.exception
    said = {metric.label: (metric.value, metric.delta) for metric in test.metric}
    assert said["ε spent"] == ("8.00", "at δ 1e-05, unit: one image")  # its images are not prepared: no rate is known
    assert said["Gradient norm"][1] == "clean: before clipping and noise"
    assert len(test.get("vega_lite_chart")) == 5
    assert "computed from the private images without noise" in words(test)
    model, _ = trained_model(store, job, epsilon=8.0)
    assert "computed from the private images without noise" in words(app(PAGE, model=str(model)))
    plain, _ = trained_model(store, training_rows(store))
    assert "without noise" not in words(app(PAGE, model=str(plain)))


def test_a_training_that_waits_for_its_device_says_so(app, store):
    job = training_rows(store, epochs=1, state="paused", error="This training was begun on a GPU.")
    test = app(PAGE, view="Train a victim", training=str(job))
    assert not test.exception
    assert len(test.warning) == 1
    assert "begun on a GPU" in test.warning[0].value


def test_a_private_training_says_its_sampling_rate_while_it_runs(app, store):
    job = training_rows(store, epochs=2, state="running", epsilon=8.0)
    payload = from_json(*store_row(store, job))
    prepared_images(store.settings, payload.data, payload.model, lambda: None)
    test = app(PAGE, view="Train a victim", training=str(job))
    assert not test.exception
    said = {metric.label: metric.delta for metric in test.metric}
    assert said["ε spent"] == "at δ 1e-05, q 0.500, unit: one image"  # steps of 20 of 40 images


def store_row(store, job: int) -> tuple[str, int, str]:
    with store.database.read() as connection:
        row = connection.execute(schema.jobs.select().where(schema.jobs.c.id == job)).one()
    return row.payload_type, row.payload_version, row.payload


def test_without_dp_sgd_no_norm_is_called_clean(app, store):
    test = app(PAGE, view="Train a victim", training=str(training_rows(store)))
    said = {metric.label: metric.delta for metric in test.metric}
    assert not said["Gradient norm"]
    assert "ε spent" not in said


@pytest.mark.parametrize("value", ["77", "x"])
def test_a_link_to_no_training_is_one_sentence(app, store, value):
    test = app(PAGE, view="Train a victim", training=value)
    assert not test.exception
    assert len(test.error) == 1
    assert not test.button(key="train").disabled  # the form is there as without the link


def test_the_model_card_is_json_that_says_how_it_was_made(store):
    from core.report.model_card import model_card
    from core.report.models import model_entry
    from core.report.training import training

    job = training_rows(store)
    model, spec = trained_model(store, job)
    card = model_card(model_entry(store, model), training(store, job).job)
    text = json.dumps(card, allow_nan=False)
    assert card["spec"]["weights_sha256"] == spec.weights_sha256
    assert card["recipe"] == QUICK.to_dict()
    assert (card["held_out_accuracy"], card["held_out_images"], card["epoch"]) == (0.875, 40, 4)
    assert "LICENCES.md" in text


def test_a_watched_training_stands_above_a_form_that_is_folded(app, store):
    job = training_rows(store)
    test = app(PAGE, view="Train a victim", training=str(job))
    assert not test.exception
    assert "Train another victim" in [one.label for one in test.expander]
    assert "Train another victim" not in [one.label for one in app(PAGE, view="Train a victim").expander]


def test_a_logarithmic_axis_ends_near_the_values():
    low, high = log_domain([0.7, 2.0, 13.0])["domain"]
    assert 0.5 < low < 0.7
    assert 13.0 < high < 16
    low, high = log_domain([0.05, 0.05])["domain"]
    assert low < 0.05 < high

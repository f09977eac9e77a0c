"""The training form: defaults that train, every knob, recipes of the paper, DP-SGD's ε before it is spent."""

from dataclasses import fields, replace

import numpy as np
import pytest
from PIL import Image

from core.images.dataset import DataChoice
from core.jobs.payloads import TrainJob, from_json
from core.models.training.privacy import epsilon_of
from core.models.training.recipe import PAPER_RECIPES, Recipe
from core.storage import schema
from pages import _training_recipe
from tests.pages.test_audit import words
from tests.trained_rows import QUICK, training_rows

PAGE, VIEW = "pages/models.py", "Train a victim"


def jobs(store):
    with store.database.read() as connection:
        rows = connection.execute(schema.jobs.select().order_by(schema.jobs.c.id)).all()
    return [from_json(row.payload_type, row.payload_version, row.payload) for row in rows]


def test_the_defaults_train(app, store):
    test = app(PAGE, view=VIEW)
    assert not test.exception
    assert not test.error
    assert "160 images to train on, 40 held out" in words(test)
    assert "600 steps" in words(test)  # 160 images in steps of 64 are 3, times 200 epochs
    test.button(key="train").click().run()
    assert not test.exception
    (job,) = jobs(store)
    assert isinstance(job, TrainJob)
    assert job.recipe == Recipe().to_dict()
    assert job.model.class_names == ("not a face", "face")
    assert job.data.dataset == "lfw"
    assert test.query_params["training"] == "1"
    test.button(key="train").click().run()
    assert "in the store already" in words(test)
    test.button(key="train_anew").click().run()
    assert len(jobs(store)) == 2


def test_another_optimiser_needs_no_word_about_momentum(app, store):
    test = app(PAGE, view=VIEW, recipe_optimiser="adam")
    assert not test.error
    test.button(key="train").click().run()
    assert [job.recipe["optimiser"] for job in jobs(store)] == ["adam"]
    test = app(PAGE, view=VIEW, recipe_optimiser="adam", recipe_momentum="0.5")
    assert "adam has none" in test.error[0].value.replace("\\", "")


def test_the_link_holds_the_choices(app, store):
    test = app(
        PAGE, view=VIEW, train_data="photos", train_count="20", train_draw="3", architecture="convnet", recipe="none",
        recipe_epochs="5", recipe_batch_size="10", victim_convnet_base="8", victim_name="small",
    )  # fmt: skip
    assert not test.exception
    test.button(key="train").click().run()
    (job,) = jobs(store)
    assert job.recipe == replace(PAPER_RECIPES["none"], epochs=5, batch_size=10).to_dict()
    assert (job.data.dataset, job.data.count, job.data.seed) == ("photos", 20, 3)
    assert (job.model.architecture, job.model.arguments["base"], job.model.num_classes) == ("convnet", 8, 4)


def test_a_recipe_of_the_paper_brings_its_defence_and_keeps_the_epochs(app, store):
    test = app(PAGE, view=VIEW, recipe_epochs="7")
    for name, recipe in PAPER_RECIPES.items():
        test.selectbox(key="recipe").set_value(name).run()
        assert not test.exception
        test.button(key="train").click().run()
        assert jobs(store)[-1].recipe == replace(recipe, epochs=7).to_dict()
    assert len(jobs(store)) == len(PAPER_RECIPES)


def test_every_field_of_a_recipe_has_a_widget():
    shown = {*_training_recipe.BASIC}
    for group in (*_training_recipe.GROUPS.values(), *_training_recipe.DEFENCE_KNOBS.values()):
        shown |= set(group)
    assert shown == {field.name for field in fields(Recipe)}


def test_dp_sgd_states_epsilon_before_the_start_and_names_the_groupnorm_variant(app, store):
    test = app(PAGE, view=VIEW, architecture="convnet", recipe1_defence="dp-sgd", recipe_epochs="10")
    assert not test.exception
    assert "BatchNorm" in test.error[0].value
    assert test.button(key="train").disabled
    test.button(key="take_gn").click().run()
    assert not test.error
    spent = epsilon_of(Recipe(defence="dp-sgd", epochs=10), 160)
    said = test.info[0].value
    assert f"ε = {spent:.3g}" in said or f"ε = {spent:.1f}" in said
    assert "δ = 1e-05" in said
    assert "0.400" in said  # sampling rate: 64 of 160
    assert "one image" in said
    test.button(key="train").click().run()
    assert jobs(store)[0].model.architecture == "convnet-gn"


def test_each_policy_is_shown_on_a_picture(app, store):
    test = app(PAGE, view=VIEW, recipe="ats 3-1-7+43-18-18")
    shown = " ".join(element.proto.body for element in test.get("html"))
    assert shown.count("<p class=policy>") == 2
    assert "translateX 9, contrast 6, translateY 2" in shown
    test.text_input(key="recipe4_policies").set_value("3-99").run()
    assert not test.exception
    assert "0 to 49" in test.error[0].value
    assert test.button(key="train").disabled


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"train_count": "9000"}, "9,000 images were asked for"),
        ({"train_data": "cifar100"}, "is not on this machine"),
        ({"train_data": "folder", "train_path": "/no/such/folder"}, "The app opens only what lies below"),
        ({"recipe_batch_size": "500"}, "lower batch_size"),
        ({"recipe_keep_epochs": "900"}, "leave it out"),
        ({"architecture": "convnet", "victim_size_lfw": "8"}, "at least 9×9"),
        ({"train_only": "face"}, "at least two classes"),
    ],
)
def test_what_cannot_be_trained_is_said_in_a_sentence(app, store, query, said):
    test = app(PAGE, view=VIEW, **query)
    assert not test.exception
    assert said in words(test).replace("\\", "")
    assert test.button(key="train").disabled
    assert not jobs(store)


def test_a_folder_of_class_folders_can_be_trained_on(app, store, tmp_path):
    for name in ("cats", "dogs"):
        (tmp_path / name).mkdir()
        for number in range(5):
            pixels = np.random.default_rng(number).integers(0, 255, (40, 40, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.png")
    test = app(PAGE, view=VIEW, train_data="folder", train_path=str(tmp_path), recipe_batch_size="4")
    assert not test.exception
    assert "8 images to train on, 2 held out" in words(test)
    test.button(key="train").click().run()
    assert jobs(store)[0].data.dataset == f"folder:{tmp_path}"


def test_the_time_is_told_from_the_last_training_of_its_kind(app, store):
    training_rows(store, recipe=QUICK, data=DataChoice("lfw"))
    test = app(PAGE, view=VIEW, recipe_epochs="100")
    assert "40 s" in words(test)  # 160 images × 100 epochs at 400 images a second

"""Recipes that contradict themselves, the model, the images or the device: one sentence each."""

import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from core.errors import UserError
from core.models.spec import ModelSpec
from core.models.training.checks import check_recipe
from core.models.training.recipe import PAPER_RECIPES, Recipe

RESNET = ModelSpec("resnet20-4", 100)
GROUPED = ModelSpec("resnet20-4-gn", 100)


@pytest.mark.parametrize("name", PAPER_RECIPES)
def test_the_papers_recipes_pass(name: str) -> None:
    check_recipe(PAPER_RECIPES[name], RESNET, 50_000, "cpu")
    check_recipe(PAPER_RECIPES[name], ModelSpec("convnet", 100), 50_000)


@pytest.mark.parametrize(
    ("spec", "change", "said"),
    [
        (RESNET, {"batch_size": 1001}, "only 1,000 are there"),
        (RESNET, {"learning_rate": 0.0}, "nothing is learned"),
        (RESNET, {"optimiser": "adam", "momentum": 0.8}, "adam has none, so a momentum of 0.8 would do nothing"),
        (RESNET, {"schedule": "one-cycle", "warmup": 0.1}, "rises at the start by itself"),
        (RESNET, {"policies": "3-1-99"}, "a row of numbers from 0 to 49"),
        (RESNET, {"policies": "3--1"}, "a row of numbers from 0 to 49"),
        (ModelSpec("lenet", 10, channels=4, mean=(0,) * 4, std=(1,) * 4), {"policies": "3"}, "not ones of 4 channels"),
        (RESNET, {"keep_epochs": "1, two"}, "a row of epochs such as"),
        (RESNET, {"keep_epochs": "1.5"}, "a row of epochs such as"),
        (RESNET, {"keep_epochs": "-1"}, "a row of epochs such as"),
        (RESNET, {"keep_epochs": "201"}, "epochs 1 to 200"),
        (RESNET, {"keep_epochs": "0"}, "epochs 1 to 200"),
        (RESNET, {"defence": "dp-sgd"}, "take resnet20-4-gn"),
        (ModelSpec("resnet18", 10), {"defence": "dp-sgd"}, "such as convnet-gn or resnet20-4-gn"),
        (GROUPED, {"defence": "dp-sgd", "mixup": 0.2}, "set mixup to 0"),
        (GROUPED, {"defence": "dp-sgd", "dp_noise": 0.0}, "at least 0.001"),
        (GROUPED, {"defence": "dp-sgd", "precision": "bf16"}, "set precision to fp32"),
        (RESNET, {"precision": "fp16"}, "fp16 needs a CUDA GPU"),
        (RESNET, {"defence": "prune", "prune": 0.0}, "share of 0 is no defence"),
        (RESNET, {"defence": "gaussian", "noise": 0.0}, "noise of 0 is no defence"),
        (RESNET, {"epochs": 0}, "epochs must be from 1"),
        (RESNET, {"optimiser": "lion"}, "optimiser must be one of"),
        (replace(RESNET, height=4, width=4), {"batch_size": 1}, "2 images"),
        (replace(RESNET, architecture="imprint"), {}, "train the model behind it"),
        (replace(RESNET, architecture="resnet-20"), {}, "resnet"),
    ],
)
def test_one_sentence_each(spec: ModelSpec, change: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        check_recipe(replace(Recipe(), **change), spec, 1000, "cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("optimiser", ["adam", "adamw", "adagrad"])
def test_who_only_picks_another_optimiser_is_not_asked_about_momentum(optimiser: str) -> None:
    plain = Recipe(optimiser=optimiser)
    assert plain.momentum > 0
    for recipe in (plain, replace(plain, momentum=0.0), replace(plain, nesterov=False)):
        check_recipe(recipe, RESNET, 1000, "cpu")


def test_no_images() -> None:
    with pytest.raises(UserError, match="no image to train on"):
        check_recipe(Recipe(), RESNET, 0)


def test_fp16_is_for_gpus() -> None:
    check_recipe(Recipe(precision="fp16"), RESNET, 1000, "cuda:0")
    check_recipe(Recipe(precision="bf16"), RESNET, 1000, "cpu")


def test_pages_may_import_it_without_torch() -> None:
    modules = "checks, privacy, schedule, draws, recipe, progress"
    code = (
        f"from core.models.training import {modules}\nimport core.images.policies, sys; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"

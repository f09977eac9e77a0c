"""A training that was cut and resumed ends in the same bytes."""

from dataclasses import replace
from typing import Any

import pytest
from safetensors.torch import save

from core.models.spec import ModelSpec
from core.models.training import loop
from core.models.training.progress import OtherDevice, Trained, TrainingCancelled
from core.models.training.recipe import Recipe
from core.models.training.state import unpack
from tests.models.training.helpers import LENET, NORMED, PLAIN, Told, as_if_from, checkpoint_at, train, untimed

CASES: dict[str, tuple[ModelSpec, Recipe]] = {
    "momentum, step, crop+flip": (NORMED, replace(PLAIN, augment="crop+flip", schedule="step")),
    "adam, one-cycle": (LENET, replace(PLAIN, optimiser="adam", momentum=0.0, schedule="one-cycle")),
    "rmsprop, warm-up": (LENET, replace(PLAIN, optimiser="rmsprop", learning_rate=1e-3, warmup=0.5)),
    "adagrad, smoothed": (LENET, replace(PLAIN, optimiser="adagrad", momentum=0.0, label_smoothing=0.1)),
    "mixup": (NORMED, replace(PLAIN, mixup=0.4, schedule="cosine")),
    "ATS": (LENET, replace(PLAIN, policies="3-1-7+43-18-18", augment="crop+flip")),
    "gaussian": (NORMED, replace(PLAIN, defence="gaussian", noise=0.01)),
    "prune": (LENET, replace(PLAIN, defence="prune")),
    "bf16": (LENET, replace(PLAIN, precision="bf16")),
    "dp-sgd": (LENET, replace(PLAIN, defence="dp-sgd", batch_size=6, optimiser="adam", momentum=0.0)),
}


def figures(trained: Trained) -> tuple[Any, ...]:
    """All of an outcome that the clock does not decide, in a form in which NaN equals NaN."""
    record = {name: value for name, value in trained.record.items() if name != "seconds"}
    return save(dict(trained.weights)), repr([untimed(row) for row in trained.rows]), repr(record)


@pytest.mark.parametrize("case", CASES)
def test_the_same_bytes(case: str) -> None:
    spec, recipe = CASES[case]
    whole = figures(train(spec, recipe))
    for cut in (2, 3):  # within an epoch, and at its end
        resumed = train(spec, recipe, Told(start=checkpoint_at(spec, recipe, cut)))
        assert figures(resumed) == whole, f"cut after step {cut}"


def test_cut_twice() -> None:
    spec, recipe = CASES["momentum, step, crop+flip"]
    told = Told(start=checkpoint_at(spec, recipe, 2), every=4)
    train(spec, recipe, told)
    assert figures(train(spec, recipe, Told(start=told.saved[4]))) == figures(train(spec, recipe))


def test_a_finished_training_resumes_to_its_end() -> None:
    told = Told(every=6)
    trained = train(LENET, PLAIN, told)
    again = Told(start=told.saved[6])
    assert figures(train(LENET, PLAIN, again)) == figures(trained)
    assert again.losses == []


def test_the_seed_decides() -> None:
    recipe = replace(PLAIN, augment="crop+flip")
    assert figures(train(LENET, recipe)) == figures(train(LENET, recipe))
    assert figures(train(LENET, recipe)) != figures(train(LENET, replace(recipe, seed=1)))


def test_another_kind_of_device_is_named_and_costs_nothing() -> None:
    checkpoint = as_if_from("cuda", checkpoint_at(LENET, PLAIN, 2))
    with pytest.raises(OtherDevice, match=r"begun on a GPU.*would run on the CPU.*checkpoint is kept.*=cuda"):
        train(LENET, PLAIN, Told(start=checkpoint))


def test_a_checkpoint_holds_no_code() -> None:
    header, tensors = unpack(checkpoint_at(NORMED, PLAIN, 2))
    assert header["done"] == 2
    assert {name.split(".")[0] for name in tensors} == {"model", "optimiser", "sums"}


def test_a_look_at_held_out_images_gives_signs_of_life_and_can_be_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "HELD_OUT_BATCH", 2)
    spec, recipe = CASES["momentum, step, crop+flip"]
    told = Told()
    whole = figures(train(spec, recipe, told))
    assert told.looks == 2 * 3  # epochs × batches of 5 images

    class Impatient(Told):
        def cancelled(self) -> bool:
            return self.looks == 2 + 3 * (self.cut or 0)

    for epochs in (0, 1):  # in the first look, and in the very last
        stopped = Impatient(cut=epochs)
        with pytest.raises(TrainingCancelled):
            train(spec, recipe, stopped)
        assert len(stopped.rows) == epochs
        (state,) = stopped.saved.values()
        again = Told(start=state)
        assert figures(train(spec, recipe, again)) == whole
        assert len(again.rows) == 2 - epochs

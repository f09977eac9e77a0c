"""Trainings as jobs: what they leave in the store, and what stops them."""

import errno
import json
import shutil
from collections import namedtuple
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import func, select

from core.errors import UserError
from core.images.dataset import DataChoice
from core.images.sampling import load_choice, training_images
from core.jobs import prepared as prepared_module
from core.jobs.claims import claim
from core.jobs.compose import AttackRequest, check, stored_model, submit_attack, title
from core.jobs.queue import set_wanted
from core.jobs.runner import Runner
from core.jobs.training import (
    TrainRequest,
    as_started,
    data_words,
    final_model,
    recipe_words,
    submit_training,
    trained_models,
    victim_spec,
)
from core.jobs.work import JobWork
from core.models.build import load_weights
from core.models.training.recipe import PAPER_RECIPES, Recipe
from core.models.training.simple import accuracy
from core.storage import schema
from core.storage.store import Store
from tests.jobs.conftest import job_row
from tests.jobs.conftest import record as record_of
from tests.jobs.trainings import (
    FACES,
    begun,
    curve,
    hold_at,
    request,
    run_until_idle,
    shard,
    turn_until,
    weights_of_undisturbed,
)


def test_a_training_leaves_its_curve_its_chosen_epochs_and_a_model_that_can_be_attacked(store: Store) -> None:
    asked = submit_training(store, request(store, keep_epochs="2"))
    assert job_row(store, asked.job_id).title == "train lenet · lfw, 12 a class · crop+flip · 4 epochs"
    with pytest.raises(UserError, match="no final model"):
        final_model(store, asked.job_id)
    run_until_idle(store)
    job = asked.job_id
    assert job_row(store, job).state == "done"
    assert curve(store, job) == [1, 2, 3, 4]
    kept, last = trained_models(store, job)
    assert (kept.epoch, kept.name, kept.spec.origin) == (
        2,
        "lenet · lfw, 12 a class · crop+flip · 4 epochs · epoch 2",
        f"trained by job {job}, epoch 2",
    )
    assert (last.epoch, last.spec.origin, last.facts["final"]) == (4, f"trained by job {job}", True)
    assert last == final_model(store, job)
    assert shard(store, job).step == shard(store, job).total == 4 * 3

    spec, weights, name = stored_model(store, last.model_id)
    assert (spec, name, spec.class_names) == (last.spec, last.name, ("not a face", "face"))
    images = training_images(store.settings, DataChoice("lfw", per_class=12), spec)
    right = accuracy(spec, load_weights(weights), images.held_images, images.held_labels)
    assert last.facts["accuracy"] == pytest.approx(right)
    assert (last.facts["images"], last.facts["held_out"]) == (24, len(images.held_labels))
    assert last.facts["parameters"] == 12 * 25 + 12 + 2 * (12 * 12 * 25 + 12) + 12 * 16 * 2 + 2
    assert last.facts["recipe"]["epochs"] == 4
    record = record_of(store, job)
    assert {"torch", "threads", "device", "seconds", "peak_memory_bytes"} <= record.keys()

    assert submit_training(store, request(store, keep_epochs="2")) == replace(asked, already=True, state="done")
    chosen = load_choice(store.settings, DataChoice("lfw", count=2), spec=spec)
    attack = AttackRequest(spec, name, weights, "lfw", tuple(chosen), "dlg", {"iterations": 2}, controls=0)
    check(attack)
    assert title(attack).startswith("dlg on lenet · lfw, 12 a class")
    assert not submit_attack(store, attack).already
    with store.database.read() as connection:  # the stored weights are those of the training's own row
        assert connection.execute(select(func.count()).select_from(schema.models)).scalar_one() == 2


def test_a_private_training_states_what_it_promises(store: Store) -> None:
    job = begun(store, defence="dp-sgd", augment="none", optimiser="sgd", learning_rate=0.1, epochs=2, dp_noise=2.0)
    run_until_idle(store)
    facts = final_model(store, job).facts
    privacy = record_of(store, job)["privacy"]
    assert facts["privacy"] == privacy
    assert (facts["delta"], facts["sampling_rate"], facts["unit"]) == (1e-5, 8 / 24, privacy["unit"])
    assert facts["epsilon"] == privacy["epsilon"] > 0
    assert facts["recipe_words"] == "dp-sgd 2"


def test_what_a_shard_says_twice_lands_once(store: Store) -> None:
    job = begun(store, epochs=2, keep_epochs="1")
    runner = Runner(store)
    with store.database.write() as connection:
        row = claim(connection, runner.owner, 60)
    work = JobWork.begin(store, runner._workers(), runner.owner, row)
    work.advance([], "run")
    flying = next(iter(work.flying.values()))
    events = []
    while not any(event.kind == "trained" for _key, event in events):
        events += runner._workers().poll(1.0)
    kinds = [event.kind for _key, event in events]
    assert (kinds.count("epoch"), kinds.count("kept"), kinds[-1]) == (2, 1, "trained")
    work.advance(events, "run")
    first = [(one.model_id, one.facts) for one in trained_models(store, job)]
    work.flying[flying.id] = flying  # as if its worker had been thought dead
    work.advance(events, "run")
    assert [(one.model_id, one.facts) for one in trained_models(store, job)] == first
    assert curve(store, job) == [1, 2]
    work.drop()
    runner._workers().close()


def test_a_paused_training_goes_on_to_the_same_weights(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as held:
        hold_at(held, 5)  # of 12: in the second epoch
        job = begun(store)
        runner = Runner(store)
        turn_until(runner, lambda: (row := shard(store, job)) is not None and row.step == 5)
        set_wanted(store, job, "pause")
        turn_until(runner, lambda: job_row(store, job).state == "paused")
    assert curve(store, job) == [1]
    assert shard(store, job).checkpoint_version == 1  # written because of the pause: the interval is 20 s
    made = []
    monkeypatch.setattr(prepared_module, "training_images", lambda *_args, **_more: made.append("decoded"))
    set_wanted(store, job, "run")
    turn_until(runner, lambda: job_row(store, job).state == "done")
    runner._workers().close()
    assert made == []  # the images are not decoded again
    monkeypatch.undo()
    assert final_model(store, job).spec.weights_sha256 == weights_of_undisturbed(store)
    assert curve(store, job) == [1, 2, 3, 4]


def test_a_cancelled_training_stops_and_leaves_no_final_model(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    hold_at(monkeypatch, 5)
    job = begun(store, keep_epochs="1")
    runner = Runner(store)
    turn_until(runner, lambda: (row := shard(store, job)) is not None and row.step == 5)
    set_wanted(store, job, "cancel")
    turn_until(runner, lambda: job_row(store, job).state == "cancelled")
    runner._workers().close()
    assert [one.epoch for one in trained_models(store, job)] == [1]
    with pytest.raises(UserError, match="no final model"):
        final_model(store, job)
    assert not submit_training(store, request(store, keep_epochs="1")).already  # asked again, it is done again


def test_a_training_that_runs_away_fails_in_one_sentence(store: Store) -> None:
    away = {"optimiser": "sgd", "learning_rate": 100.0, "weight_decay": 10.0, "schedule": "constant", "epochs": 20}
    job = begun(store, **away)
    run_until_idle(store)
    row = job_row(store, job)
    assert row.state == "failed"
    assert row.error.startswith("The loss is no longer a number")
    assert trained_models(store, job) == []


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """A folder of two classes with five pictures each."""
    random = np.random.default_rng(0)
    for name in ("cats", "dogs"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(5):
            picture = Image.fromarray(random.integers(0, 256, (20, 20, 3), dtype=np.uint8))
            picture.save(tmp_path / "pets" / name / f"{number}.png")
    return tmp_path / "pets"


def test_a_broken_image_fails_the_job_and_nothing_is_kept(store: Store, pets: Path) -> None:
    choice = DataChoice(f"folder:{pets}", held_out=0.0)
    (pets / "cats" / "3.png").write_bytes((pets / "cats" / "3.png").read_bytes()[:200])
    job = submit_training(store, request(store, choice, batch_size=4)).job_id
    run_until_idle(store)
    row = job_row(store, job)
    assert row.state == "failed"
    assert "3.png" in row.error
    assert "Traceback" not in row.error
    assert shard(store, job) is None
    assert list((store.settings.home / "prepared").glob("*")) == []


def test_a_data_set_that_changed_since_is_told(store: Store, pets: Path) -> None:
    job = submit_training(store, request(store, DataChoice(f"folder:{pets}"), batch_size=4)).job_id
    shutil.copy(pets / "cats" / "0.png", pets / "dogs" / "new.png")
    run_until_idle(store)
    assert job_row(store, job).state == "failed"
    assert "changed" in job_row(store, job).error


def test_no_space_is_one_sentence_before_and_during(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    with monkeypatch.context() as full:
        full.setattr(shutil, "disk_usage", lambda _path: usage(10**9, 10**9 - 1000, 1000))
        with pytest.raises(UserError, match=r"This training needs about .* KiB, but the disk of .* has 1000 B free"):
            submit_training(store, request(store))
    job = begun(store)

    def refuse(*_args: object, **_more: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(np, "save", refuse)
        run_until_idle(store)
    row = job_row(store, job)
    assert (row.state, row.error[:16]) == ("paused", "The disk is full")
    assert list((store.settings.home / "prepared").glob("*")) == []
    set_wanted(store, job, "run")  # there is room again
    run_until_idle(store)
    assert job_row(store, job).state == "done"


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ({"keep_epochs": "9"}, "keep_epochs names epoch 9"),
        ({"keep_epochs": "two"}, "row of epochs"),
        ({"batch_size": 64}, "only 24 are there"),
        ({"start": "imagenet"}, "No ImageNet weights are published for LeNet"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_it_is_stored(store: Store, recipe: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        submit_training(store, request(store, **recipe))
    with store.database.read() as connection:
        assert connection.execute(select(func.count()).select_from(schema.jobs)).scalar_one() == 0


def test_one_class_unknown_class_and_unknown_model_are_refused(store: Store) -> None:
    with pytest.raises(UserError, match="at least two classes"):
        submit_training(store, request(store, DataChoice("lfw", classes=("face",))))
    with pytest.raises(UserError, match="did you mean face"):
        submit_training(store, request(store, DataChoice("lfw", classes=("faces", "not a face"))))
    with pytest.raises(UserError, match="did you mean"):
        victim_spec("convnett", "lfw", store.settings)
    pretrained = replace(request(store, start="imagenet"), spec=victim_spec("resnet18", "lfw", store.settings, size=64))
    with pytest.raises(UserError, match="ImageNet weights of resnet18 are not on this machine"):
        submit_training(store, pretrained)


def test_a_start_from_imagenet_takes_imagenets_normalisation(store: Store) -> None:
    drawn = victim_spec("resnet18", "cifar100", store.settings, size=64)
    pretrained = as_started(drawn, Recipe(start="imagenet"))
    assert pretrained.mean == (0.485, 0.456, 0.406)  # torchvision's documentation of its weights
    assert pretrained.std == (0.229, 0.224, 0.225)
    assert replace(pretrained, mean=drawn.mean, std=drawn.std) == drawn
    assert as_started(drawn, Recipe()) == drawn
    grey = victim_spec("resnet18", "cifar100", store.settings, size=64, channels=1)
    assert as_started(grey, Recipe(start="imagenet")) == grey


def test_the_victims_input_and_classes_are_the_datas(store: Store) -> None:
    spec = victim_spec("convnet-faces", "lfw", store.settings)
    assert (spec.channels, spec.height, spec.weights_sha256) == (3, 32, "")  # drawn, not the preset's
    asked = TrainRequest(spec, "convnet-faces", FACES, Recipe(batch_size=8), "cpu")
    job = submit_training(store, asked).job_id
    model = json.loads(job_row(store, job).payload)["model"]
    assert (model["num_classes"], model["class_names"]) == (2, ["not a face", "face"])


def test_words() -> None:
    assert [recipe_words(one) for one in PAPER_RECIPES.values()] == ["no augmentation", *list(PAPER_RECIPES)[1:]]
    assert recipe_words(Recipe(mixup=0.2, defence="dp-sgd")) == "crop+flip + mixup 0.2 + dp-sgd 1"
    assert data_words(DataChoice("folder:/a/pets/", classes=("a", "b"), count=1000)) == "pets, 2 classes, 1,000 images"
    assert data_words(DataChoice("cifar100", names=("x", "y"))) == "cifar100, 2 listed"


def test_prepared_images_are_mapped_made_again_when_damaged_and_let_go(store: Store) -> None:
    asked = request(store)
    choice, spec = asked.data, replace(asked.spec, num_classes=2)
    first = prepared_module.prepared_images(store.settings, choice, spec, lambda: None)
    assert isinstance(first.images, np.memmap)
    assert first.images.shape == (24, 16, 16, 1)
    folder = store.settings.home / "prepared" / prepared_module.prepared_key(choice, spec)
    (folder / "images.npy").write_bytes(b"\x93NUMPY damaged")
    again = prepared_module.prepared_images(store.settings, choice, spec, lambda: None)
    assert np.array_equal(again.images, training_images(store.settings, choice, spec).images)
    assert prepared_module.prepared_key(choice, replace(spec, height=32)) != folder.name
    assert prepared_module.forget_prepared(store.settings) == 0
    assert prepared_module.forget_prepared(store.settings, -1.0) == 1
    assert not folder.exists()


def test_a_campaign_is_no_work_of_its_own(store: Store) -> None:
    from core.jobs.payloads import CampaignJob
    from core.jobs.queue import submit

    submit(store, CampaignJob(plan={}), "grid")
    with store.database.write() as connection:
        assert claim(connection, "here:abc:1", 60) is None
    assert SimpleNamespace(**job_row(store, 1)._mapping).state == "queued"

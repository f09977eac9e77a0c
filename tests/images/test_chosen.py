"""Originals and training images of a choice."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.errors import UserError
from core.images import chosen
from core.images.dataset import DataChoice
from core.images.datasets import open_dataset
from core.images.load import load_images
from core.images.resize import to_input
from core.images.sampling import choose, load_choice, training_images, write_list
from core.models.spec import ModelSpec
from core.settings import Settings
from tests.images.dataset_files import cifar10_archive, cifar100_archive, class_folder, fashion_files, of_class

SPEC = ModelSpec("lenet", 10)


@pytest.fixture
def cifar10(settings: Settings) -> Settings:
    cifar10_archive(settings.datasets / "cifar10" / "cifar-10-binary.tar.gz", per_class=2)
    return settings


def test_originals_have_the_data_sets_labels_and_pixels(cifar10: Settings) -> None:
    dataset = open_dataset("cifar10", cifar10)
    choice = DataChoice("cifar10", part="test", count=12, seed=4)
    prepared = load_choice(cifar10, choice, spec=SPEC)
    assert [one.name for one in prepared] == [dataset.entries[place].name for place in choose(dataset, choice)]
    for one in prepared:
        number = int(one.name.removeprefix("test-"))
        assert (one.label, one.label_source) == (number % 10, "dataset")
        np.testing.assert_array_equal(one.original, of_class(number % 10, 10 + number // 10, 32))


def test_labels_count_the_models_classes(cifar10: Settings) -> None:
    choice = DataChoice("cifar10", per_class=1, classes=("dog", "cat"))

    def labels(spec: ModelSpec) -> dict[str, tuple[int, str]]:
        return {one.class_name: (one.label, one.label_source) for one in load_choice(cifar10, choice, spec=spec)}

    whole = {"cat": (3, "dataset"), "dog": (5, "dataset")}
    assert labels(SPEC) == whole  # an unnamed model of ten classes: the data set's own numbers
    two = {"cat": (0, "dataset"), "dog": (1, "dataset")}
    assert labels(ModelSpec("lenet", 2)) == two
    assert labels(ModelSpec("lenet", 3, class_names=("dog", "owl", "cat"))) == {
        "dog": (0, "dataset"),
        "cat": (2, "dataset"),
    }
    drawn = labels(ModelSpec("lenet", 2, class_names=("owl", "cow")))
    assert {source for _, source in drawn.values()} == {"drawn"}


def test_training_images_are_the_train_part_and_the_test_part_of_the_same_classes(cifar10: Settings) -> None:
    beats: list[tuple[int, int]] = []
    choice = DataChoice("cifar10", part="test", classes=("dog", "cat"), per_class=3)
    found = training_images(cifar10, choice, ModelSpec("lenet", 2), lambda done, of: beats.append((done, of)))
    assert found.class_names == ("cat", "dog")
    assert (found.images.shape, found.images.dtype) == ((6, 32, 32, 3), np.uint8)
    assert sorted(found.labels.tolist()) == [0, 0, 0, 1, 1, 1]
    assert found.held_images.shape == (4, 32, 32, 3)  # two of each class in the test batch
    assert found.held_of == 4
    assert beats[-1] == (10, 10)
    dataset = open_dataset("cifar10", cifar10)
    taken = choose(dataset, replace(choice, part="train"))
    np.testing.assert_array_equal(found.images[0], dataset.pictures([taken[0]])[0].pixels)
    images, labels, *_ = found
    assert images is found.images
    assert labels is found.labels


def test_held_out_images_are_capped_evenly_and_it_is_said(cifar10: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chosen, "MOST_HELD", 10)
    found = training_images(cifar10, DataChoice("cifar10"), SPEC)
    assert found.held_of == 20
    assert sorted(found.held_labels.tolist()) == list(range(10))  # one of each class


def test_pieces_do_not_change_the_result(cifar10: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = training_images(cifar10, DataChoice("cifar10", seed=1), SPEC)
    monkeypatch.setattr(chosen, "PIECE", 7)
    parts = training_images(cifar10, DataChoice("cifar10", seed=1), SPEC)
    np.testing.assert_array_equal(whole.images, parts.images)
    np.testing.assert_array_equal(whole.held_images, parts.held_images)


def test_grey_and_unequal_sizes_come_at_the_models_size(settings: Settings, tmp_path: Path) -> None:
    fashion_files(settings.datasets / "fashion-mnist")
    grey = training_images(
        settings, DataChoice("fashion-mnist"), ModelSpec("lenet", 10, channels=1, height=28, width=28)
    )
    assert grey.images.shape == (30, 28, 28, 1)
    assert any(np.array_equal(one[..., 0], of_class(0, 0, 28)[..., 1]) for one in grey.images)
    folder = class_folder(tmp_path / "mine", {"a": 5, "b": 4}, side=40)
    found = training_images(settings, DataChoice(f"folder:{folder}"), ModelSpec("lenet", 2))
    assert found.images.shape == (7, 32, 32, 3)
    assert found.held_images.shape == (2, 32, 32, 3)
    expected = {to_input(of_class(0, n, 40 + n), height=32, width=32, channels=3).tobytes() for n in range(5)}
    mine = [one.tobytes() for one, label in zip(found.images, found.labels, strict=True) if label == 0]
    assert set(mine) < expected
    assert len(mine) == 4


def test_nothing_that_is_trained_on_is_held_out(settings: Settings) -> None:
    dataset = open_dataset("photos", settings)
    names = tuple(entry.name for entry in dataset.entries[:28])
    found = training_images(settings, DataChoice("photos", names=names), ModelSpec("lenet", 4))
    trained = {one.tobytes() for one in found.images}
    assert len(found.images) == 28
    assert len(found.held_images) + 28 <= 32
    assert not any(one.tobytes() in trained for one in found.held_images)
    none = training_images(settings, DataChoice("photos", held_out=0.0), ModelSpec("lenet", 4))
    assert (len(none.images), none.held_images.shape) == (32, (0, 32, 32, 3))


@pytest.mark.parametrize(
    ("choice", "spec", "sentence"),
    [
        (
            {"classes": ("cat",)},
            ModelSpec("lenet", 10),
            r"at least two classes, but this choice of .* holds one \(cat\)",
        ),
        ({}, ModelSpec("lenet", 9), "has 10 classes, but the model has 9"),
        ({"fingerprint": "0" * 64}, SPEC, "is not what it was"),
    ],
)
def test_what_cannot_be_trained_is_one_sentence(
    cifar10: Settings, choice: dict[str, object], spec: ModelSpec, sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        training_images(cifar10, replace(DataChoice("cifar10"), **choice), spec)


def test_too_many_pixels_are_refused_before_anything_is_decoded(
    cifar10: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chosen, "MOST_BYTES", 120 * 32 * 32 * 3 - 1)
    monkeypatch.setattr(chosen, "_pieces", lambda *_: pytest.fail("decoded"))
    with pytest.raises(
        UserError, match=r"120 images of 32×32×3 .*lower the images of each class, the classes or the input"
    ):
        training_images(cifar10, DataChoice("cifar10"), SPEC)


def test_a_broken_picture_stops_a_training_with_its_name(settings: Settings, tmp_path: Path) -> None:
    folder = class_folder(tmp_path / "mine", {"a": 3, "b": 3})
    (folder / "b" / "2.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    with pytest.raises(UserError, match=r"In b/ of 'mine': 2\.png"):
        training_images(settings, DataChoice(f"folder:{folder}"), ModelSpec("lenet", 2))


def test_audits_take_data_sets_and_lists(settings: Settings, tmp_path: Path) -> None:
    cifar100_archive(settings.datasets / "cifar100" / "cifar-100-binary.tar.gz", per_class=1)
    spec = ModelSpec("lenet", 100)
    prepared = load_images("cifar100", spec=spec, limit=8, seed=2, settings=settings)
    assert [one.name for one in prepared] == [
        one.name for one in load_choice(settings, DataChoice("cifar100", count=8, seed=2), spec=spec)
    ]
    assert all(one.label == int(one.name.removeprefix("train-")) for one in prepared)
    dataset = open_dataset("cifar100", settings)
    (tmp_path / "list.csv").write_text(write_list(dataset, DataChoice("cifar100", part="test", count=3)))
    listed = load_images("cifar100", spec=spec, images_list=tmp_path / "list.csv", settings=settings)
    assert [one.name[:5] for one in listed] == ["test-"] * 3


def test_a_large_data_set_is_not_attacked_whole_by_mistake(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    cifar10_archive(settings.datasets / "cifar10" / "cifar-10-binary.tar.gz")
    monkeypatch.setattr("core.images.load.MOST_AT_ONCE", 100)
    with pytest.raises(UserError, match="CIFAR-10 has 120 images; say how many with --limit"):
        load_images("cifar10", spec=SPEC, settings=settings)


def test_a_folder_called_like_a_data_set_that_is_not_here_is_a_folder(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class_folder(tmp_path / "cifar10", {"a": 1, "b": 1})
    monkeypatch.chdir(tmp_path)
    assert len(load_images("cifar10", spec=SPEC, settings=settings)) == 2

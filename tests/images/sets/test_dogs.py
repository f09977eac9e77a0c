"""Stanford Dogs: a plain tar and MATLAB lists."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from core.errors import UserError
from core.images.datasets import open_dataset
from core.settings import Settings
from tests.images.dataset_files import dogs_files, encoded, of_class, tar


def test_breeds_pictures_and_the_official_split(settings: Settings) -> None:
    dogs_files(settings.datasets / "stanford-dogs")
    dataset = open_dataset("stanford-dogs", settings)
    assert dataset.classes == ("African hunting dog", "Chihuahua", "Japanese spaniel")
    assert len(dataset.entries) == 15
    assert [entry.part for entry in dataset.entries].count("test") == 6
    place = next(place for place, entry in enumerate(dataset.entries) if entry.name == "n02085782_4")
    assert dataset.entries[place].part == "test"
    expected = np.asarray(Image.open(io.BytesIO(encoded(of_class(1, 4, 70), "JPEG"))))
    np.testing.assert_array_equal(dataset.pictures([place])[0].pixels, expected)
    assert not list((settings.home / "indexes").rglob("pictures.bin"))  # read where they lie


@pytest.mark.parametrize(
    ("lists", "sentence"),
    [
        ({"train_list.mat": b"MATLAB 5.0"}, "train_list.mat is not a MATLAB file with a list file_list"),
        ({"readme.txt": b""}, "lacks test_list.mat, train_list.mat"),
        ({"train_list.mat": "n02085620-Chihuahua/../../x.jpg"}, "is not a MATLAB file with a list file_list"),
        (
            {"train_list.mat": "n02085620-Chihuahua/nothing.jpg", "test_list.mat": "a/b.jpg"},
            "listed pictures are missing",
        ),
    ],
)
def test_wrong_lists_are_one_sentence(settings: Settings, lists: dict[str, bytes | str], sentence: str) -> None:
    folder = settings.datasets / "stanford-dogs"
    dogs_files(folder)
    files = {}
    for name, content in lists.items():
        if isinstance(content, str):
            file = io.BytesIO()
            savemat(file, {"file_list": np.array([[content]], dtype=object)})
            content = file.getvalue()
        files[f"lists/{name}"] = content
    tar(folder / "lists.tar", files, "w")
    with pytest.raises(UserError, match=sentence):
        open_dataset("stanford-dogs", settings)


def test_a_truncated_tar(settings: Settings) -> None:
    folder = settings.datasets / "stanford-dogs"
    dogs_files(folder)
    images = folder / "images.tar"
    images.write_bytes(images.read_bytes()[:9000])
    with pytest.raises(UserError, match=r"images\.tar"):
        open_dataset("stanford-dogs", settings)

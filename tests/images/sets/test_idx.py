"""Fashion-MNIST's idx files."""

import gzip
import struct

import numpy as np
import pytest

from core.errors import UserError
from core.images.dataset import Entry
from core.images.datasets import input_of, open_dataset
from core.settings import Settings
from tests.images.dataset_files import fashion_files, idx_file, of_class

TRAIN = "train-images-idx3-ubyte.gz"


def test_pictures_and_labels_of_both_parts(settings: Settings) -> None:
    fashion_files(settings.datasets / "fashion-mnist")
    dataset = open_dataset("fashion-mnist", settings)
    assert len(dataset.entries) == 40
    assert dataset.entries[13] == Entry("train-00013", 3, "train")
    assert dataset.entries[39] == Entry("test-00009", 9, "test")
    assert dataset.classes[9] == "Ankle boot"
    (picture,) = dataset.pictures([13])
    assert picture.pixels.shape == (28, 28, 3)  # grey, as Picture wants three channels
    for channel in range(3):
        np.testing.assert_array_equal(picture.pixels[..., channel], of_class(3, 1, 28)[..., 1])
    assert input_of("fashion-mnist", settings).channels == 1


def test_the_magic_numbers_are_the_publishers(settings: Settings) -> None:
    folder = settings.datasets / "fashion-mnist"
    fashion_files(folder)
    for name, magic in ((TRAIN, 2051), ("train-labels-idx1-ubyte.gz", 2049)):
        assert struct.unpack(">I", gzip.decompress((folder / name).read_bytes())[:4]) == (magic,)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            gzip.compress(struct.pack(">IIII", 2049, 30, 28, 28)),
            "begins with 2049, where an idx file of its kind has 2051",
        ),
        (gzip.compress(struct.pack(">IIII", 2051, 30, 28, 28) + bytes(100)), "holds 100 bytes of 23,520"),
        (gzip.compress(struct.pack(">IIII", 2051, 2**32 - 1, 2**32 - 1, 2**32 - 1)), "holds 0 bytes of"),
        (gzip.compress(b"\0\0"), "ends within its head"),
        (gzip.compress(struct.pack(">IIII", 2051, 30, 28, 28) + bytes(23520))[:-12], "damaged or not whole"),
        (b"<html>", "ends within its head"),
    ],
    ids=range(6),  # gzip writes the time: the bytes are no names
)
def test_a_wrong_file_is_one_sentence(settings: Settings, content: bytes, sentence: str) -> None:
    folder = settings.datasets / "fashion-mnist"
    fashion_files(folder)
    (folder / TRAIN).write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        open_dataset("fashion-mnist", settings)
    assert list((settings.home / "indexes").iterdir()) == []


def test_labels_that_do_not_fit_the_images(settings: Settings) -> None:
    folder = settings.datasets / "fashion-mnist"
    fashion_files(folder)
    idx_file(folder / "train-labels-idx1-ubyte.gz", np.zeros(29))
    with pytest.raises(UserError, match=r"holds 30 images, but train-labels-idx1-ubyte.gz 29 labels"):
        open_dataset("fashion-mnist", settings)
    idx_file(folder / "train-labels-idx1-ubyte.gz", np.full(30, 10))
    with pytest.raises(UserError, match="has a label 10, where 0 to 9 belong"):
        open_dataset("fashion-mnist", settings)

"""CelebA: pictures in a zip, people, attributes and the published parts in tables."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from core.errors import UserError
from core.images.datasets import open_dataset
from core.settings import Settings
from tests.images.dataset_files import celeba_files, encoded, of_class


def test_a_class_is_a_person(settings: Settings) -> None:
    celeba_files(settings.datasets / "celeba")
    dataset = open_dataset("celeba", settings)
    assert dataset.classes == ("person 2880", "person 2881", "person 2882")
    assert [entry.label for entry in dataset.entries[:4]] == [0, 1, 2, 0]
    assert not dataset.published_split  # the published parts share no person
    expected = np.asarray(Image.open(io.BytesIO(encoded(of_class(2881, 4, 44), "JPEG"))))
    (picture,) = dataset.pictures([4])
    np.testing.assert_array_equal(picture.pixels, expected)
    assert picture.name == "000005"
    assert not list((settings.home / "indexes").rglob("pictures.bin"))


def test_a_class_is_an_attribute_and_the_parts_are_published(settings: Settings) -> None:
    celeba_files(settings.datasets / "celeba")
    dataset = open_dataset("celeba:Smiling", settings)
    assert dataset.classes == ("not Smiling", "Smiling")
    assert [entry.label for entry in dataset.entries[:4]] == [0, 1, 0, 1]
    assert [entry.part for entry in dataset.entries[:4]] == [
        "train",
        "train",
        "test",
        "train",
    ]  # 0, 1 (validation), 2, 0
    young = open_dataset("celeba:Young", settings)
    assert [entry.label for entry in young.entries[:4]] == [0, 1, 1, 0]
    with pytest.raises(UserError, match=r"no attribute called 'Smilng'; did you mean Smiling\?"):
        open_dataset("celeba:Smilng", settings)


@pytest.mark.parametrize(
    ("file", "content", "sentence"),
    [
        ("identity_CelebA.txt", "000001.jpg\n", "Line 1 of identity_CelebA.txt is not a file name and a number"),
        ("identity_CelebA.txt", "", "Line 1 of identity_CelebA.txt"),
        ("identity_CelebA.txt", "009999.jpg 4\n000001.jpg 5\n", r"holds 1 of the 2 pictures .*009999.jpg"),
        ("identity_CelebA.txt", "é 1\n", "is not the plain text"),
        ("img_align_celeba.zip", "PK", "damaged"),
    ],
)
def test_wrong_files_are_one_sentence(settings: Settings, file: str, content: str, sentence: str) -> None:
    folder = settings.datasets / "celeba"
    celeba_files(folder)
    (folder / file).write_text(content)
    with pytest.raises(UserError, match=sentence):
        open_dataset("celeba", settings)


def test_a_damaged_picture_within_the_zip_is_named(settings: Settings) -> None:
    folder = settings.datasets / "celeba"
    celeba_files(folder)
    archive = folder / "img_align_celeba.zip"
    data = bytearray(archive.read_bytes())
    data[40 + 30 : 40 + 130] = bytes(100)  # within the first member, behind its header of 30 bytes and its name
    archive.write_bytes(data)
    dataset = open_dataset("celeba", settings)
    assert dataset.pictures([1])[0].name == "000002"
    with pytest.raises(UserError, match=r"000001\.jpg"):
        dataset.pictures([0])


def test_an_unpacked_folder_is_the_same_data_set(settings: Settings) -> None:
    folder = settings.datasets / "celeba"
    celeba_files(folder)
    packed = open_dataset("celeba", settings)
    before = packed.pictures([3])[0].pixels
    archive = folder / "img_align_celeba.zip"
    with zipfile.ZipFile(archive) as one:
        one.extractall(folder)
    archive.unlink()
    unpacked = open_dataset("celeba", settings)
    assert unpacked.fingerprint == packed.fingerprint
    np.testing.assert_array_equal(unpacked.pictures([3])[0].pixels, before)


def test_it_says_how_to_place_it_by_hand(settings: Settings) -> None:
    with pytest.raises(
        UserError, match=r"CelebA is not on this machine; get img_align_celeba.zip, .*celeba.* under these"
    ):
        open_dataset("celeba", settings)

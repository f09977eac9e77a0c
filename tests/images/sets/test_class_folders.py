"""Caltech-101, Imagenette and LFW: one folder a class, in an archive or unpacked."""

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.errors import UserError
from core.images.datasets import open_dataset
from core.settings import Settings
from tests.images.dataset_files import caltech_archive, encoded, imagenette_archive, lfw_archive, of_class, tar


def decoded(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_caltech_reads_the_tar_within_the_zip_without_its_background(settings: Settings) -> None:
    caltech_archive(settings.datasets / "caltech101" / "caltech-101.zip")
    dataset = open_dataset("caltech101", settings)
    assert dataset.classes == ("kind_0", "kind_1", "kind_2", "kind_3")
    assert not dataset.published_split
    assert [entry.name for entry in dataset.entries[4:6]] == ["kind_0-image_0005", "kind_1-image_0001"]
    (picture,) = dataset.pictures([6])
    np.testing.assert_array_equal(picture.pixels, decoded(encoded(of_class(1, 2, 41), "JPEG")))
    assert picture.class_name == "kind_1"


def test_an_unpacked_folder_is_the_same_data_set(settings: Settings, tmp_path: Path) -> None:
    path = caltech_archive(settings.datasets / "caltech101" / "caltech-101.zip")
    packed = open_dataset("caltech101", settings)
    with (
        zipfile.ZipFile(path) as archive,
        archive.open("caltech-101/101_ObjectCategories.tar.gz") as file,
        tarfile.open(fileobj=file, mode="r:gz") as inner,
    ):
        inner.extractall(path.parent, filter="data")
    before = packed.pictures([3])[0].pixels
    path.unlink()
    unpacked = open_dataset("caltech101", settings)
    assert unpacked.fingerprint == packed.fingerprint
    np.testing.assert_array_equal(unpacked.pictures([3])[0].pixels, before)


def test_imagenette_has_names_for_people_and_its_publishers_split(settings: Settings) -> None:
    imagenette_archive(settings.datasets / "imagenette" / "imagenette2-160.tgz")
    dataset = open_dataset("imagenette", settings)
    assert dataset.classes == ("English springer", "parachute", "tench")
    assert dataset.published_split
    parts = [(entry.label, entry.part) for entry in dataset.entries]
    assert parts.count((2, "train")) == 4
    assert parts.count((2, "test")) == 2
    tench = next(place for place, entry in enumerate(dataset.entries) if entry.name == "n01440764_val_1")
    np.testing.assert_array_equal(dataset.pictures([tench])[0].pixels, decoded(encoded(of_class(0, 1, 60), "JPEG")))


def test_lfw_keeps_people_with_enough_pictures(settings: Settings) -> None:
    lfw_archive(settings.datasets / "lfw-people" / "lfw-deepfunneled.tgz", {"Ann_Bo": 3, "Cy_Do_Eh": 2, "Ed_Fu": 1})
    dataset = open_dataset("lfw-people:2", settings)
    assert dataset.classes == ("Ann Bo", "Cy Do Eh")
    assert [entry.name for entry in dataset.entries] == [
        *("Ann_Bo_0001", "Ann_Bo_0002", "Ann_Bo_0003", "Cy_Do_Eh_0001", "Cy_Do_Eh_0002")
    ]
    assert len(open_dataset("lfw-people:1", settings).classes) == 3
    with pytest.raises(UserError, match="has 0 classes with at least 20 pictures"):
        open_dataset("lfw-people", settings)
    with pytest.raises(UserError, match="behind the colon belongs the least number"):
        open_dataset("lfw-people:many", settings)


def test_links_and_devices_of_an_archive_are_left_out(settings: Settings, tmp_path: Path) -> None:
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(encoded(of_class(0, 0, 20), "JPEG"))
    path = settings.datasets / "lfw-people" / "lfw-deepfunneled.tgz"
    path.parent.mkdir(parents=True)
    with tarfile.open(path, "w:gz") as archive:
        for person in ("Ann_Bo", "Cy_Do"):
            for number, kind in enumerate((tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.REGTYPE)):
                info = tarfile.TarInfo(f"lfw/{person}/{person}_{number}.jpg")
                data = encoded(of_class(1, number, 20), "JPEG")
                info.type, info.linkname = kind, str(secret)
                info.size = len(data) if kind == tarfile.REGTYPE else 0
                archive.addfile(info, io.BytesIO(data) if kind == tarfile.REGTYPE else None)
    dataset = open_dataset("lfw-people:1", settings)
    assert [entry.name for entry in dataset.entries] == ["Ann_Bo_3", "Cy_Do_3"]


def test_a_broken_picture_is_named_when_it_is_decoded_and_not_before(settings: Settings) -> None:
    path = settings.datasets / "imagenette" / "imagenette2-160.tgz"
    path.parent.mkdir(parents=True)
    good = encoded(of_class(0, 0, 30), "JPEG")
    tar(
        path,
        {
            "imagenette2-160/train/n01440764/good.JPEG": good,
            "imagenette2-160/train/n02102040/bad.JPEG": good[:200],
            "imagenette2-160/val/n02102040/bitmap.JPEG": b"BM" + bytes(60),
        },
    )
    dataset = open_dataset("imagenette", settings)
    names = [entry.name for entry in dataset.entries]
    assert dataset.pictures([names.index("good")])[0].pixels.shape == (30, 30, 3)
    with pytest.raises(UserError, match=r"bad\.JPEG is damaged"):
        dataset.pictures([names.index("bad")])
    with pytest.raises(UserError, match=r"bitmap\.JPEG is a BMP"):
        dataset.pictures([names.index("bitmap")])


def test_an_archive_of_something_else(settings: Settings) -> None:
    path = settings.datasets / "caltech101" / "caltech-101.zip"
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(UserError, match="holds no pictures in class folders as Caltech-101 has them"):
        open_dataset("caltech101", settings)


def test_a_zip_with_wrong_contents_inside(settings: Settings) -> None:
    path = caltech_archive(settings.datasets / "caltech101" / "caltech-101.zip")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 64] = bytes(64)
    path.write_bytes(data)
    with pytest.raises(UserError, match="damaged"):
        open_dataset("caltech101", settings)

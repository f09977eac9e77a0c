"""The bundled pictures: what they hold, their order, and that every file's licence is listed."""

import re
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.errors import UserError
from core.images.make_photos import CROPS, make_photos
from core.images.samples import ASSETS, PHOTO_CLASSES, SAMPLES, lfw, lfw_order, photos, sample_pictures


@pytest.mark.parametrize("name", SAMPLES)
def test_sets_are_what_they_say(name: str) -> None:
    sample = SAMPLES[name]
    pictures = sample_pictures(name)
    assert len(pictures) == sample.count
    assert len({picture.name for picture in pictures}) == sample.count
    assert {picture.label for picture in pictures} == set(range(len(sample.classes)))
    for picture in pictures:
        assert picture.pixels.dtype == np.uint8
        assert picture.pixels.ndim == 3
        assert picture.pixels.shape[2] == 3
        assert picture.label is not None
        assert picture.class_name == sample.classes[picture.label]
        assert re.fullmatch(r"[a-z]+-\d+", picture.name)
        assert not picture.pixels.flags.writeable


def test_photos_are_distinct_and_colourful() -> None:
    pictures = photos()
    assert len(pictures) >= 32
    assert len({picture.pixels.tobytes() for picture in pictures}) == len(pictures)
    for picture in pictures:
        assert np.ptp(picture.pixels.astype(int), axis=2).max() > 20  # some pixel is no grey


def test_lfw_order_shows_faces_first_and_everything_once() -> None:
    order = lfw_order()
    assert sorted(order) == list(range(200))
    assert sum(row < 100 for row in order[:8]) == 7
    assert sum(row < 100 for row in order[:16]) == 14
    assert order[:9] == [0, 1, 2, 3, 4, 5, 6, 100, 7]


def test_lfw_pixels_are_scikit_images() -> None:
    from skimage.data import lfw_subset

    crops = lfw_subset()  # type: ignore[no-untyped-call]
    for picture in lfw()[::17]:
        row = int(picture.name[-3:])
        assert picture.pixels.shape == (25, 25, 3)
        assert np.abs(picture.pixels[..., 0] / 255 - crops[row]).max() <= 0.5 / 255 + 1e-12
        assert (picture.class_name == "face") == (row < 100)


def test_photos_are_made_by_the_command(tmp_path: Path) -> None:
    made = {path.name: path for path in make_photos(tmp_path)}
    shipped = {path.name: path for path in (ASSETS / "photos").iterdir()}
    assert made.keys() == shipped.keys()
    for name, path in made.items():
        with Image.open(path) as new, Image.open(shipped[name]) as old:
            assert np.array_equal(np.asarray(new), np.asarray(old))
    assert tuple(CROPS) == PHOTO_CLASSES


def test_every_asset_has_its_licence() -> None:
    listed = re.findall(r"`(photos/[^`]*)`", (ASSETS / "LICENCES.md").read_text(encoding="utf-8"))
    files = [path.relative_to(ASSETS).as_posix() for path in ASSETS.rglob("*") if path.is_file()]
    unlisted = [name for name in files if name != "LICENCES.md" and not any(fnmatch(name, rule) for rule in listed)]
    assert unlisted == []
    assert all(any(fnmatch(name, rule) for name in files) for rule in listed)


def test_unknown_set_names_its_neighbours() -> None:
    with pytest.raises(UserError, match="did you mean photos"):
        sample_pictures("photo")

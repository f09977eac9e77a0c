"""Any folder of class folders."""

from pathlib import Path

import numpy as np
import pytest

from core.errors import UserError
from core.images.datasets import input_of, open_dataset
from core.settings import Settings
from tests.images.dataset_files import class_folder, encoded, of_class


def test_classes_names_and_pictures_of_unequal_sizes(settings: Settings, tmp_path: Path) -> None:
    folder = class_folder(tmp_path / "mine", {"owl": 3, "cat": 2, "empty": 0})
    dataset = open_dataset(f"folder:{folder}", settings)
    assert dataset.classes == ("cat", "owl")
    assert [entry.name for entry in dataset.entries] == ["cat-0", "cat-1", "owl-0", "owl-1", "2"]
    assert (dataset.title, dataset.published_split) == ("mine", False)
    pictures = dataset.pictures([0, 4])
    assert [picture.pixels.shape for picture in pictures] == [(24, 24, 3), (26, 26, 3)]
    np.testing.assert_array_equal(pictures[1].pixels, of_class(0, 2, 26))
    assert input_of(f"folder:{folder}", settings).size == 32  # the smallest that is recommended


def test_train_and_val_folders_are_a_split(settings: Settings, tmp_path: Path) -> None:
    class_folder(tmp_path / "mine" / "train", {"a": 2, "b": 1})
    class_folder(tmp_path / "mine" / "val", {"a": 1})
    dataset = open_dataset(f"folder:{tmp_path / 'mine'}", settings)
    assert dataset.published_split
    assert [(entry.label, entry.part) for entry in dataset.entries] == [
        *((0, "train"), (0, "train"), (1, "train"), (0, "test"))
    ]
    assert len({entry.name for entry in dataset.entries}) == 4


def test_recommended_size_is_the_median_side_rounded_to_sixteens(settings: Settings, tmp_path: Path) -> None:
    for group, sides in (("a", (50, 100)), ("b", (97, 400))):
        (tmp_path / "big" / group).mkdir(parents=True)
        for side in sides:
            (tmp_path / "big" / group / f"{side}.png").write_bytes(encoded(of_class(0, 0, side)))
    assert input_of(f"folder:{tmp_path / 'big'}", settings).size == 96  # the median of 50, 97, 100, 400 is 98.5


def test_a_folder_with_one_class_none_or_other_formats(settings: Settings, tmp_path: Path) -> None:
    one = class_folder(tmp_path / "one", {"a": 2})
    with pytest.raises(UserError, match=r"'one' holds one class \(a\); a data set has at least two"):
        open_dataset(f"folder:{one}", settings)
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="'none' holds no class folders with PNG"):
        open_dataset(f"folder:{tmp_path / 'none'}", settings)
    class_folder(one, {"b": 1})
    (one / "b" / "x.bmp").write_bytes(b"BM")
    with pytest.raises(UserError, match=r"b/x.bmp is a BMP, where PNG, JPEG or WebP are taken"):
        open_dataset(f"folder:{one}", settings)
    with pytest.raises(UserError, match="There is no folder at"):
        open_dataset(f"folder:{tmp_path / 'nowhere'}", settings)


def test_a_broken_picture_is_named_with_its_folder(settings: Settings, tmp_path: Path) -> None:
    folder = class_folder(tmp_path / "mine", {"a": 2, "b": 2})
    whole = (folder / "b" / "1.png").read_bytes()
    (folder / "b" / "1.png").write_bytes(whole[: len(whole) // 2])
    dataset = open_dataset(f"folder:{folder}", settings)
    with pytest.raises(UserError, match=r"In b/ of 'mine': 1\.png is damaged"):
        dataset.pictures([0, 3])


def test_hidden_files_and_links_that_leave_the_folder_are_left_out(settings: Settings, tmp_path: Path) -> None:
    folder = class_folder(tmp_path / "mine", {"a": 1, "b": 1})
    outside = class_folder(tmp_path / "outside", {"c": 2})
    (folder / "c").symlink_to(outside / "c")
    (folder / "a" / "link.png").symlink_to(outside / "c" / "0.png")
    (folder / "a" / ".hidden.png").write_bytes(b"x")
    assert [entry.name for entry in open_dataset(f"folder:{folder}", settings).entries] == ["a-0", "b-0"]


def test_other_sizes_are_other_contents(settings: Settings, tmp_path: Path) -> None:
    folder = class_folder(tmp_path / "mine", {"a": 2, "b": 2})
    before = open_dataset(f"folder:{folder}", settings).fingerprint
    assert open_dataset(f"folder:{folder}", settings).fingerprint == before
    (folder / "a" / "0.png").write_bytes(encoded(of_class(0, 0, 60)))
    assert open_dataset(f"folder:{folder}", settings).fingerprint != before

"""Parquet files of images as Hugging Face's datasets writes them."""

from pathlib import Path

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from core.errors import UserError
from core.images.datasets import open_dataset
from core.images.sets import parquet as reader
from core.settings import Settings
from tests.images.dataset_files import encoded, of_class, parquet_file


def test_a_folder_of_shards_with_class_names_and_a_split(settings: Settings, tmp_path: Path) -> None:
    parquet_file(tmp_path / "set" / "train-00000-of-00002.parquet", 10)
    parquet_file(tmp_path / "set" / "train-00001-of-00002.parquet", 5)
    parquet_file(tmp_path / "set" / "test-00000-of-00001.parquet", 4)
    dataset = open_dataset(f"parquet:{tmp_path / 'set'}", settings)
    assert dataset.classes == ("cat", "dog", "owl")
    assert [entry.part for entry in dataset.entries] == ["test"] * 4 + ["train"] * 15
    picture, first = dataset.pictures([4 + 10 + 3, 1])  # row 3 of the second training shard, row 1 of the test shard
    np.testing.assert_array_equal(picture.pixels, of_class(0, 3, 36))
    np.testing.assert_array_equal(first.pixels, of_class(1, 1, 36))
    assert (picture.name, picture.class_name) == ("set-17", "cat")


def test_only_row_groups_with_wanted_rows_are_read(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = parquet_file(tmp_path / "one.parquet", 12, groups=4)
    dataset = open_dataset(f"parquet:{path}", settings)
    read: list[int] = []

    class Watched(parquet.ParquetFile):  # type: ignore[misc]
        def read_row_group(self, i: int, *args: object, **more: object) -> pyarrow.Table:
            read.append(i)
            return super().read_row_group(i, *args, **more)

    monkeypatch.setattr(reader, "_open", Watched)
    dataset.pictures([9, 1, 10])
    assert read == [0, 2]  # rows 0 to 3 and 8 to 11


def test_plain_bytes_and_labels_as_texts(settings: Settings, tmp_path: Path) -> None:
    cells = [encoded(of_class(n % 2, n, 20)) for n in range(4)]
    parquet.write_table(pyarrow.table({"img": cells, "label": ["owl", "cat", "owl", "cat"]}), tmp_path / "a.parquet")
    dataset = open_dataset(f"parquet:{tmp_path / 'a.parquet'}", settings)
    assert dataset.classes == ("cat", "owl")
    assert [entry.label for entry in dataset.entries] == [1, 0, 1, 0]
    np.testing.assert_array_equal(dataset.pictures([2])[0].pixels, of_class(0, 2, 20))


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"x": [b"a"], "label": [1]}, None),
        ({"image": ["text"], "label": [1]}, r"has no column of pictures \(it has image, label\); call it image"),
        ({"image": [b"a", b"b"], "y": [1, 2]}, "has no column of labels"),
        ({"image": [b"a", b"b"], "label": [1, 1]}, r"has one class \(1\)"),
        ({"image": [b"a", b"b"], "label": [1.5, 2.5]}, "Row 1 of a.parquet has the label 1.5"),
        ({"image": [b"a", b"b"], "label": [1, None]}, "Row 2 of a.parquet has the label None"),
    ],
)
def test_wrong_tables_are_one_sentence(
    settings: Settings, tmp_path: Path, columns: dict[str, list[object]], sentence: str | None
) -> None:
    parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=sentence or "has one class"):
        open_dataset(f"parquet:{tmp_path / 'a.parquet'}", settings)


def test_wrong_files_and_cells_are_one_sentence(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(UserError, match=r"a\.parquet is not a whole Parquet file"):
        open_dataset(f"parquet:{tmp_path / 'a.parquet'}", settings)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"holds no file that ends with .parquet"):
        open_dataset(f"parquet:{tmp_path / 'empty'}", settings)
    with pytest.raises(UserError, match="no Parquet file or folder at"):
        open_dataset(f"parquet:{tmp_path / 'nowhere'}", settings)
    cells = [{"bytes": None, "path": "a.png"}, {"bytes": b"BM..", "path": "b.png"}]
    image = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    parquet.write_table(
        pyarrow.table({"image": pyarrow.array(cells, image), "label": [0, 1]}), tmp_path / "cells.parquet"
    )
    dataset = open_dataset(f"parquet:{tmp_path / 'cells.parquet'}", settings)
    with pytest.raises(UserError, match=r"Row 1 of cells.parquet holds no picture's bytes"):
        dataset.pictures([0])
    with pytest.raises(UserError, match="cells-1 is a BMP"):
        dataset.pictures([1])

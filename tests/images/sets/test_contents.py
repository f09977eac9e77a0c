"""A fingerprint covers the pictures themselves: other pixels under the same names and labels are another data set."""

import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from core.errors import UserError
from core.images.dataset import DataChoice
from core.images.datasets import open_dataset
from core.images.sampling import choose, fix, read_list, write_list
from core.images.sets import cache
from core.jobs.prepared import prepared_images
from core.models.spec import ModelSpec
from core.settings import Settings
from tests.images.dataset_files import (
    celeba_files,
    cifar10_archive,
    encoded,
    fashion_files,
    imagenette_archive,
    tar,
)

MINUTE = 60 * 10**9


def flat(shade: int) -> bytes:
    """A PNG of one shade: the same number of bytes whatever the shade."""
    return encoded(np.full((20, 20, 3), shade, np.uint8))


def parquet_of(path: Path, first: int) -> None:
    cells = [{"bytes": flat(first + row), "path": None} for row in range(8)]
    parquet.write_table(pyarrow.table({"image": cells, "label": [0, 1] * 4}), path)


def test_overwritten_parquet_trains_on_the_new_pixels_and_refuses_the_old_choice(
    settings: Settings, tmp_path: Path
) -> None:
    path, name = tmp_path / "x.parquet", f"parquet:{tmp_path / 'x.parquet'}"
    parquet_of(path, 10)
    before = open_dataset(name, settings)
    kept, listed = fix(before, DataChoice(name)), write_list(before, DataChoice(name, count=2))
    spec = ModelSpec("lenet", 2)
    old = prepared_images(settings, kept, spec, lambda: None)
    parquet_of(path, 100)
    os.utime(path, ns=(0, path.stat().st_mtime_ns + MINUTE))
    after = open_dataset(name, settings)
    new = prepared_images(settings, fix(after, DataChoice(name)), spec, lambda: None)
    assert int(old.images.max()) < 100 <= int(new.images.min())
    with pytest.raises(UserError, match="is not what it was"):
        choose(after, kept)
    with pytest.raises(UserError, match="is not what it was"):
        read_list(listed, after)


def change_cifar(folder: Path) -> None:
    with tarfile.open(folder / "cifar-10-binary.tar.gz") as archive:
        files = {m.name: archive.extractfile(m).read() for m in archive}  # type: ignore[union-attr]
    name = next(one for one in files if one.endswith("data_batch_2.bin"))
    files[name] = files[name][:100] + bytes([255 - files[name][100]]) + files[name][101:]
    tar(folder / "cifar-10-binary.tar.gz", files)


def change_idx(folder: Path) -> None:
    import gzip

    path = folder / "t10k-images-idx3-ubyte.gz"
    data = bytearray(gzip.decompress(path.read_bytes()))
    data[-1] ^= 255
    path.write_bytes(gzip.compress(bytes(data)))


@pytest.mark.parametrize(
    ("name", "make", "change"),
    [
        ("cifar10", lambda folder: cifar10_archive(folder / "cifar-10-binary.tar.gz"), change_cifar),
        ("fashion-mnist", fashion_files, change_idx),
    ],
)
def test_one_other_pixel_is_another_data_set(
    settings: Settings, name: str, make: Callable[[Path], object], change: Callable[[Path], None]
) -> None:
    make(settings.datasets / name)
    before = open_dataset(name, settings)
    change(settings.datasets / name)
    after = open_dataset(name, settings)
    assert [e.label for e in after.entries] == [e.label for e in before.entries]
    assert after.fingerprint != before.fingerprint


@pytest.mark.parametrize("whole", [True, False], ids=["contents", "size and time"])
def test_a_picture_overwritten_in_a_folder_counts(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    monkeypatch.setattr(cache, "READ_WHOLE", cache.READ_WHOLE if whole else 0)
    for group in ("a", "b"):
        (tmp_path / "mine" / group).mkdir(parents=True)
        (tmp_path / "mine" / group / "0.png").write_bytes(flat(10))
    before = open_dataset(f"folder:{tmp_path / 'mine'}", settings).fingerprint
    path = tmp_path / "mine" / "a" / "0.png"
    assert len(flat(20)) == path.stat().st_size
    path.write_bytes(flat(20))
    os.utime(path, ns=(0, path.stat().st_mtime_ns + MINUTE))
    assert open_dataset(f"folder:{tmp_path / 'mine'}", settings).fingerprint != before
    if whole:  # so that a list is good for a copy of the folder, whenever it was made
        path.write_bytes(flat(10))
        os.utime(path, ns=(0, MINUTE))
        assert open_dataset(f"folder:{tmp_path / 'mine'}", settings).fingerprint == before


def test_a_picture_overwritten_in_an_unpacked_archive_counts(settings: Settings) -> None:
    folder = settings.datasets / "celeba"
    celeba_files(folder)
    with zipfile.ZipFile(folder / "img_align_celeba.zip") as archive:
        archive.extractall(folder)
    (folder / "img_align_celeba.zip").unlink()
    before = open_dataset("celeba", settings).fingerprint
    path = next((folder / "img_align_celeba").glob("*.jpg"))
    path.write_bytes(path.read_bytes()[:-3] + b"x" + path.read_bytes()[-2:])
    os.utime(path, ns=(0, path.stat().st_mtime_ns + MINUTE))
    assert open_dataset("celeba", settings).fingerprint != before


def test_zips_and_plain_tars_of_class_folders_are_read_where_they_lie(settings: Settings, tmp_path: Path) -> None:
    path = imagenette_archive(settings.datasets / "imagenette" / "imagenette2-160.tgz")
    copied = open_dataset("imagenette", settings)
    pictures = copied.pictures(range(len(copied.entries)))
    with tarfile.open(path) as archive:
        files = {m.name: archive.extractfile(m).read() for m in archive if m.isreg()}  # type: ignore[union-attr]
    for kind in ("stored", "deflated", "tar"):
        if kind == "tar":
            tar(path, files, "w:")
        else:
            packing = zipfile.ZIP_STORED if kind == "stored" else zipfile.ZIP_DEFLATED
            with zipfile.ZipFile(path, "w", packing) as made:
                for name, content in files.items():
                    made.writestr(name, content)
        dataset = open_dataset("imagenette", settings)
        assert not list((settings.home / "indexes").rglob("pictures.bin")), kind
        assert dataset.fingerprint == copied.fingerprint, kind
        for one, other in zip(dataset.pictures(range(len(dataset.entries))), pictures, strict=True):
            np.testing.assert_array_equal(one.pixels, other.pixels)

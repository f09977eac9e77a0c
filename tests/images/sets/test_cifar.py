"""CIFAR's two archives, in the publisher's own layout."""

import errno
import pickle
from pathlib import Path

import numpy as np
import pytest

from core.errors import UserError
from core.images.dataset import Entry
from core.images.datasets import open_dataset
from core.images.sets import cache
from core.images.sets.cifar import open_cifar
from core.images.sets.unpickle import strict_load
from core.settings import Settings
from tests.images.dataset_files import (
    CIFAR10_CLASSES,
    cifar10_archive,
    cifar100_archive,
    cifar_python_archive,
    cifar_record,
    of_class,
    python2_pickle,
    tar,
)

BINARY = "cifar-100-binary.tar.gz"


def test_cifar100_reads_labels_and_planes_where_the_publisher_puts_them(settings: Settings) -> None:
    cifar100_archive(settings.datasets / "cifar100" / BINARY, per_class=2)
    dataset = open_dataset("cifar100", settings)
    assert len(dataset.classes) == 100
    assert dataset.classes[7] == "thing_07"
    assert dataset.published_split
    assert len(dataset.entries) == 300
    assert dataset.entries[107] == Entry("train-00107", 7, "train")  # the second picture of class 7
    assert dataset.entries[207] == Entry("test-00007", 7, "test")
    train, test = dataset.pictures([107, 207])
    np.testing.assert_array_equal(train.pixels, of_class(7, 1, 32))
    np.testing.assert_array_equal(test.pixels, of_class(7, 2, 32))
    assert (train.name, train.label, train.class_name) == ("train-00107", 7, "thing_07")


def test_a_record_of_cifar100_has_3074_bytes_coarse_label_first() -> None:
    pixels = np.arange(3072, dtype=np.uint32).astype(np.uint8).reshape(32, 32, 3)
    record = cifar_record(42, pixels, coarse=8)
    assert len(record) == 3074
    assert record[:2] == bytes([8, 42])
    assert record[2] == pixels[0, 0, 0]
    assert record[2 + 1024] == pixels[0, 0, 1]  # the green plane begins after 32 × 32 reds


def test_cifar10_reads_five_batches_in_order(settings: Settings) -> None:
    cifar10_archive(settings.datasets / "cifar10" / "cifar-10-binary.tar.gz")
    dataset = open_dataset("cifar10", settings)
    assert dataset.classes == CIFAR10_CLASSES
    assert [entry.part for entry in dataset.entries].count("train") == 100
    (picture,) = dataset.pictures([20 * 3 + 10 + 4])  # the fourth batch, second picture of class 4
    np.testing.assert_array_equal(picture.pixels, of_class(4, 3 * 2 + 1, 32))


def test_the_python_archive_is_the_same_data_set(settings: Settings, tmp_path: Path) -> None:
    binary = open_cifar("cifar100", "CIFAR-100", cifar100_archive(tmp_path / BINARY, per_class=2), settings)
    archive = cifar_python_archive(tmp_path / "cifar-100-python.tar.gz", per_class=2)
    pickled = open_cifar("cifar100", "CIFAR-100", archive, settings)
    assert pickled.fingerprint == binary.fingerprint
    for one, other in zip(pickled.pictures([0, 205]), binary.pictures([0, 205]), strict=True):
        np.testing.assert_array_equal(one.pixels, other.pixels)


def test_the_index_is_kept_and_made_anew_for_another_archive(settings: Settings) -> None:
    path = cifar100_archive(settings.datasets / "cifar100" / BINARY, per_class=1)
    first = open_dataset("cifar100", settings)
    (folder,) = (settings.home / "indexes").iterdir()
    made = (folder / "index.json").stat().st_mtime_ns
    assert open_dataset("cifar100", settings).fingerprint == first.fingerprint
    assert (folder / "index.json").stat().st_mtime_ns == made
    cifar100_archive(path, per_class=2)
    second = open_dataset("cifar100", settings)
    assert second.fingerprint != first.fingerprint
    assert len(list((settings.home / "indexes").iterdir())) == 1  # the old one is gone
    assert len(second.entries) == len(first.entries) + 100


def test_no_space_left_is_one_sentence_and_leaves_nothing(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    cifar100_archive(settings.datasets / "cifar100" / BINARY, per_class=1)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(cache.Blob, "add", full)
        with pytest.raises(UserError, match="no space left on the disk of SEMSIGHT_HOME; free some and try again"):
            open_dataset("cifar100", settings)
    assert list((settings.home / "indexes").iterdir()) == []
    assert len(open_dataset("cifar100", settings).entries) == 200


def test_a_truncated_archive_is_one_sentence_and_leaves_nothing(settings: Settings) -> None:
    path = cifar100_archive(settings.datasets / "cifar100" / BINARY, per_class=1)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match=r"cifar-100-binary.tar.gz is damaged or not whole .*; get it again\."):
        open_dataset("cifar100", settings)
    assert list((settings.home / "indexes").iterdir()) == []


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"readme.txt": b"hello"}, "not the archive of CIFAR-100: it holds no fine_label_names.txt"),
        (
            {
                "x/fine_label_names.txt": b"a\n" * 100,
                "x/train.bin": bytes(3074),
                "x/test.bin": bytes(3073),
            },
            "test.bin holds 3,073 bytes, which are no whole records of 3,074",
        ),
        (
            {"x/fine_label_names.txt": b"a\n" * 99, "x/train.bin": bytes(3074), "x/test.bin": bytes(3074)},
            "names 99 classes, where 100 belong",
        ),
        (
            {
                "x/fine_label_names.txt": b"a\n" * 100,
                "x/train.bin": bytes([0, 100]) + bytes(3072),
                "x/test.bin": bytes(3074),
            },
            "has a label 100, where 0 to 99 belong",
        ),
    ],
)
def test_a_wrong_archive_is_one_sentence(settings: Settings, files: dict[str, bytes], sentence: str) -> None:
    folder = settings.datasets / "cifar100"
    folder.mkdir(parents=True)
    tar(folder / BINARY, files)
    with pytest.raises(UserError, match=sentence):
        open_dataset("cifar100", settings)


def test_something_that_is_no_archive(settings: Settings) -> None:
    folder = settings.datasets / "cifar100"
    folder.mkdir(parents=True)
    (folder / BINARY).write_bytes(b"<html>quota exceeded</html>")
    with pytest.raises(UserError, match="is not a tar archive"):
        open_dataset("cifar100", settings)


def test_members_are_never_written_under_their_own_names(settings: Settings, tmp_path: Path) -> None:
    path = cifar100_archive(settings.datasets / "cifar100" / BINARY, per_class=1)
    tar(path, {"../../evil.bin": b"x", "/etc/evil": b"x", "c/fine_label_names.txt": b"a\n" * 100})
    with pytest.raises(UserError):
        open_dataset("cifar100", settings)
    assert not list(tmp_path.rglob("evil*"))


class Harm:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.system, ("touch harmed",)


@pytest.mark.parametrize(
    "data",
    [
        pickle.dumps({"data": Harm()}, protocol=2),
        pickle.dumps({b"data": np.zeros(3, dtype=object)}, protocol=2),
        pickle.dumps({b"data": np.zeros(3, dtype=np.float64)}, protocol=2),
        pickle.dumps({b"data": {1, 2}}, protocol=2),
        pickle.dumps([1, 2], protocol=2),
        pickle.dumps({b"data": print}, protocol=2),
        python2_pickle({b"data": np.zeros((3, 3), dtype=np.uint8)})[:-8],
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"\x80\x02}(U\x01acnumpy\nload\nu.",
        b"\x80\x02}U\x01ar\xff\xff\xff\x7f",  # a memo of two thousand million entries
        b"\x80\x02}U\x01a](]h\x00eu.",
        b"\x80\x05\x96\xff\xff\xff\xff\x0f\x00\x00\x00.",  # a bytearray of 64 GiB
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n}U\x01aK\x01sb.",  # a state for a function
        b"",
    ],
)
def test_the_strict_reader_takes_nothing_else(data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="it was not read"):
        strict_load(data, "train")
    assert list(tmp_path.iterdir()) == []


def test_the_strict_reader_reads_what_python_3_writes_too() -> None:
    array = np.arange(12, dtype=np.uint8).reshape(3, 4)
    found = strict_load(pickle.dumps({"data": array, "labels": [1, 2, 3], b"name": b"x"}, protocol=2), "train")
    np.testing.assert_array_equal(found["data"], array)
    assert (found["labels"], found["name"]) == ([1, 2, 3], b"x")

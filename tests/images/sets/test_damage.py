"""Damaged files of every format: a sentence each time, never another error."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from core.errors import UserError
from core.images.datasets import open_dataset
from core.images.sets.unpickle import strict_load
from core.settings import Settings
from tests.images.dataset_files import (
    caltech_archive,
    celeba_files,
    cifar100_archive,
    dogs_files,
    fashion_files,
    imagenette_archive,
    parquet_file,
    python2_pickle,
)

TRIES = 12  # damaged versions of each
WRITERS: dict[str, Callable[[Path], object]] = {
    "cifar100": lambda folder: cifar100_archive(folder / "cifar-100-binary.tar.gz", per_class=1, classes=3),
    "fashion-mnist": lambda folder: fashion_files(folder, per_class=1),
    "caltech101": lambda folder: caltech_archive(folder / "caltech-101.zip", per_class=2, classes=2),
    "imagenette": lambda folder: imagenette_archive(folder / "imagenette2-160.tgz", train=1, held=1),
    "stanford-dogs": lambda folder: dogs_files(folder, train=1, held=1),
    "celeba:Smiling": lambda folder: celeba_files(folder, each=2),
    "parquet:": lambda folder: parquet_file(folder / "train-0.parquet", 6, groups=2),
}


def damaged(data: bytes, generator: random.Random) -> bytes:
    """Cut off, some bytes changed, or a stretch overwritten."""
    kind, place = generator.randrange(3), generator.randrange(len(data))
    if kind == 0:
        return data[:place]
    changed = bytearray(data)
    if kind == 1:
        for _ in range(4):
            changed[generator.randrange(len(data))] = generator.randrange(256)
    else:
        changed[place : place + 200] = generator.randbytes(len(changed[place : place + 200]))
    return bytes(changed)


@pytest.mark.parametrize("name", WRITERS)
def test_damage_is_a_sentence_or_no_harm(name: str, settings: Settings) -> None:
    folder = settings.datasets / (name.partition(":")[0])
    WRITERS[name](folder)
    asked = f"parquet:{folder}" if name == "parquet:" else name
    whole = open_dataset(asked, settings)
    generator = random.Random(7)
    said: list[str] = []
    for _ in range(TRIES):
        path = generator.choice(sorted(folder.iterdir()))
        before = path.read_bytes()
        path.write_bytes(damaged(before, generator))
        try:
            dataset = open_dataset(asked, settings)
            dataset.pictures(range(len(dataset.entries)))
        except UserError as error:
            said.append(str(error))
        path.write_bytes(before)
    assert said  # some of the damage was met
    assert not [sentence for sentence in said if "\n" in sentence]
    assert open_dataset(asked, settings).fingerprint == whole.fingerprint
    assert not list((settings.home / "indexes").glob("*.part"))


def test_damaged_pickles_are_a_sentence_or_no_harm() -> None:
    data = python2_pickle({b"labels": [1, 2, 3], b"name": b"abc", b"more": [b"x"] * 3})
    generator, said = random.Random(3), 0
    for _ in range(400):
        try:
            strict_load(damaged(data, generator), "train")
        except UserError:
            said += 1
    assert said > 200

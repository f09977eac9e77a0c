"""The table of published data sets, and opening by name."""

import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import UserError
from core.images.datasets import (
    DATASETS,
    InputFormat,
    how_to_place,
    input_of,
    is_here,
    is_name,
    missing_files,
    open_dataset,
    record_of,
)
from core.images.sets.cifar import LAYOUTS
from core.settings import Settings
from tests.images.dataset_files import cifar100_archive

PUBLISHED = [name for name, record in DATASETS.items() if not record.bundled]


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_record_is_whole(name: str) -> None:
    record = DATASETS[name]
    assert record.licence.endswith(".")
    assert record.homepage.startswith("http")
    assert len(record.mean) == len(record.std) == record.channels
    for file in record.files:
        kind, _, digits = file.checksum.partition(":")
        assert len(digits) == {"md5": 32, "sha256": 64}[kind]
        assert file.bytes > 0
        assert bool(file.url) != bool(record.by_hand)  # an address, or a reason why there is none
        assert "/" not in file.name


@pytest.mark.parametrize(
    ("name", "size"),
    [("cifar100", 32), ("caltech101", 64), ("imagenette", 112), ("celeba", 64), ("stanford-dogs", 64)],
)
def test_the_papers_input_sizes(name: str, size: int, settings: Settings) -> None:
    assert input_of(name, settings).size == size  # arXiv 2309.13038, its code


def test_input_of_a_bundled_set_and_an_unknown_one(settings: Settings) -> None:
    assert input_of("lfw", settings) == InputFormat(3, 32, (0.5,) * 3, (0.25,) * 3)
    with pytest.raises(UserError, match="There is no data set called 'qqq'; known: cifar100"):
        input_of("qqq", settings)


def test_layouts_have_their_classes() -> None:
    for name, layout in LAYOUTS.items():
        assert layout.classes == DATASETS[name].classes


def test_bundled_sets_are_data_sets_without_a_published_split(settings: Settings) -> None:
    lfw, photos = open_dataset("lfw", settings), open_dataset("photos", settings)
    assert (len(lfw.entries), len(photos.entries)) == (200, 32)
    assert not lfw.published_split
    assert [entry.part for entry in photos.entries].count("test") == 8  # two of each photograph's eight
    assert lfw.pictures([0])[0].name == "face-000"
    assert is_here("lfw", settings)


def test_unknown_names_get_their_neighbours(settings: Settings) -> None:
    for name, near in (("cifar-100", "cifar100"), ("Imagenete", "imagenette"), ("dogs", "stanford-dogs")):
        with pytest.raises(UserError, match=f"no data set called '{name}'; did you mean .*{near}"):
            open_dataset(name, settings)
    with pytest.raises(UserError, match="no data set called 'cifar100:x'"):
        open_dataset("cifar100:x", settings)


def test_missing_files_are_named_with_their_place(settings: Settings) -> None:
    assert [file.name for file in missing_files("stanford-dogs", settings)] == ["images.tar", "lists.tar"]
    sentence = how_to_place("stanford-dogs", settings)
    assert f"put them in {settings.datasets / 'stanford-dogs'}/ under these names" in sentence
    with pytest.raises(UserError, match="or run python -m core datasets download cifar100"):
        open_dataset("cifar100", settings)
    cifar100_archive(settings.datasets / "cifar100" / "cifar-100-binary.tar.gz", per_class=1)
    assert is_here("cifar100", settings)
    assert "is complete in" in how_to_place("cifar100", settings)


def test_a_variant_is_its_data_sets_record(settings: Settings) -> None:
    assert record_of("celeba:Smiling") is DATASETS["celeba"]
    assert record_of("lfw-people:10") is DATASETS["lfw-people"]
    assert [is_name(name) for name in ("celeba:Young", "folder:x", "lfw", "some/folder", "C:x")] == [
        *(True, True, True, False, False)
    ]


def test_no_torch_is_imported() -> None:
    modules = "core.images.sampling, core.images.datasets, core.images.download, core.jobs.fetch_data"
    code = f"import sys, {modules}; raise SystemExit('torch' in sys.modules)"
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0

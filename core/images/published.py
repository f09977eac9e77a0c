"""Published data sets: what they are, whose rules they come under, and which files of theirs go where. No torch.

The records lie in assets/datasets/datasets.json. Checksums are the publishers' own where they state one; else
those that torchvision, scikit-learn and TensorFlow Datasets check the same files with.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from pathlib import Path

from core.errors import UserError
from core.registry import look_up, register
from core.settings import Settings
from core.storage.space import size_words

TABLE = Path(__file__).resolve().parents[2] / "assets" / "datasets" / "datasets.json"


@dataclass(frozen=True)
class DataFile:
    """One file of a data set under SEMSIGHT_DATASETS/NAME/."""

    name: str
    url: str  # "" where there is no address that gives it to a program: by hand only
    checksum: str  # "md5:…" or "sha256:…"
    bytes: int
    instead: tuple[str, ...] = ()  # other files or unpacked folders that are read in its place


@dataclass(frozen=True)
class DataRecord:
    """One data set: for people, and for the victims that are trained on it."""

    name: str
    title: str
    summary: str
    classes: int  # how many
    images: int
    licence: str  # what its publisher says, in a sentence
    homepage: str
    files: tuple[DataFile, ...]
    split: str  # who splits it, in words
    channels: int
    size: int  # recommended input of a victim, pixels; the paper's where it used the data set
    mean: tuple[float, ...]  # of images in [0, 1], one number a channel
    std: tuple[float, ...]
    by_hand: str = ""  # why it cannot be downloaded; "" where it can
    bundled: bool = False  # comes with SemSight: nothing to place or download

    @property
    def bytes(self) -> int:
        """Size of all files to download."""
        return sum(file.bytes for file in self.files)


DATASETS: dict[str, DataRecord] = {}


def record_of(name: str) -> DataRecord:
    """The record of a published or bundled set; `celeba:Smiling` and `lfw-people:10` are the sets before the colon.

    Raises UserError that names the nearest for an unknown one.
    """
    base = name.partition(":")[0]
    return look_up(DATASETS, base if base in VARIANTS else name, "data set")


def folder_of(record: DataRecord, settings: Settings) -> Path:
    """Where its files belong."""
    return settings.datasets / record.name


def found_file(record: DataRecord, file: DataFile, settings: Settings) -> Path | None:
    """The file, or what is read instead of it; None where neither is there."""
    folder = folder_of(record, settings)
    return next((folder / name for name in (file.name, *file.instead) if (folder / name).exists()), None)


def missing_files(name: str, settings: Settings) -> tuple[DataFile, ...]:
    """Files of the set that are not there; empty when it can be opened."""
    record = record_of(name)
    return tuple(file for file in record.files if found_file(record, file, settings) is None)


def is_here(name: str, settings: Settings) -> bool:
    """Whether all files of the set are in place (looked for, not read)."""
    return not missing_files(name, settings)


def differing_files(name: str, settings: Settings) -> tuple[tuple[DataFile, int], ...]:
    """Files that lie under their published name with another size, and that size in bytes (looked at, not read)."""
    record = record_of(name)
    found = []
    for file in record.files:
        path = folder_of(record, settings) / file.name
        if file.bytes and path.is_file() and (size := path.stat().st_size) != file.bytes:
            found.append((file, size))
    return tuple(found)


def difference(name: str, settings: Settings) -> str:
    """What is other than the publisher's, in a sentence; "" where nothing is."""
    told = [
        f"{file.name} has {size_words(size)} where the publisher's has {size_words(file.bytes)}"
        if size_words(size) != size_words(file.bytes)
        else f"{file.name} has {size:,} bytes where the publisher's has {file.bytes:,}"
        for file, size in differing_files(name, settings)
    ]
    return f"It differs from the publisher's: {', '.join(told)}." if told else ""


def set_aside(name: str, settings: Settings) -> tuple[Path, ...]:
    """Rename the files that differ, so that the publisher's can be fetched; where they lie now. Nothing is deleted.

    Raises UserError where a file cannot be renamed.
    """
    moved = []
    for file, _ in differing_files(name, settings):
        path = folder_of(record_of(name), settings) / file.name
        number = next(n for n in itertools.count(1) if not path.with_name(f"{file.name}.aside-{n}").exists())
        target = path.with_name(f"{file.name}.aside-{number}")
        try:
            path.rename(target)
        except OSError as error:
            raise UserError(f"{path} cannot be renamed ({error.strerror}); move it away by hand.") from error
        moved.append(target)
    return tuple(moved)


def how_to_place(name: str, settings: Settings) -> str:
    """Where the missing files are had and where they go, in a sentence or two."""
    record = record_of(name)
    missing = missing_files(name, settings)
    if not missing:
        return f"{record.title} is complete in {folder_of(record, settings)}."
    names = ", ".join(file.name for file in missing)
    place = f"Get {names} from {record.homepage} and put {'it' if len(missing) == 1 else 'them'} in "
    return f"{place}{folder_of(record, settings)}/ under {'that name' if len(missing) == 1 else 'these names'}."


VARIANTS = ("celeba", "lfw-people")  # sets whose name takes a colon and a choice


def _register() -> None:
    from core.images.samples import SAMPLES

    for name, fields in json.loads(TABLE.read_text(encoding="utf-8")).items():
        files = tuple(DataFile(**{**file, "instead": tuple(file.get("instead", ()))}) for file in fields.pop("files"))
        mean, std = tuple(fields.pop("mean")), tuple(fields.pop("std"))
        register(DATASETS, name, DataRecord(name, files=files, mean=mean, std=std, **fields))
    half, quarter = (0.5,) * 3, (0.25,) * 3
    for name, sample in SAMPLES.items():
        register(
            DATASETS,
            name,
            DataRecord(
                name,
                sample.title,
                sample.summary,
                len(sample.classes),
                sample.count,
                "Free to use; each picture's own licence is in assets/images/LICENCES.md.",
                "",
                (),
                "none published; drawn by the seed",
                3,
                32,
                half,
                quarter,
                bundled=True,
            ),
        )


_register()

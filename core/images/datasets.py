"""Opening data sets by name: bundled, published, a folder of class folders, a Parquet file. No torch."""

from __future__ import annotations

import difflib
import statistics
from dataclasses import dataclass
from pathlib import Path

from core.errors import UserError
from core.images.allowed import check_allowed
from core.images.dataset import DataSet
from core.images.published import (
    DATASETS,
    VARIANTS,
    DataFile,
    DataRecord,
    difference,
    found_file,
    how_to_place,
    is_here,
    missing_files,
    record_of,
    set_aside,
)
from core.images.samples import SAMPLES
from core.settings import Settings

__all__ = [
    "DATASETS",
    "DataFile",
    "DataRecord",
    "InputFormat",
    "difference",
    "how_to_place",
    "input_of",
    "is_here",
    "is_name",
    "missing_files",
    "open_dataset",
    "record_of",
    "set_aside",
]

FOLDER, PARQUET = "folder:", "parquet:"
LOOKED_AT = 32  # pictures whose size tells a folder's
SMALLEST, LARGEST = 32, 224  # pixels of a victim's input that is told by the pictures' size


@dataclass(frozen=True)
class InputFormat:
    """What a victim of a data set takes: pixels, and the normalisation (x - mean) / std of images in [0, 1]."""

    channels: int
    size: int  # pixels, height and width
    mean: tuple[float, ...]
    std: tuple[float, ...]


def is_name(name: str) -> bool:
    """Whether the text asks for a data set, rather than for a plain folder's path."""
    return name.startswith((FOLDER, PARQUET)) or name in DATASETS or name.partition(":")[0] in VARIANTS


def open_dataset(name: str, settings: Settings) -> DataSet:
    """Open `cifar100`, `lfw`, `celeba:Smiling`, `folder:PATH`, `parquet:PATH` …: an index, no picture decoded.

    The first time, an archive without random access is unpacked into the home; after that, the index is read from
    there. Raises UserError for an unknown name (with the nearest), missing files (with how to place them), and files
    that are not what their name says, and for a path that the app may not open (core.images.allowed).
    """
    if name.startswith(FOLDER):
        from core.images.sets.folder import open_folder

        return open_folder(name, _path(name, FOLDER, settings), settings)
    if name.startswith(PARQUET):
        from core.images.sets.parquet import open_parquet

        return open_parquet(name, _path(name, PARQUET, settings), settings)
    record = _record(name)
    if record.name in SAMPLES:
        from core.images.sets.bundled import open_bundled

        return open_bundled(name)
    if missing_files(name, settings):
        fetch = "" if record.by_hand else f", or run python -m core datasets download {record.name}"
        raise UserError(f"{record.title} is not on this machine; {_lower(how_to_place(name, settings))[:-1]}{fetch}.")
    return _published(name, record, settings)


def _path(name: str, kind: str, settings: Settings) -> Path:
    """The path behind folder: or parquet:, where it may be opened; the first thing that is asked of it."""
    try:
        path = Path(name.removeprefix(kind)).expanduser()
    except RuntimeError:  # ~ of nobody
        path = Path(name.removeprefix(kind))
    check_allowed(path, settings)
    return path


def _published(name: str, record: DataRecord, settings: Settings) -> DataSet:
    paths = [path for file in record.files if (path := found_file(record, file, settings)) is not None]
    variant = name.partition(":")[2]
    if record.name in ("cifar10", "cifar100"):
        from core.images.sets.cifar import open_cifar

        return open_cifar(name, record.title, paths[0], settings)
    if record.name == "fashion-mnist":
        from core.images.sets.idx import open_fashion

        return open_fashion(name, record.title, paths, settings)
    if record.name == "celeba":
        from core.images.sets.celeba import open_celeba

        return open_celeba(name, record.title, variant, paths, settings)
    if record.name == "stanford-dogs":
        from core.images.sets.dogs import open_dogs

        return open_dogs(name, record.title, paths[0], paths[1], settings)
    from core.images.sets import class_folders

    return class_folders.OPENERS[record.name](name, record.title, paths[0], variant, settings)


def input_of(name: str, settings: Settings) -> InputFormat:
    """What a victim of this data set takes: the record's, or for a folder or Parquet file what its pictures suggest.

    There it is colour, the median of the shorter sides of 32 pictures spread over the set, rounded to a multiple of 16
    from 32 to 224, with mean 0.5 and standard deviation 0.25. Raises UserError.
    """
    if not name.startswith((FOLDER, PARQUET)):
        record = _record(name)
        return InputFormat(record.channels, record.size, record.mean, record.std)
    dataset = open_dataset(name, settings)
    step = max(1, len(dataset.entries) // LOOKED_AT)
    pictures = dataset.pictures(range(0, len(dataset.entries), step)[:LOOKED_AT])
    middle = statistics.median(min(picture.pixels.shape[:2]) for picture in pictures)
    size = min(max(16 * round(middle / 16), SMALLEST), LARGEST)
    return InputFormat(3, size, (0.5,) * 3, (0.25,) * 3)


def _record(name: str) -> DataRecord:
    base = name.partition(":")[0]
    if name in DATASETS or base in VARIANTS:
        return record_of(name)
    near = difflib.get_close_matches(name.casefold(), DATASETS, n=3, cutoff=0.4)
    hint = f"did you mean {', '.join(near)}?" if near else f"known: {', '.join(DATASETS)}"
    raise UserError(
        f"There is no data set called {name[:80]!r}; {hint.rstrip('?')}, or folder:PATH or parquet:PATH for your own."
    )


def _lower(text: str) -> str:
    return text[0].lower() + text[1:]

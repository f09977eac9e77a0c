"""CIFAR-10 and CIFAR-100: the binary archive, or the python one through a strict reader. Both give the same data set.

Binary: records of one (CIFAR-10) or two label bytes (CIFAR-100: coarse, fine) and 3,072 bytes of pixels, red plane
first (https://www.cs.toronto.edu/~kriz/cifar.html). Pixels are copied once into one flat file of our own, for random
access.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import UserError
from core.images.dataset import PARTS, TEST, TRAIN
from core.images.sets.archives import members
from core.images.sets.base import Index, Opened
from core.images.sets.cache import BLOB, Blob, cached_index
from core.images.sets.unpickle import strict_load
from core.settings import Settings

SIDE = 32
PIXELS = 3 * SIDE * SIDE
MAX_BYTES = 512 * 2**20  # of one member; the largest has 154 MB


@dataclass(frozen=True)
class Layout:
    """What the members of one of the archives are called, in the order of their records."""

    classes: int
    label_bytes: int  # before the pixels; the last one is the class
    names: str  # binary: the file of class names
    train: tuple[str, ...]
    test: tuple[str, ...]
    meta: str  # python: the file of class names …
    meta_key: str
    label_key: str
    pickled_train: tuple[str, ...]
    pickled_test: tuple[str, ...]


BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
LAYOUTS = {
    "cifar10": Layout(
        *(10, 1, "batches.meta.txt", tuple(f"{name}.bin" for name in BATCHES), ("test_batch.bin",)),
        *("batches.meta", "label_names", "labels", BATCHES, ("test_batch",)),
    ),
    "cifar100": Layout(
        *(100, 2, "fine_label_names.txt", ("train.bin",), ("test.bin",)),
        *("meta", "fine_label_names", "fine_labels", ("train",), ("test",)),
    ),
}


def open_cifar(name: str, title: str, path: Path, settings: Settings) -> Opened:
    """Open an archive of either kind, or a folder that one was unpacked to. Raises UserError."""
    layout = LAYOUTS[name]
    files = sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]
    if not files:
        raise UserError(f"The folder {path.name!r} is empty; put the archive of {title} there.")
    index, folder = cached_index(settings, name, files, lambda draft: _build(path, layout, title, draft))
    blob = np.memmap(folder / BLOB, dtype=np.uint8, mode="r", shape=(len(index.names), 3, SIDE, SIDE))

    def read(places: Sequence[int]) -> Iterable[np.ndarray]:
        return (np.ascontiguousarray(blob[place].transpose(1, 2, 0)) for place in places)

    return Opened(name, title, index, read)


def _build(path: Path, layout: Layout, title: str, draft: Path) -> Index:
    binary = (layout.names, *layout.train, *layout.test)
    pickled = (layout.meta, *layout.pickled_train, *layout.pickled_test)
    found: dict[str, bytes] = {}
    for member in members(path):
        if member.path.name in (*binary, *pickled) and len(member.path.parts) <= 2:
            found[member.path.name] = member.read(MAX_BYTES)
    if all(name in found for name in binary):
        classes = tuple(found[layout.names].decode("ascii", "replace").split())
        parts = {TRAIN: _records(found, layout.train, layout), TEST: _records(found, layout.test, layout)}
    elif all(name in found for name in pickled):
        meta = strict_load(found[layout.meta], layout.meta)
        classes = tuple(one.decode("ascii", "replace") for one in _list(meta, layout.meta_key, layout.meta, bytes))
        parts = {
            TRAIN: _pickles(found, layout.pickled_train, layout),
            TEST: _pickles(found, layout.pickled_test, layout),
        }
    else:
        missing = next(name for name in binary if name not in found)
        raise UserError(f"{path.name} is not the archive of {title}: it holds no {missing}; get the right one.")
    return _index(classes, parts, layout, title, draft)


Part = tuple[np.ndarray, np.ndarray]  # labels (N,) and pixels (N, 3072), uint8


def _index(classes: tuple[str, ...], parts: Mapping[str, Part], layout: Layout, title: str, draft: Path) -> Index:
    if len(classes) != layout.classes:
        raise UserError(
            f"The archive of {title} names {len(classes)} classes, where {layout.classes} belong; get it again."
        )
    names, labels, places, checks = [], [], [], []
    with Blob(draft) as blob:
        for part, (numbers, pixels) in parts.items():
            if len(numbers) and int(numbers.max()) >= layout.classes:
                raise UserError(
                    f"The archive of {title} has a label {int(numbers.max())}, where 0 to {layout.classes - 1} belong; "
                    "get it again."
                )
            blob.add(np.ascontiguousarray(pixels).tobytes())
            checks += [zlib.crc32(row.tobytes()) for row in pixels]
            names += [f"{part}-{number:05d}" for number in range(len(numbers))]
            labels += numbers.astype(int).tolist()
            places += [PARTS.index(part)] * len(numbers)
    return Index(classes, names, labels, places, checks=checks)


def _records(found: Mapping[str, bytes], files: Sequence[str], layout: Layout) -> Part:
    size = layout.label_bytes + PIXELS
    for name in files:
        if len(found[name]) % size or not found[name]:
            raise UserError(
                f"{name} holds {len(found[name]):,} bytes, which are no whole records of {size:,}; get the archive "
                "again."
            )
    records = np.concatenate([np.frombuffer(found[name], dtype=np.uint8).reshape(-1, size) for name in files])
    return records[:, layout.label_bytes - 1], records[:, layout.label_bytes :]


def _pickles(found: Mapping[str, bytes], files: Sequence[str], layout: Layout) -> Part:
    labels: list[int] = []
    pixels = []
    for name in files:
        batch = strict_load(found[name], name)
        numbers, data = _list(batch, layout.label_key, name, int), batch.get("data")
        if not isinstance(data, np.ndarray) or data.shape != (len(numbers), PIXELS) or not numbers:
            raise UserError(f"{name} does not hold {PIXELS:,} bytes for each of its labels; get the archive again.")
        if not all(0 <= number < layout.classes for number in numbers):
            raise UserError(f"{name} has labels outside 0 to {layout.classes - 1}; get the archive again.")
        labels += numbers
        pixels.append(data)
    return np.asarray(labels, dtype=np.uint8), np.concatenate(pixels)


def _list(values: Mapping[str, Any], key: str, name: str, kind: type) -> list[Any]:
    found = values.get(key)
    if not isinstance(found, list) or not all(isinstance(one, kind) for one in found):
        raise UserError(f"{name} has no list of {key}; get the archive again.")
    return found

"""The idx format of MNIST and Fashion-MNIST, gzipped: a magic number, sizes as big-endian 32-bit numbers, then bytes.

The magic's third byte is the type (8: unsigned byte), its fourth the number of sizes: 2051 for images, 2049 for labels.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from core.errors import UserError
from core.images.dataset import PARTS, TEST, TRAIN
from core.images.sets.base import Index, Opened
from core.images.sets.cache import BLOB, Blob, cached_index
from core.settings import Settings

IMAGES, LABELS = 2051, 2049
MAX_BYTES = 256 * 2**20  # of one file unpacked; the largest of Fashion-MNIST has 47 MB
FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


def open_fashion(name: str, title: str, files: Sequence[Path], settings: Settings) -> Opened:
    """Open Fashion-MNIST from its four files: training images, training labels, test images, test labels."""
    index, folder = cached_index(settings, "idx", files, lambda draft: _build(files, draft))
    height, width = index.facts["shape"]
    blob = np.memmap(folder / BLOB, dtype=np.uint8, mode="r", shape=(len(index.names), height, width))

    def read(places: Sequence[int]) -> Iterable[np.ndarray]:
        return (np.repeat(blob[place][..., None], 3, axis=2) for place in places)

    return Opened(name, title, index, read)


def _build(files: Sequence[Path], draft: Path) -> Index:
    names: list[str] = []
    labels: list[int] = []
    places: list[int] = []
    checks: list[int] = []
    shapes = set()
    with Blob(draft) as blob:
        for part, (image_file, label_file) in zip((TRAIN, TEST), (files[:2], files[2:]), strict=True):
            images, numbers = read_idx(image_file, IMAGES), read_idx(label_file, LABELS)
            if len(images) != len(numbers):
                raise UserError(
                    f"{image_file.name} holds {len(images):,} images, but {label_file.name} {len(numbers):,} labels; "
                    "get both again."
                )
            if len(numbers) and int(numbers.max()) >= len(FASHION):
                raise UserError(
                    f"{label_file.name} has a label {int(numbers.max())}, where 0 to {len(FASHION) - 1} belong; "
                    "get it again."
                )
            shapes.add(images.shape[1:])
            blob.add(images.tobytes())
            checks += [zlib.crc32(image.tobytes()) for image in images]
            names += [f"{part}-{number:05d}" for number in range(len(numbers))]
            labels += numbers.astype(int).tolist()
            places += [PARTS.index(part)] * len(numbers)
    if len(shapes) != 1:
        raise UserError(f"{files[0].name} and {files[2].name} hold images of unequal sizes; get them again.")
    return Index(FASHION, names, labels, places, checks=checks, facts={"shape": list(shapes.pop())})


def read_idx(path: Path, magic: int) -> np.ndarray:
    """(N,) or (N, H, W) uint8 of an idx file with this magic number; UserError for another or for missing bytes."""
    dimensions = magic % 256
    with path.open("rb") as start:
        plain = start.read(2) != b"\x1f\x8b"
    with path.open("rb") if plain else gzip.open(path) as file:
        head = file.read(4 * (1 + dimensions))
        data = file.read(MAX_BYTES + 1)
    if len(head) < 4 * (1 + dimensions):
        raise UserError(f"{path.name} ends within its head; get it again.")
    found, *shape = struct.unpack(f">{1 + dimensions}I", head)
    if found != magic:
        raise UserError(
            f"{path.name} begins with {found}, where an idx file of its kind has {magic}; get the right one."
        )
    wanted = int(np.prod(shape, dtype=object)) if shape else 0
    if len(data) != wanted:
        raise UserError(f"{path.name} holds {len(data):,} bytes of {wanted:,} that its head promises; get it again.")
    return np.frombuffer(data, dtype=np.uint8).reshape(shape)

"""Small files in the true layout of each published data set, made from crops of scikit-image's photographs."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@cache
def photographs() -> tuple[np.ndarray, ...]:
    """(H, W, 3) uint8 each."""
    return data.astronaut(), data.coffee(), data.chelsea(), data.rocket()


def crops(side: int, seed: int = 0) -> Iterator[tuple[int, np.ndarray]]:
    """Endless (number of the photograph, (side, side, 3) uint8): square crops at random places, one photograph in turn."""
    generator = np.random.default_rng(seed)
    number = 0
    while True:
        picture = photographs()[number % 4]
        size = int(generator.integers(100, 200))
        top, left = (int(generator.integers(0, limit - size)) for limit in picture.shape[:2])
        crop = Image.fromarray(picture[top : top + size, left : left + size]).resize((side, side))
        yield number % 4, np.asarray(crop)
        number += 1


def of_class(label: int, number: int, side: int) -> np.ndarray:
    """(side, side, 3) uint8: a crop of a photograph, tinted and placed by its class, so that classes can be learnt."""
    generator = np.random.default_rng([label, number])
    picture = photographs()[label % 4]
    size = int(generator.integers(90, 130))
    top, left = (
        int((0.15 + 0.6 * ((label * step) % 7) / 7) * (limit - size) + generator.integers(0, 12))
        for limit, step in zip(picture.shape[:2], (3, 5), strict=True)
    )
    crop = Image.fromarray(picture[top : top + size, left : left + size]).resize((side, side))
    tint = 0.6 + 0.4 * np.random.default_rng(label).random(3)
    return np.rint(np.asarray(crop) * tint).astype(np.uint8)


def encoded(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    """The picture as a file's bytes."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def tar(path: Path, files: Mapping[str, bytes], mode: str = "w:gz") -> Path:
    """A tar archive of these members, in order."""
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def cifar_record(label: int, pixels: np.ndarray, coarse: int | None = None) -> bytes:
    """One record of the binary version: label bytes, then the red, the green and the blue plane, 32×32 bytes each."""
    head = bytes([label]) if coarse is None else bytes([coarse, label])
    return head + pixels.transpose(2, 0, 1).tobytes()


def cifar100_archive(path: Path, *, per_class: int = 5, test_per_class: int = 1, classes: int = 100) -> Path:
    """`cifar-100-binary.tar.gz` in the publisher's layout: records of 3,074 bytes, train.bin, test.bin and class names.

    Pictures are of the first `classes` classes, the names always of 100. Records come one class in turn.
    """
    parts = {}
    for part, start, count in (("train", 0, per_class), ("test", per_class, test_per_class)):
        rows = [
            cifar_record(label, of_class(label, start + number, 32), coarse=label // 5)
            for number in range(count)
            for label in range(classes)
        ]
        parts[f"cifar-100-binary/{part}.bin"] = b"".join(rows)
    fine = "".join(f"thing_{label:02d}\n" for label in range(100)).encode()
    coarse = "".join(f"group_{label:02d}\n" for label in range(20)).encode()
    names = {"cifar-100-binary/coarse_label_names.txt": coarse, "cifar-100-binary/fine_label_names.txt": fine}
    path.parent.mkdir(parents=True, exist_ok=True)
    return tar(path, {**names, **parts})


def cifar10_archive(path: Path, *, per_class: int = 2) -> Path:
    """`cifar-10-binary.tar.gz`: five batches and a test batch of 3,073-byte records, class names with an empty line."""
    files = {"cifar-10-batches-bin/batches.meta.txt": ("\n".join(CIFAR10_CLASSES) + "\n\n").encode()}
    for batch, name in enumerate((*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")):
        rows = [
            cifar_record(label, of_class(label, batch * per_class + number, 32))
            for number in range(per_class)
            for label in range(10)
        ]
        files[f"cifar-10-batches-bin/{name}.bin"] = b"".join(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    return tar(path, files)

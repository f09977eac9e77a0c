"""Small files in the true layout of each published data set, made from crops of scikit-image's photographs."""

from __future__ import annotations

import gzip
import io
import json
import struct
import tarfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat
from skimage import data

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@cache
def photographs() -> tuple[np.ndarray, ...]:
    """(H, W, 3) uint8 each."""
    return data.astronaut(), data.coffee(), data.chelsea(), data.rocket()


def crops(side: int, seed: int = 0) -> Iterator[tuple[int, np.ndarray]]:
    """Endless (photograph, (side, side, 3) uint8): crops at random places, one photograph in turn."""
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


def cifar_python_archive(path: Path, *, per_class: int = 5, test_per_class: int = 1) -> Path:
    """`cifar-100-python.tar.gz` with the same pictures as cifar100_archive, pickled as Python 2 did: texts as bytes."""
    files = {
        "cifar-100-python/meta": python2_pickle({b"fine_label_names": [f"thing_{n:02d}".encode() for n in range(100)]})
    }
    for part, start, count in (("train", 0, per_class), ("test", per_class, test_per_class)):
        rows = [(label, of_class(label, start + number, 32)) for number in range(count) for label in range(100)]
        files[f"cifar-100-python/{part}"] = python2_pickle(
            {
                b"filenames": [b"a_s_000001.png"] * len(rows),
                b"batch_label": b"training batch 1 of 1",
                b"fine_labels": [label for label, _ in rows],
                b"coarse_labels": [label // 5 for label, _ in rows],
                b"data": np.stack([pixels.transpose(2, 0, 1).ravel() for _, pixels in rows]),
            }
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    return tar(path, files)


def python2_pickle(values: dict[bytes, object]) -> bytes:
    """A pickle as Python 2 with numpy 1 wrote it: protocol 2, byte strings as SHORT_BINSTRING, numpy's old names."""
    out = io.BytesIO()
    out.write(b"\x80\x02")
    _put(out, values)
    out.write(b".")
    return out.getvalue()


def _put(out: io.BytesIO, value: object) -> None:
    if isinstance(value, dict):
        out.write(b"}(")
        for key, one in value.items():
            _put(out, key)
            _put(out, one)
        out.write(b"u")
    elif isinstance(value, list):
        out.write(b"](")
        for one in value:
            _put(out, one)
        out.write(b"e")
    elif isinstance(value, bytes):
        if len(value) < 256:
            out.write(b"U" + bytes([len(value)]) + value)
        else:
            out.write(b"T" + struct.pack("<i", len(value)) + value)
    elif isinstance(value, int):
        out.write(b"J" + struct.pack("<i", value))
    elif isinstance(value, np.ndarray):
        out.write(b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R")
        out.write(b"(K\x01")
        for size in value.shape:
            out.write(b"J" + struct.pack("<i", size))
        out.write(b"\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb")
        out.write(b"\x89")
        _put(out, value.tobytes())
        out.write(b"tb")


def idx_file(path: Path, array: np.ndarray) -> Path:
    """A gzipped idx file of unsigned bytes: magic 2051 for (N, H, W), 2049 for (N,)."""
    head = struct.pack(f">{1 + array.ndim}I", 2048 + array.ndim, *array.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(head + array.astype(np.uint8).tobytes()))
    return path


def fashion_files(folder: Path, *, per_class: int = 3) -> None:
    """Fashion-MNIST's four files with 28×28 grey pictures."""
    for part, start, count in (("train", 0, per_class), ("t10k", per_class, 1)):
        rows = [(label, of_class(label, start + n, 28)[..., 1]) for n in range(count) for label in range(10)]
        idx_file(folder / f"{part}-images-idx3-ubyte.gz", np.stack([pixels for _, pixels in rows]))
        idx_file(folder / f"{part}-labels-idx1-ubyte.gz", np.array([label for label, _ in rows]))


def caltech_archive(path: Path, *, classes: int = 4, per_class: int = 5) -> Path:
    """`caltech-101.zip`: the pictures in a tar.gz within the zip, annotations in another, an odd class beside."""
    pictures = {
        f"101_ObjectCategories/{group}/image_{n:04d}.jpg": encoded(of_class(label, n, 40 + label), "JPEG")
        for label, group in enumerate([*(f"kind_{label}" for label in range(classes)), "BACKGROUND_Google"])
        for n in range(1, per_class + 1)
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    inner = tar(path.with_suffix(".inner"), {"101_ObjectCategories/BACKGROUND_Google/tmp": b"list", **pictures})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("caltech-101/", b"")
        archive.writestr("caltech-101/101_ObjectCategories.tar.gz", inner.read_bytes())
        archive.writestr("__MACOSX/caltech-101/._101_ObjectCategories.tar.gz", b"finder")
        archive.writestr("caltech-101/Annotations.tar", b"not looked at")
    inner.unlink()
    return path


WNIDS = ("n01440764", "n02102040", "n03888257")


def imagenette_archive(path: Path, *, train: int = 4, held: int = 2) -> Path:
    """`imagenette2-160.tgz` with three of the ten classes: tench, English springer, parachute."""
    files: dict[str, bytes] = {"imagenette2-160/noisy_imagenette.csv": b"path,label\n"}
    for part, count in (("train", train), ("val", held)):
        for label, wnid in enumerate(WNIDS):
            for n in range(count):
                name = f"imagenette2-160/{part}/{wnid}/{wnid}_{part}_{n}.JPEG"
                files[name] = encoded(of_class(label, n, 60), "JPEG")
    path.parent.mkdir(parents=True, exist_ok=True)
    return tar(path, files)


def lfw_archive(path: Path, people: Mapping[str, int]) -> Path:
    """`lfw-deepfunneled.tgz` with so many pictures of each person (`First_Last`)."""
    files = {
        f"lfw-deepfunneled/{person}/{person}_{n:04d}.jpg": encoded(of_class(label, n, 50), "JPEG")
        for label, (person, count) in enumerate(people.items())
        for n in range(1, count + 1)
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    return tar(path, files)


def dogs_files(folder: Path, *, train: int = 3, held: int = 2) -> None:
    """Stanford Dogs: images.tar, not compressed, and lists.tar with the two MATLAB lists, labels from 1."""
    breeds = ("n02085620-Chihuahua", "n02085782-Japanese_spaniel", "n02116738-African_hunting_dog")
    pictures, lists = {}, {}
    for label, breed in enumerate(breeds):
        for n in range(train + held):
            inside = f"{breed}/{breed[:9]}_{n}.jpg"
            pictures[f"Images/{inside}"] = encoded(of_class(label, n, 70), "JPEG")
            lists.setdefault("train_list.mat" if n < train else "test_list.mat", []).append((inside, label + 1))
    folder.mkdir(parents=True, exist_ok=True)
    tar(folder / "images.tar", pictures, "w")
    members = {}
    for name, rows in lists.items():
        file = io.BytesIO()
        cells = np.array([[inside] for inside, _ in rows], dtype=object)
        labels = np.array([[label] for _, label in rows], dtype=np.uint8)
        savemat(file, {"file_list": cells, "annotation_list": cells, "labels": labels})
        members[name] = file.getvalue()
    tar(folder / "lists.tar", members, "w")


def celeba_files(folder: Path, *, people: int = 3, each: int = 4) -> None:
    """CelebA's zip and its three tables, with the attributes Smiling and Young."""
    folder.mkdir(parents=True, exist_ok=True)
    identity, attributes, partition = [], [], []
    with zipfile.ZipFile(folder / "img_align_celeba.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(people * each):
            name, person = f"{number + 1:06d}.jpg", 2880 + number % people
            archive.writestr(f"img_align_celeba/{name}", encoded(of_class(person, number, 44), "JPEG"))
            identity.append(f"{name} {person}")
            attributes.append(f"{name} {' 1' if number % 2 else '-1'} {' 1' if number % 3 else '-1'}")
            partition.append(f"{name} {number % 3}")
    (folder / "identity_CelebA.txt").write_text("\n".join(identity) + "\n")
    (folder / "list_attr_celeba.txt").write_text("\n".join([str(people * each), "Smiling Young ", *attributes]) + "\n")
    (folder / "list_eval_partition.txt").write_text("\n".join(partition) + "\n")


def class_folder(folder: Path, classes: Mapping[str, int], side: int = 24) -> Path:
    """One folder a class with so many PNG files, of unequal sizes."""
    for label, (group, count) in enumerate(classes.items()):
        (folder / group).mkdir(parents=True, exist_ok=True)
        for n in range(count):
            (folder / group / f"{n}.png").write_bytes(encoded(of_class(label, n, side + n)))
    return folder


def parquet_file(
    path: Path, rows: int = 12, classes: Sequence[str] = ("cat", "dog", "owl"), *, groups: int = 4
) -> Path:
    """A shard as Hugging Face's datasets writes one: image {bytes, path}, label, ClassLabel's names in the metadata."""
    import pyarrow
    from pyarrow import parquet

    image = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    features = {"image": {"_type": "Image"}, "label": {"names": list(classes), "_type": "ClassLabel"}}
    schema = pyarrow.schema(
        [("image", image), ("label", pyarrow.int64())],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
    cells = [{"bytes": encoded(of_class(n % len(classes), n, 36)), "path": f"{n}.png"} for n in range(rows)]
    table = pyarrow.table({"image": cells, "label": [n % len(classes) for n in range(rows)]}, schema=schema)
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, path, row_group_size=groups)
    return path

"""Stanford Dogs: images.tar read where it lies (it is not compressed), the split from the lists' MATLAB files."""

from __future__ import annotations

import io
import tarfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from core.errors import UserError
from core.images.dataset import TEST, TRAIN
from core.images.sets.archives import MAX_PICTURE, members
from core.images.sets.base import Index, Opened, decode
from core.images.sets.cache import cached_index, file_checks, sentences
from core.images.sets.class_folders import Found, Place, index_of
from core.names import safe_name, safe_text
from core.settings import Settings

MAX_LIST = 64 * 2**20
LISTS = {"train_list.mat": TRAIN, "test_list.mat": TEST}


def open_dogs(name: str, title: str, images: Path, lists: Path, settings: Settings) -> Opened:
    """Open images.tar (or the folder Images) with lists.tar (or its folder). Raises UserError."""
    index, _ = cached_index(settings, "dogs", [images, lists], lambda draft: _build(images, lists, title))

    def read(places: Sequence[int]) -> Iterable[np.ndarray]:
        for place in places:
            member = index.members[place]
            source = images if images.is_file() else images.parent / member
            with sentences(member), source.open("rb") as file:
                file.seek(index.offsets[place])
                data = file.read(min(index.sizes[place], MAX_PICTURE + 1))
            yield decode(data, PurePosixPath(member).name)

    return Opened(name, title, index, read)


def _build(images: Path, lists: Path, title: str) -> Index:
    parts = _split(lists, title)
    where = _of_tar(images) if images.is_file() else _of_folder(images)
    missing = [path for path in parts if path not in where]
    if missing:
        raise UserError(
            f"{images.name} holds no Images/{safe_text(missing[0])} ({len(missing):,} of {len(parts):,} listed "
            "pictures are missing); get it again."
        )
    rows = []
    for path, part in parts.items():
        inside = PurePosixPath("Images") / path
        offset, size, check = where[path]
        rows.append(Found(inside, Place(_breed(inside.parent.name), part), size, check, offset))
    return index_of(rows)


def _breed(folder: str) -> str:
    """n02085620-Chihuahua -> Chihuahua."""
    return safe_name(folder.partition("-")[2].replace("_", " ") or folder)


def _of_tar(images: Path) -> dict[str, tuple[int, int, int]]:
    """WNID-Breed/NAME.jpg -> (offset, bytes, CRC-32) in a tar that is not compressed."""
    found = {}
    try:
        with tarfile.open(images, "r:") as archive, images.open("rb") as file:
            for info in archive:
                path = PurePosixPath(info.name)
                if info.isreg() and len(path.parts) >= 2:
                    file.seek(info.offset_data)
                    check = zlib.crc32(file.read(min(info.size, MAX_PICTURE)))
                    found["/".join(path.parts[-2:])] = (info.offset_data, info.size, check)
    except tarfile.ReadError as error:
        raise UserError(f"{images.name} is not a plain tar archive, or is damaged; get it again.") from error
    return found


def _of_folder(images: Path) -> dict[str, tuple[int, int, int]]:
    found = [one for one in members(images) if len(one.path.parts) >= 2]
    checks = file_checks([images / one.path for one in found])
    return {"/".join(one.path.parts[-2:]): (0, one.size, check) for one, check in zip(found, checks, strict=True)}


def _split(lists: Path, title: str) -> dict[str, str]:
    """WNID-Breed/NAME.jpg -> TRAIN or TEST, as train_list.mat and test_list.mat say in their file_list."""
    found: dict[str, str] = {}
    seen = set()
    for member in members(lists):
        if member.path.name in LISTS:
            seen.add(member.path.name)
            for path in _file_list(member.read(MAX_LIST), member.path.name):
                found.setdefault(path, LISTS[member.path.name])
    if seen != set(LISTS):
        raise UserError(f"{lists.name} lacks {', '.join(sorted(set(LISTS) - seen))} of {title}; get the right archive.")
    return found


def _file_list(data: bytes, name: str) -> list[str]:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    broken = f"{name} is not a MATLAB file with a list file_list; get lists.tar again."
    try:
        table = loadmat(io.BytesIO(data), variable_names=["file_list"])["file_list"]  # type: ignore[arg-type]
        paths = [str(np.asarray(cell).ravel()[0]) for cell in np.asarray(table).ravel()]
    except (
        MatReadError,
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        NotImplementedError,
        OSError,
        zlib.error,
    ) as error:
        raise UserError(broken) from error
    if not paths or not all(len(PurePosixPath(path).parts) == 2 and ".." not in path for path in paths):
        raise UserError(broken)
    return paths

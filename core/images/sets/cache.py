"""Indexes of data sets, and pictures unpacked from archives without random access, kept in the home.

One folder an index, named by the files it was made of (path, size, time of change) and the reader's version. It is
built beside its place and put there whole, so that a killed or full run leaves nothing half done.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import hashlib
import json
import lzma
import os
import shutil
import struct
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO

from core.errors import UserError
from core.images.sets.base import Index
from core.settings import Settings

VERSION = 3  # another one makes every index anew
BLOB = "pictures.bin"
READ_WHOLE = 2 * 2**30  # bytes of files whose contents are looked at; of more, size and time of change stand in
DAMAGE = (
    *(tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, lzma.LZMAError),
    *(EOFError, struct.error, NotImplementedError, RuntimeError),
)
KEPT_SECONDS = 30 * 24 * 3600.0  # since an index was last read; then it is deleted, and made again if it is wanted
DRAFT_SECONDS = 24 * 3600.0  # a draft as old was left by a process that was killed
DRAFT = ".part"
FULL = (errno.ENOSPC, errno.EDQUOT)

Build = Callable[[Path], Index]  # given the folder to write into


def cached_index(settings: Settings, reader: str, files: Sequence[Path], build: Build) -> tuple[Index, Path]:
    """The index of these files and the folder that holds it, built where it is not there yet.

    Raises UserError for damaged files and a full disk, and whatever UserError `build` raises.
    """
    name, state = _key(reader, files)
    folder = settings.home / "indexes" / f"{name}-{state}"
    if (index := _load(folder)) is not None:
        return index, folder
    draft = folder.with_name(f"{folder.name}.{os.getpid()}{DRAFT}")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        with sentences(files[0].name):
            draft.mkdir(parents=True)
            index = build(draft)
            (draft / "index.json").write_text(json.dumps(asdict(index)))
            _put(draft, folder)
        for old in folder.parent.glob(f"{name}-*"):  # of the same files as they were before
            if old != folder and not old.name.endswith(DRAFT):
                shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return index, folder


def forget_indexes(settings: Settings) -> int:
    """Delete indexes that nobody has read for long, and the drafts of killed processes; returns how many."""
    now = time.time()
    old = [
        folder
        for folder in (settings.home / "indexes").glob("*")
        if changed_before(folder, now - (DRAFT_SECONDS if folder.name.endswith(DRAFT) else KEPT_SECONDS))
    ]
    for folder in old:
        shutil.rmtree(folder, ignore_errors=True)
    return len(old)


def changed_before(path: Path, limit: float) -> bool:
    """Whether it was changed last before this time; False for what is gone meanwhile."""
    try:
        return path.stat().st_mtime < limit
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def sentences(name: str) -> Iterator[None]:
    """Turn damage of an archive and a full disk into one sentence."""
    try:
        yield
    except DAMAGE as error:
        raise UserError(f"{name} is damaged or not whole ({error}); get it again.") from error
    except OSError as error:
        if error.errno in FULL:
            raise UserError("There is no space left on the disk of SEMSIGHT_HOME; free some and try again.") from error
        raise UserError(f"{name} cannot be read ({error.strerror or error}); check the file.") from error


class Blob:
    """Pictures' bytes one behind the other in a file of our own name."""

    def __init__(self, folder: Path) -> None:
        self._file: IO[bytes] = (folder / BLOB).open("wb")
        self._end = 0

    def add(self, data: bytes) -> int:
        """Append; return where the data begins."""
        start = self._end
        self._file.write(data)
        self._end += len(data)
        return start

    def __enter__(self) -> Blob:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _key(reader: str, files: Sequence[Path]) -> tuple[str, str]:
    """What names an index of these files, and what names their present state."""
    states = [state for path in files for state in _states(path)]
    paths = json.dumps([str(path.absolute()) for path in files])
    return f"{reader}-{_short(paths)}", _short(json.dumps([VERSION, states]))


def _states(path: Path) -> Iterator[tuple[str, int, int]]:
    """Path, bytes and time of change: of the file, or of the folder and all in it, as a file may be overwritten."""
    names = [str(path.absolute())]
    if path.is_dir():
        for folder, inner, found in os.walk(names[0]):
            inner.sort()
            names += [os.path.join(folder, one) for one in (*inner, *sorted(found))]
    for name in names:
        try:
            state = os.stat(name)
        except FileNotFoundError:
            state = os.lstat(name)  # a link to nothing
        yield name, state.st_size, state.st_mtime_ns


def file_checks(paths: Sequence[Path]) -> list[int]:
    """CRC-32 of each file's bytes; of more than READ_WHOLE in all, of size and time of change instead."""
    states = [path.stat() for path in paths]
    if sum(state.st_size for state in states) > READ_WHOLE:
        return [zlib.crc32(f"{state.st_size} {state.st_mtime_ns}".encode()) for state in states]
    return [zlib.crc32(path.read_bytes()) for path in paths]


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _put(draft: Path, folder: Path) -> None:
    try:
        draft.rename(folder)
    except OSError:
        if _load(folder) is None:  # else another process was first, with the same index
            shutil.rmtree(folder, ignore_errors=True)
            draft.rename(folder)


def _load(folder: Path) -> Index | None:
    try:
        values = json.loads((folder / "index.json").read_text())
        index = Index(**{**values, "classes": tuple(values["classes"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None
    with contextlib.suppress(OSError):  # a home that cannot be written, or an index that goes just now
        os.utime(folder)
    return index

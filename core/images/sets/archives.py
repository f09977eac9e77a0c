"""Members of a tar, of a zip or of a folder, one after the other. Nothing is written by a member's own name."""

from __future__ import annotations

import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from core.errors import UserError
from core.names import safe_text

ZIP_MARK = b"PK\3\4"  # looked for at the start: a tar that ends with a zip has a zip's directory at its end
MAX_MEMBERS = 2_000_000
MAX_PICTURE = 64 * 2**20  # bytes of a member that is a picture; core.images.intake takes no larger one
PACKING = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # what zip_member reads
PLAIN, STORED, DEFLATED = "plain", "stored", "deflated"  # how a member lies in its archive


@dataclass(frozen=True)
class Member:
    """A plain file of an archive or folder. path is a name to be looked at, never one to be opened or written."""

    path: PurePosixPath
    size: int  # bytes as the container says
    open: Callable[[], IO[bytes]]  # for a tar: only until the next member is asked for
    crc: int | None = None  # CRC-32 of its bytes, where the container says it
    how: str = ""  # PLAIN, STORED or DEFLATED where it can be read in place, from `offset` on; "" where it cannot
    offset: int = 0
    packed: int = 0  # bytes there

    def read(self, limit: int = MAX_PICTURE) -> bytes:
        """All of it; UserError where it is larger than the limit, or shorter than the container says."""
        self.check_size(limit)
        with self.open() as file:
            data = file.read(self.size + 1)
        if len(data) != self.size:
            raise EOFError(f"{safe_text(self.path.name)} holds {len(data):,} of {self.size:,} bytes")
        return data

    def check_size(self, limit: int = MAX_PICTURE) -> None:
        """Raise UserError where it is larger than the limit."""
        if self.size > limit:
            raise UserError(
                f"{safe_text(str(self.path))} has {self.size:,} bytes, where at most {limit:,} are taken; "
                "this is not the archive that its name says."
            )


def members(path: Path) -> Iterator[Member]:
    """Plain files of a folder, a zip, or a tar (plain or compressed); links, devices and hidden files are left out.

    A folder's come sorted, an archive's in its own order. Raises UserError for another kind of file, and what
    tarfile, zipfile and the decompressors raise for a damaged one (see cache.sentences).
    """
    if path.is_dir():
        yield from _of_folder(path)
    elif not path.is_file():
        raise UserError(f"There is no file or folder at {safe_text(str(path), 200)!r}; check the path.")
    elif _starts(path) == ZIP_MARK:
        with zipfile.ZipFile(path) as archive:
            yield from of_zip(archive)
    else:
        with path.open("rb") as file:
            yield from of_tar(file, path.name, plain=_is_plain(path))


def _is_plain(path: Path) -> bool:
    """Whether it is a tar that is not compressed: its members can be read where they lie."""
    try:
        with tarfile.open(path, "r:"):
            return True
    except tarfile.ReadError:
        return False


def read_in_place(file: IO[bytes], how: str, offset: int, packed: int, size: int) -> bytes:
    """A member's bytes, from the open archive and what its Member said. Raises as zip_member does."""
    if how != PLAIN:
        return zip_member(file, offset, packed, size, how == DEFLATED)
    file.seek(offset)
    return _whole(file.read(size), size)


def zip_member(file: IO[bytes], offset: int, packed: int, size: int, deflated: bool) -> bytes:
    """A zip member's bytes: a local header of 30 bytes (APPNOTE 4.3.7), its name and extra field, then the data."""
    file.seek(offset)
    head = file.read(30)
    if head[:4] != ZIP_MARK or len(head) < 30:
        raise zipfile.BadZipFile("its header is not there")
    name, extra = struct.unpack("<HH", head[26:])
    file.seek(name + extra, os.SEEK_CUR)
    data = file.read(packed)
    if deflated:
        data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, size)
    return _whole(data, size)


def _whole(data: bytes, size: int) -> bytes:
    if len(data) != size:
        raise EOFError(f"{len(data):,} of {size:,} bytes")
    return data


def _starts(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(len(ZIP_MARK))


def of_tar(file: IO[bytes], name: str, *, plain: bool = False) -> Iterator[Member]:
    """Plain files of an open tar, in one pass; UserError where it is none. plain: it is a file, not compressed."""
    try:
        archive = tarfile.open(fileobj=file, mode="r|*")  # noqa: SIM115
    except tarfile.ReadError as error:
        raise UserError(f"{name} is not a tar archive, or is damaged at its start; get it again.") from error
    with archive:
        for number, info in enumerate(archive):
            _count(number, name)
            if info.isreg() and _visible(path := PurePosixPath(info.name)):
                how = PLAIN if plain and not info.issparse() else ""
                at = info.offset_data
                yield Member(path, info.size, lambda info=info: _extracted(archive, info), None, how, at, info.size)  # type: ignore[misc]


def of_zip(archive: zipfile.ZipFile) -> Iterator[Member]:
    """Plain files of an open zip, in its directory's order."""
    for number, info in enumerate(archive.infolist()):
        _count(number, archive.filename or "The zip")
        kind = stat.S_IFMT(info.external_attr >> 16)
        if not info.is_dir() and kind in (0, stat.S_IFREG) and _visible(path := PurePosixPath(info.filename)):
            deflated = info.compress_type == zipfile.ZIP_DEFLATED
            readable = info.compress_type in PACKING and not info.flag_bits & 1
            how = (DEFLATED if deflated else STORED) if readable else ""
            yield Member(
                path,
                info.file_size,
                lambda info=info: archive.open(info),  # type: ignore[misc]
                info.CRC,
                how,
                info.header_offset,
                info.compress_size,
            )


def _extracted(archive: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    file = archive.extractfile(info)
    if file is None:
        raise EOFError(f"{info.name} has no bytes")
    return file


def _of_folder(folder: Path) -> Iterator[Member]:
    root = folder.resolve()
    for number, path in enumerate(sorted(folder.rglob("*"))):
        _count(number, folder.name)
        relative = PurePosixPath(path.relative_to(folder).as_posix())
        if _visible(relative) and path.is_file() and path.resolve().is_relative_to(root):
            yield Member(relative, path.stat().st_size, lambda path=path: path.open("rb"))  # type: ignore[misc]


def _visible(path: PurePosixPath) -> bool:
    return bool(path.parts) and not any(part.startswith((".", "__MACOSX")) for part in path.parts)


def _count(number: int, name: str) -> None:
    if number >= MAX_MEMBERS:
        raise UserError(f"{name} has more than {MAX_MEMBERS:,} members; split it.")

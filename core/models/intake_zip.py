"""The directory of a zip file as torch.save writes it, read with the standard library's struct alone.

zipfile is not used: it takes prefixes, junk behind the end, duplicate names and overlapping records, all of
which let two programs read two different models from one file. Here each byte belongs to exactly one record
(up to the few bytes of a data descriptor), records are stored and never compressed, and no name comes twice.
Layout: APPNOTE.TXT 6.3.10, sections 4.3.7, 4.3.9, 4.3.12 and 4.3.14 to 4.3.16.
"""

import struct
import zlib
from dataclasses import dataclass
from typing import BinaryIO

from core.errors import UserError
from core.models.intake_records import Limits
from core.names import safe_text

END = struct.Struct("<4s4H2LH")
END64 = struct.Struct("<4sQ2H2L4Q")
LOCATOR = struct.Struct("<4sLQL")
CENTRAL = struct.Struct("<4s4B4HL2L5H2L")
LOCAL = struct.Struct("<4s2B4HL2L2H")
DESCRIPTOR = 24  # at most: signature, CRC, two 64-bit sizes
CHUNK = 2**20


@dataclass(frozen=True)
class Record:
    """One stored file of the archive: its bytes lie at [start, start + size)."""

    name: str
    method: int  # 0: stored
    crc: int
    size: int
    start: int


class _Broken(Exception):
    """The archive contradicts itself; the text says where."""


def read_directory(file: BinaryIO, size: int, name: str, limits: Limits) -> dict[str, Record]:
    """All records by name; raise UserError unless the archive is whole, plain and unambiguous.

    Compressed records are listed, not read: the caller tells formats apart by their names first.
    """
    try:
        count, length, start = _end(file, size)
        if count > limits.tensors or length > limits.header_bytes:
            raise UserError(
                f"{name} lists {count:,} records in {length:,} bytes, where at most {limits.tensors:,} and "
                f"{limits.header_bytes:,} are taken; upload the plain state dict."
            )
        records = _records(file, count, length, start)
    except (_Broken, struct.error) as error:
        reason = str(error) if isinstance(error, _Broken) else "its directory is cut short"
        raise UserError(
            f"{name} is not a whole zip file as torch.save writes it: {reason}; save it again with torch.save."
        ) from None
    return records


def refuse_unread(records: dict[str, Record], name: str) -> None:
    """Raise UserError if any record is compressed: what it unpacks to is not known beforehand."""
    for record in records.values():
        if record.method != 0:
            raise UserError(
                f"{name} holds {safe_text(record.name)!r} compressed, where torch.save only stores; "
                "save the state dict again with torch.save."
            )


def check_sums(file: BinaryIO, records: dict[str, Record], name: str) -> None:
    """Raise UserError if the bytes of any record do not have its checksum. Reads a megabyte at a time."""
    for record in records.values():
        file.seek(record.start)
        left, crc = record.size, 0
        while left:
            part = file.read(min(left, CHUNK))
            if not part:
                break
            crc, left = zlib.crc32(part, crc), left - len(part)
        if crc != record.crc or left:
            raise UserError(
                f"{name} is damaged: {safe_text(record.name)!r} does not have the checksum that was written with it; "
                "copy or save the file again."
            )


def read_record(file: BinaryIO, record: Record) -> bytes:
    """The bytes of a stored record."""
    file.seek(record.start)
    return file.read(record.size)


def _end(file: BinaryIO, size: int) -> tuple[int, int, int]:
    """(records, bytes, offset) of the central directory; the end record must be the file's last 22 bytes."""
    if size < END.size:
        raise _Broken("it is too short")
    file.seek(size - END.size)
    mark, disk, first, here, count, length, start, comment = END.unpack(file.read(END.size))
    if mark != b"PK\5\6" or comment:
        raise _Broken("it is cut short, or something follows its end")
    end = size - END.size
    if end >= LOCATOR.size + END64.size:
        file.seek(end - LOCATOR.size)
        locator = LOCATOR.unpack(file.read(LOCATOR.size))
        if locator[0] == b"PK\6\7":
            end -= LOCATOR.size + END64.size
            if locator[2] != end:
                raise _Broken("its two ends contradict each other")
            file.seek(end)
            values = END64.unpack(file.read(END64.size))
            if values[0] != b"PK\6\6" or values[1] != END64.size - 12:
                raise _Broken("its end is damaged")
            small = (here, count, length, start)
            disk, first, here, count, length, start = values[4:]
            for old, new, top in zip(
                small, (here, count, length, start), (2**16 - 1,) * 2 + (2**32 - 1,) * 2, strict=True
            ):
                if old not in (new, top):
                    raise _Broken("its two ends contradict each other")
    if disk or first or here != count:
        raise _Broken("it is one of several volumes")
    if start + length != end:
        raise _Broken("its directory does not end where its end begins")
    return count, length, start


def _records(file: BinaryIO, count: int, length: int, start: int) -> dict[str, Record]:
    file.seek(start)
    raw = file.read(length)
    listed: list[tuple[int, str, int, int, int]] = []  # offset, name, method, crc, size as stored
    at = 0
    for _ in range(count):
        fields = CENTRAL.unpack_from(raw, at)
        mark, flags, method, crc, packed, unpacked = fields[0], fields[5], fields[6], *fields[9:12]
        lengths = fields[12:15]
        offset = fields[18]
        if mark != b"PK\1\2":
            raise _Broken("its directory is damaged")
        at += CENTRAL.size
        label = _name(raw[at : at + lengths[0]])
        extra = raw[at + lengths[0] : at + lengths[0] + lengths[1]]
        unpacked, packed, offset = _large(extra, unpacked, packed, offset)
        at += sum(lengths)
        if flags & 0x2041:
            raise _Broken(f"{safe_text(label)!r} is encrypted")
        if method == 0 and packed != unpacked:
            raise _Broken(f"{safe_text(label)!r} has two sizes")
        listed.append((offset, label, method, crc, packed))
    if at != length:
        raise _Broken("its directory is cut short")
    return _place(file, sorted(listed), start)


def _name(raw: bytes) -> str:
    try:
        label = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise _Broken("a record's name is not text") from None
    parts = label.split("/")
    if not label or "\0" in label or "\\" in label or ":" in label or ".." in parts or "" in parts:
        raise _Broken(f"a record is called {safe_text(label)!r}, which could lead outside")
    return label


def _large(extra: bytes, unpacked: int, packed: int, offset: int) -> tuple[int, int, int]:
    """Sizes and offset with those of the zip64 extra field where the 32-bit ones are full."""
    values = [unpacked, packed, offset]
    at = 0
    while at + 4 <= len(extra):
        tag, length = struct.unpack_from("<HH", extra, at)
        at += 4
        if tag == 1:
            place = at
            for index, value in enumerate(values):
                if value == 2**32 - 1:
                    (values[index],) = struct.unpack_from("<Q", extra[: at + length], place)
                    place += 8
        at += length
    return values[0], values[1], values[2]


def _place(file: BinaryIO, listed: list[tuple[int, str, int, int, int]], directory: int) -> dict[str, Record]:
    """Follow each record to its local header: they must lie one behind the other and say the same."""
    records: dict[str, Record] = {}
    end, slack = 0, 0
    for offset, label, method, crc, size in listed:
        if not end <= offset <= end + slack:
            raise _Broken(f"{safe_text(label)!r} overlaps another record or leaves a gap before it")
        file.seek(offset)
        header = LOCAL.unpack(file.read(LOCAL.size))
        name_length, extra_length = header[10:12]
        if header[0] != b"PK\3\4" or header[4] != method or file.read(name_length) != label.encode():
            raise _Broken(f"{safe_text(label)!r} is described in two ways")
        if label in records:
            raise _Broken(f"{safe_text(label)!r} comes twice")
        begin = offset + LOCAL.size + name_length + extra_length
        end, slack = begin + size, DESCRIPTOR
        if end > directory:
            raise _Broken(f"{safe_text(label)!r} runs into the directory")
        records[label] = Record(label, method, crc, size, begin)
    if directory > end + slack:
        raise _Broken("it holds bytes that belong to no record")
    return records

"""PNG, JPEG and WebP files taken apart without decoding: size, orientation, and a copy with the picture alone.

A copy that holds nothing but what the pixels need leaves no room for compressed text (zTXt, iTXt), colour profile
bombs (iCCP), further frames, positions (GPS) or a second file behind the picture, and Pillow never sees them.
Sources: PNG (third edition) sections 5 and 11; JPEG T.81 annex B; RFC 9649 (WebP); Exif 2.3, section 4.6.
"""

import re
import struct
import zlib
from dataclasses import dataclass

PNG_MARK = b"\x89PNG\r\n\x1a\n"
PNG_KEPT = frozenset((b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"))
PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
INFLATED = 2**20  # bytes unpacked at a time, counted and forgotten
PNG_FRAMES = frozenset((b"acTL", b"fcTL", b"fdAT"))
JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # start of frame: baseline to arithmetic
MAX_SCANS = 200  # progressive files have about ten; each costs a pass over the whole picture
ORIENTATION = 0x0112


class Damaged(Exception):
    """The file contradicts its format; the text says where."""


@dataclass(frozen=True)
class Container:
    """A picture file without its extras: `clean` decodes to the same pixels as the first frame of the original."""

    format: str  # PNG, JPEG or WEBP
    width: int
    height: int
    clean: bytes
    orientation: int  # Exif: 1 (upright) to 8
    frames: bool  # True when the file holds an animation
    profile: bool  # True when a colour profile was left out
    trailing: int  # bytes behind the picture, left out


def take_apart(data: bytes) -> Container | None:
    """The container in `data`, or None if it is none of the three formats; raise Damaged if it is broken."""
    try:
        if data.startswith(PNG_MARK):
            return _png(data)
        if data.startswith(b"\xff\xd8\xff"):
            return _jpeg(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp(data)
    except (struct.error, IndexError):
        raise Damaged("it is cut short") from None
    return None


def _png(data: bytes) -> Container:
    parts, at, size, orientation = [PNG_MARK], len(PNG_MARK), (0, 0), 1
    frames = profile = False
    kind = b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            raise Damaged("it is cut short")
        body = data[at + 8 : end - 4]
        if zlib.crc32(data[at + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            raise Damaged("a checksum in it is wrong")
        if len(parts) == 1 and kind != b"IHDR":
            raise Damaged("it does not begin with its header")
        if kind == b"IHDR":
            if len(parts) > 1 or length != 13:
                raise Damaged("its header is wrong")
            size = struct.unpack_from(">II", body)
        if kind in PNG_KEPT:
            parts.append(data[at:end])
        elif kind[:1].isupper():
            raise Damaged("it holds a part that no PNG reader knows")
        frames |= kind in PNG_FRAMES
        profile |= kind == b"iCCP"
        if kind == b"eXIf":
            orientation = exif_orientation(body)
        at = end
    return Container("PNG", *size, b"".join(parts), orientation, frames, profile, len(data) - at)


def png_is_whole(clean: bytes) -> bool:
    """True when a PNG's data hold every row: a decoder would leave the rows that are missing black, and say nothing."""
    width, height, depth, colour, _, _, interlace = struct.unpack_from(">IIBBBBB", clean, 16)
    bits = depth * PNG_CHANNELS.get(colour, 1)
    passes = ADAM7 if interlace else ((0, 0, 1, 1),)
    wanted = 0
    for left, top, across, down in passes:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            wanted += rows * (1 + -(-columns * bits // 8))
    inflate, at, found = zlib.decompressobj(), len(PNG_MARK), 0
    while at < len(clean) and found < wanted:
        length, kind = struct.unpack_from(">I4s", clean, at)
        waiting = clean[at + 8 : at + 8 + length] if kind == b"IDAT" else b""
        while waiting and not inflate.eof and found < wanted:
            try:
                found += len(inflate.decompress(waiting, INFLATED))
            except zlib.error:
                return False
            waiting = inflate.unconsumed_tail
        at += 12 + length
    return found + len(inflate.flush()) >= wanted if found < wanted else True


def _jpeg(data: bytes) -> Container:
    parts, at, orientation, scans = [b"\xff\xd8"], 2, 1, 0
    sizes: set[tuple[int, int]] = set()
    profile = False
    while True:
        if data[at] != 0xFF:
            raise Damaged("its parts do not follow each other")
        while data[at + 1] == 0xFF:  # fill bytes
            at += 1
        marker = data[at + 1]
        if marker == 0xD9:
            parts.append(b"\xff\xd9")
            at += 2
            break
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            raise Damaged("its parts do not follow each other")
        (length,) = struct.unpack_from(">H", data, at + 2)
        end = at + 2 + length
        if length < 2 or end > len(data):
            raise Damaged("it is cut short")
        body = data[at + 4 : end]
        if marker in JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", body, 1)
            sizes.add((width, height))
        if marker == 0xE1 and body.startswith(b"Exif\0\0"):
            orientation = exif_orientation(body[6:])
        profile |= marker == 0xE2 and body.startswith(b"ICC_PROFILE\0")
        if not (0xE0 <= marker <= 0xEF or marker == 0xFE) or _needed(marker, body):
            parts.append(data[at:end])
        at = end
        if marker == 0xDA:
            scans += 1
            stop = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]").search(data, at)
            if stop is None:
                raise Damaged("it is cut short")
            if scans > MAX_SCANS:
                raise Damaged(f"it draws its picture more than {MAX_SCANS} times over")
            parts.append(data[at : stop.start()])
            at = stop.start()
    if len(sizes) != 1 or not scans:
        raise Damaged("it says its size never, or in two ways")
    return Container("JPEG", *sizes.pop(), b"".join(parts), orientation, False, profile, len(data) - at)


def _needed(marker: int, body: bytes) -> bool:
    """JFIF and Adobe segments: without them a decoder cannot tell the colour space."""
    return (marker == 0xE0 and body.startswith(b"JFIF\0")) or (marker == 0xEE and body.startswith(b"Adobe"))


def _webp(data: bytes) -> Container:
    (length,) = struct.unpack_from("<I", data, 4)
    end = 8 + length + length % 2
    if end > len(data) + length % 2:
        raise Damaged("it is cut short")
    at, orientation, size = 12, 1, (0, 0)
    frames = profile = False
    parts: list[bytes] = []
    while at + 8 <= min(end, len(data)):
        kind, room = struct.unpack_from("<4sI", data, at)
        stop = at + 8 + room
        if stop > min(end, len(data)):
            raise Damaged("it is cut short")
        body = data[at + 8 : stop]
        frames |= kind in (b"ANIM", b"ANMF")
        profile |= kind == b"ICCP"
        if kind == b"EXIF":
            orientation = exif_orientation(body.removeprefix(b"Exif\0\0"))
        if kind in (b"VP8X", b"VP8 ", b"VP8L") and size == (0, 0):
            size = _webp_size(kind, body)
        if kind == b"VP8X":
            kept = body[0] & 0b0001_0010  # alpha and animation; no profile, Exif or XMP
            body = bytes([kept]) + body[1:]
        if kind in (b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF"):
            parts.append(kind + struct.pack("<I", room) + body + b"\0" * (room % 2))
        at = stop + room % 2
    content = b"WEBP" + b"".join(parts)
    clean = b"RIFF" + struct.pack("<I", len(content)) + content
    return Container("WEBP", *size, clean, orientation, frames, profile, max(0, len(data) - end))


def _webp_size(kind: bytes, body: bytes) -> tuple[int, int]:
    if kind == b"VP8X":
        width, height = (int.from_bytes(body[i : i + 3], "little") + 1 for i in (4, 7))
        return width, height
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", body, 1)[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", body, 6)
    return width & 0x3FFF, height & 0x3FFF


def exif_orientation(tiff: bytes) -> int:
    """The orientation, 1 to 8, of an Exif block that begins with its byte order; 1 when there is none."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 8:
        return 1
    (at,) = struct.unpack_from(order + "I", tiff, 4)
    if at + 2 > len(tiff):
        return 1
    (count,) = struct.unpack_from(order + "H", tiff, at)
    for place in range(at + 2, min(at + 2 + 12 * count, len(tiff) - 11), 12):
        tag, kind, values, value = struct.unpack_from(order + "HHIH", tiff, place)
        if tag == ORIENTATION and kind == 3 and values == 1 and 1 <= value <= 8:
            return int(value)
    return 1

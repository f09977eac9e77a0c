"""Uploaded pictures: PNG, JPEG and WebP become an RGB array; nothing else of the file is kept.

The format is told by the content, the size is capped before anything is decoded, extras are cut off before Pillow
sees the file, the first frame is taken, Exif orientation is applied and then forgotten, and what is stored later is
encoded anew from the array. Bytes behind the picture (a PNG that is a zip too) are cut off, and the notes say so.
"""

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.errors import UserError
from core.images.containers import PNG_MARK, Container, Damaged, png_is_whole, take_apart
from core.names import safe_name

MAX_PIXELS = 50_000_000  # a 48-megapixel phone; 150 MB as RGB. Below the 89 at which Pillow begins to warn
MAX_SIDE = 16_384
MAX_BYTES = 64 * 2**20
TAKEN = "a PNG, JPEG or WebP picture"
OTHERS = {
    b"GIF8": "a GIF",
    b"BM": "a BMP",
    b"II*\0": "a TIFF",
    b"MM\0*": "a TIFF",
    b"SIMPLE": "a FITS file",
    b"%!PS": "an EPS",
    b"%PDF": "a PDF",
    b"PK\3\4": "a zip file",
    b"<": "a text with markup (SVG, HTML or XML)",
}
# What brings a picture with Exif orientation k upright: quarter turns to the left, after a left-right flip or not.
UPRIGHT = {
    1: (False, 0),
    2: (True, 0),
    3: (False, 2),
    4: (True, 2),
    5: (True, 1),
    6: (False, 3),
    7: (True, 3),
    8: (False, 1),
}


@dataclass(frozen=True)
class TakenImage:
    """A picture that was taken in: `pixels` is (height, width, 3) uint8, upright, and holds nothing else."""

    name: str
    pixels: NDArray[np.uint8]
    width: int
    height: int
    notes: tuple[str, ...]


def take_in_image(data: bytes, filename: str, *, max_pixels: int = MAX_PIXELS) -> TakenImage:
    """Decode an uploaded picture to RGB; raise UserError with one sentence for anything that is not plain and whole.

    Transparent pixels are laid on white; 16-bit grey is scaled by 255/65535 and rounded, 16-bit colour keeps the
    upper 8 bits; CMYK is converted without a profile; a colour profile is ignored.
    """
    name = safe_name(filename)
    container = _container(data, name)
    _check_size(container, name, max_pixels)
    notes = _container_notes(container)
    rgb = _rgb(_decode(container, name), container, notes)
    if container.orientation != 1:
        flip, turns = UPRIGHT[container.orientation]
        rgb = np.rot90(rgb[:, ::-1] if flip else rgb, turns)
        notes.append("Turned upright as its Exif orientation says.")
    pixels = np.array(rgb, dtype=np.uint8, order="C", copy=True)
    return TakenImage(name, pixels, pixels.shape[1], pixels.shape[0], tuple(notes))


def _container(data: bytes, name: str) -> Container:
    if not data:
        raise UserError(f"{name} is empty, where {TAKEN} is expected; upload it again.")
    if len(data) > MAX_BYTES:
        raise UserError(
            f"{name} has {len(data):,} bytes, where at most {MAX_BYTES:,} are taken; save it smaller or as a JPEG."
        )
    try:
        container = take_apart(data)
    except Damaged as error:
        raise UserError(f"{name} is damaged: {error}; save or download it again.") from None
    if container is None:
        start = data[:64].lstrip(b"\xef\xbb\xbf \t\r\n")
        what = next((f"is {words}" for mark, words in OTHERS.items() if start.startswith(mark)), "is something else")
        raise UserError(f"{name} {what}, whatever its name says, where {TAKEN} is expected; save it as a PNG.")
    return container


def _check_size(container: Container, name: str, max_pixels: int) -> None:
    width, height = container.width, container.height
    if width < 1 or height < 1:
        raise UserError(f"{name} is {width}×{height} pixels, which is no picture; save it again.")
    if width * height > max_pixels:
        raise UserError(
            f"{name} is {width:,}×{height:,} pixels, where at most {max_pixels / 1e6:g} million "
            "are taken; save it smaller."
        )
    if max(width, height) > MAX_SIDE:
        raise UserError(
            f"{name} is {width:,}×{height:,} pixels, where a side has at most {MAX_SIDE:,}; cut or save it smaller."
        )


def _container_notes(container: Container) -> list[str]:
    notes = []
    if container.frames:
        notes.append("An animation: only its first picture was taken.")
    if container.profile:
        notes.append("Its colour profile was ignored: colours are read as sRGB.")
    if container.trailing:
        notes.append(f"{container.trailing:,} bytes behind the picture were cut off.")
    return notes


def _decode(container: Container, name: str) -> Image.Image:
    broken = f"{name} is damaged: its pixels cannot be decoded; save or download it again."
    if container.format == "PNG" and not png_is_whole(container.clean):
        raise UserError(f"{name} is damaged: some of its pixels are missing; save or download it again.")
    try:
        image = Image.open(io.BytesIO(container.clean), formats=[container.format])
        if image.size != (container.width, container.height):
            raise UserError(broken)
        image.load()
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, OverflowError, MemoryError) as error:
        raise UserError(broken) from error
    return image


def _rgb(image: Image.Image, container: Container, notes: list[str]) -> NDArray[np.uint8]:
    """(height, width, 3) uint8 of any mode that Pillow decodes the three formats to."""
    if image.mode.startswith("I"):
        notes.append("16-bit grey was scaled to 8 bits.")
        wide = np.asarray(image, dtype=np.uint32)
        grey = ((wide * 255 + 32767) // 65535).astype(np.uint8)
        if "transparency" in image.info:
            grey[wide == image.info["transparency"]] = 255
            notes.append("Transparent parts were laid on white.")
        return np.repeat(grey[:, :, None], 3, axis=2)
    if container.format == "PNG" and container.clean[len(PNG_MARK) + 16] == 16:
        notes.append("16-bit colour was reduced to its upper 8 bits.")
    if image.mode == "CMYK":
        notes.append("CMYK colours were converted to RGB without a profile.")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        return _on_white(image.convert("RGBA"), notes)
    return np.asarray(image.convert("RGB"))


def _on_white(image: Image.Image, notes: list[str]) -> NDArray[np.uint8]:
    alpha = image.getchannel("A")
    if alpha.getextrema() == (255, 255):
        return np.asarray(image.convert("RGB"))
    notes.append("Transparent parts were laid on white.")
    white = Image.new("RGB", image.size, (255, 255, 255))
    white.paste(image.convert("RGB"), mask=alpha)
    return np.asarray(white)

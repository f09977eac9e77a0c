"""The two folders of `score`: which files are a pair, and their bytes and pixels when their turn comes."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import UserError
from core.names import safe_name, safe_text

if TYPE_CHECKING:
    import numpy as np

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".svg", ".avif", ".heic")
SHOWN = 60  # characters of a name in a sentence


@dataclass(frozen=True)
class Pairing:
    """Files of two folders by name: the path below the folder without its ending, in natural order."""

    names: list[str]  # those that both have
    originals: dict[str, Path]
    reconstructions: dict[str, Path]

    def alone(self) -> dict[str, list[str]]:
        """The names without a partner: {"originals": […], "reconstructions": […]}."""
        return {
            "originals": [name for name in self.originals if name not in self.reconstructions],
            "reconstructions": [name for name in self.reconstructions if name not in self.originals],
        }


@dataclass(frozen=True)
class FilePair:
    """The bytes of both files, as they were read, and a key that changes with the name or with any byte."""

    name: str
    original: bytes
    reconstruction: bytes
    key: bytes


def pair_folders(originals: Path, reconstructions: Path) -> Pairing:
    """Find the images of both folders and pair them by name; UserError where there is no pair at all."""
    left, right = find_images(originals), find_images(reconstructions)
    names = [name for name in left if name in right]
    if not names:
        raise UserError(
            f"No image of {originals.name!r} has the name of one of {reconstructions.name!r}; "
            "give both files of a pair one name."
        )
    return Pairing(names, left, right)


def find_images(folder: Path) -> dict[str, Path]:
    """The images of a folder and of the folders within, by name, in natural order.

    Hidden files and folders are left out, and folders that are links. UserError: no folder, no image, or two images
    of one name (x.png beside x.jpg).
    """
    from core.images.folder import natural_key

    if not os.path.isdir(folder):  # not Path.is_dir, which raises for a name that is too long
        raise UserError(f"{str(folder)!r} is no folder; expected a folder of images.")
    relative = sorted(_files(folder), key=lambda parts: ([natural_key(part) for part in parts], parts))
    found: dict[str, Path] = {}
    for parts in relative:
        stem = "/".join((*parts[:-1], os.path.splitext(parts[-1])[0]))
        path = folder.joinpath(*parts)
        if stem in found:
            twice = f"{safe_name(found[stem].name)} and {safe_name(path.name)}"
            raise UserError(f"{safe_text(path.parent.name)!r} holds {twice}; keep one image a name.")
        found[stem] = path
    if not found:
        raise UserError(f"The folder {folder.name!r} holds no PNG, JPEG or WebP image.")
    return found


def _files(folder: Path) -> Iterator[tuple[str, ...]]:
    """The parts of each image's path below `folder`."""

    def refused(error: OSError) -> None:
        raise UserError(f"The folder {str(error.filename)!r} cannot be read ({error.strerror}).")

    for at, inner, files in os.walk(folder, onerror=refused):
        inner[:] = [name for name in inner if not name.startswith(".")]
        above = Path(at).relative_to(folder).parts
        for name in files:
            if name.startswith(".") or os.path.splitext(name)[1].lower() not in ENDINGS:
                continue
            if os.path.isfile(os.path.join(at, name)):  # a link to a file is read, one to nothing is not
                yield (*above, name)


def read_pair(name: str, pairing: Pairing) -> FilePair:
    """Read both files whole; UserError for one that cannot be read."""
    original = _read(pairing.originals[name], _where("original", name, pairing.originals[name]))
    reconstruction = _read(pairing.reconstructions[name], _where("reconstruction", name, pairing.reconstructions[name]))
    key = hashlib.sha256(os.fsencode(name) + b"\0")
    for data in (original, reconstruction):
        key.update(hashlib.sha256(data).digest())
    return FilePair(name, original, reconstruction, key.digest())


def decode_pair(files: FilePair, pairing: Pairing) -> tuple["np.ndarray", "np.ndarray"]:
    """Both as (H, W, 3) uint8 of one size; UserError with one sentence where that is not so."""
    name = files.name
    original = _decoded(files.original, pairing.originals[name], "original", name)
    reconstruction = _decoded(files.reconstruction, pairing.reconstructions[name], "reconstruction", name)
    if original.shape != reconstruction.shape:
        (h, w), (rh, rw) = original.shape[:2], reconstruction.shape[:2]
        sizes = f"the original is {w}×{h} pixels and the reconstruction {rw}×{rh}"
        raise UserError(f"{safe_text(name, SHOWN)}: {sizes}; save both in one size.")
    return original, reconstruction


def _read(path: Path, where: str) -> bytes:
    from core.images.intake import MAX_BYTES

    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)  # one more than may be: intake then says that it is too large
    except OSError as error:
        raise UserError(f"{where} cannot be read ({error.strerror}).") from None


def _decoded(data: bytes, path: Path, which: str, name: str) -> "np.ndarray":
    from core.images.intake import take_in_image

    try:
        return take_in_image(data, path.name).pixels
    except UserError as error:
        rest = str(error).removeprefix(safe_name(path.name))
        raise UserError(_where(which, name, path) + rest) from None


def _where(which: str, name: str, path: Path) -> str:
    """`the original faces/3.png`."""
    above, slash, _ = name.rpartition("/")
    return f"the {which} {safe_text(above, SHOWN)}{slash}{safe_name(path.name)}"

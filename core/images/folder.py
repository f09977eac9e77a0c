"""A folder of images: flat, or one folder a class. Nothing but PNG, JPEG and WebP is opened."""

import re
from collections.abc import Iterator
from itertools import islice, zip_longest
from pathlib import Path

from core.errors import UserError
from core.images.picture import Picture

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


def folder_pictures(folder: Path, *, limit: int | None = None) -> tuple[list[Picture], tuple[str, ...]]:
    """Decode the first `limit` images of a folder; return them and its class names (none when it is flat).

    Images lie in the folder itself, or in its class folders; then they come one class in turn, and the label counts
    the class folders in natural order. Names that occur twice get their class, then a number, in front. Hidden
    files and links that leave the folder are left out. Raises UserError for an empty folder and for an image that
    cannot be read.
    """
    from core.images.intake import MAX_BYTES, take_in_image

    flat = _images(folder)
    classes = [child for child in _sorted(folder) if child.is_dir() and not child.is_symlink() and _images(child)]
    if flat and classes:
        raise UserError(
            f"The folder {folder.name!r} holds images and class folders ({classes[0].name}, …); keep one of the two."
        )
    if not flat and not classes:
        raise UserError(f"The folder {folder.name!r} holds no PNG, JPEG or WebP image.")
    found: list[tuple[Path, int | None]] = [(path, None) for path in flat]
    found += _in_turn([_images(child) for child in classes])
    chosen = list(islice(found, limit))
    names = _unique_names([path for path, _ in found])
    pictures = []
    for path, label in chosen:
        class_name = "" if label is None else classes[label].name
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)  # one more than may be: intake then says that it is too large
        pixels = take_in_image(data, path.name).pixels
        pictures.append(Picture(names[path], pixels, label, class_name))
    return pictures, tuple(child.name for child in classes)


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sort 2.png before 10.png."""
    parts = re.findall(r"\d+|\D+", name)
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part.casefold()) for part in parts]


def _sorted(folder: Path) -> list[Path]:
    children = [child for child in folder.iterdir() if not child.name.startswith(".")]
    return sorted(children, key=lambda child: (natural_key(child.name), child.name))


def _images(folder: Path) -> list[Path]:
    root = folder.resolve()
    return [
        child
        for child in _sorted(folder)
        if child.suffix.lower() in SUFFIXES and child.is_file() and child.resolve().is_relative_to(root)
    ]


def _in_turn(groups: list[list[Path]]) -> Iterator[tuple[Path, int | None]]:
    for row in zip_longest(*groups):
        for label, path in enumerate(row):
            if path is not None:
                yield path, label


def _unique_names(paths: list[Path]) -> dict[Path, str]:
    """Stem, else class-stem, else with a number: one name for each path, given in order."""
    names: dict[Path, str] = {}
    used: set[str] = set()
    stems = [path.stem for path in paths]
    twice = {stem for stem in stems if stems.count(stem) > 1} if len(set(stems)) < len(stems) else set()
    for path in paths:
        wanted = name = f"{path.parent.name}-{path.stem}" if path.stem in twice else path.stem
        number = 1
        while name in used:
            number += 1
            name = f"{wanted}-{number}"
        used.add(name)
        names[path] = name
    return names

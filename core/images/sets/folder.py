"""Any folder of class folders: PATH/CLASS/picture.png, or PATH/train/CLASS/… beside PATH/test/CLASS/… (or val)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from core.errors import UserError
from core.images.allowed import check_allowed
from core.images.dataset import PARTS, TEST, TRAIN
from core.images.folder import SUFFIXES, natural_key
from core.images.sets.archives import MAX_PICTURE
from core.images.sets.base import Index, Opened, decode, unique_names
from core.images.sets.cache import cached_index, file_checks, sentences
from core.names import safe_text
from core.settings import Settings

HELD_OUT = ("test", "val", "valid", "validation")
OTHER_FORMATS = (".bmp", ".gif", ".tif", ".tiff", ".heic", ".avif", ".ppm", ".jp2")


def open_folder(name: str, folder: Path, settings: Settings) -> Opened:
    """List the folder's pictures; none is decoded. Raises UserError for one without two classes with pictures."""
    if not folder.is_dir():
        raise UserError(
            f"There is no folder at {safe_text(str(folder), 200)!r}; give the path of a folder of class folders."
        )
    for _, root in _parts(folder):  # a link there may lead elsewhere; those further in are left out
        check_allowed(root, settings)
    index, _ = cached_index(settings, "folder", [folder], lambda draft: _build(folder))

    def read(places: Sequence[int]) -> Iterable[np.ndarray]:
        return (_decoded(folder / index.members[one], folder) for one in places)

    return Opened(name, folder.name, index, read)


def _build(folder: Path) -> Index:
    roots = _parts(folder)
    found = [(part, path) for part, root in roots for path in _pictures(root)]
    _check(found, folder)
    labels = [path.parent.name for _, path in found]
    classes = tuple(sorted(set(labels), key=lambda one: (natural_key(one), one)))
    if len(classes) < 2:
        raise UserError(
            f"The folder {folder.name!r} holds one class ({classes[0]}); a data set has at least two class folders."
        )
    place = {one: number for number, one in enumerate(classes)}
    paths = [path for _, path in found]
    return Index(
        classes,
        unique_names([path.stem for path in paths], labels),
        [place[one] for one in labels],
        None if len(roots) == 1 else [PARTS.index(part) for part, _ in found],
        sizes=[path.stat().st_size for path in paths],
        checks=file_checks(paths),
        members=[path.relative_to(folder).as_posix() for path in paths],
    )


def _parts(folder: Path) -> list[tuple[str, Path]]:
    """The folder itself, or its train and test folders where it has both."""
    children = {child.name.casefold(): child for child in folder.iterdir() if child.is_dir()}
    test = next((children[one] for one in HELD_OUT if one in children), None)
    if "train" in children and test is not None:
        return [(TRAIN, children["train"]), (TEST, test)]
    return [(TRAIN, folder)]


def _pictures(root: Path) -> list[Path]:
    """Files of the class folders, sorted; hidden ones and links that leave the folder are left out."""
    inside = root.resolve()
    found = []
    for child in sorted(root.iterdir(), key=lambda one: (natural_key(one.name), one.name)):
        if child.name.startswith(".") or not child.is_dir() or not child.resolve().is_relative_to(inside):
            continue
        files = [one for one in child.iterdir() if one.suffix.lower() in (*SUFFIXES, *OTHER_FORMATS)]
        found += [
            one
            for one in sorted(files, key=lambda one: (natural_key(one.name), one.name))
            if not one.name.startswith(".") and (not one.is_symlink() or one.resolve().is_relative_to(inside))
        ]
    return found


def _check(found: Sequence[tuple[str, Path]], folder: Path) -> None:
    if not found:
        raise UserError(
            f"The folder {folder.name!r} holds no class folders with PNG, JPEG or WebP pictures; put the pictures of "
            "each class in a folder of its name."
        )
    foreign = [path for _, path in found if path.suffix.lower() not in SUFFIXES]
    if foreign:
        raise UserError(
            f"{foreign[0].parent.name}/{foreign[0].name} is a {foreign[0].suffix[1:].upper()}, where PNG, JPEG or "
            f"WebP are taken ({len(foreign)} such files); save them as PNG or remove them."
        )


def _decoded(path: Path, folder: Path) -> np.ndarray:
    with sentences(f"{path.parent.name}/{path.name}"), path.open("rb") as file:
        data = file.read(MAX_PICTURE + 1)  # one more than may be: intake then says that it is too large
    try:
        return decode(data, path.name)
    except UserError as error:
        raise UserError(f"In {path.parent.name}/ of {folder.name!r}: {error}") from error

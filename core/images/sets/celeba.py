"""CelebA: faces read from img_align_celeba.zip where they lie; a class is a person, or an attribute's yes or no."""

from __future__ import annotations

import difflib
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.errors import UserError
from core.images.dataset import PARTS, TEST, TRAIN
from core.images.sets.archives import MAX_PICTURE, PACKING, zip_member
from core.images.sets.base import Index, Opened, decode
from core.images.sets.cache import cached_index, file_checks, sentences
from core.names import safe_text
from core.settings import Settings

FOLDER = "img_align_celeba"
MAX_LINES = 1_000_000
PUBLISHED = {"0": TRAIN, "1": TRAIN, "2": TEST}  # its validation part counts as training


def open_celeba(name: str, title: str, variant: str, paths: Sequence[Path], settings: Settings) -> Opened:
    """Open the pictures with identity_CelebA.txt, list_attr_celeba.txt and list_eval_partition.txt, in this order.

    variant: "" or "identity" for people, else an attribute such as Smiling, with the classes "not Smiling" and
    "Smiling". People have no published split: the published parts share none. Raises UserError.
    """
    images, *tables = paths
    variant = "" if variant == "identity" else variant
    kind = "celeba" if not variant else f"celeba-{safe_text(variant, 40)}"
    reader = "".join(one if one.isalnum() or one in "-_" else "_" for one in kind)
    index, _ = cached_index(settings, reader, paths, lambda draft: _build(images, tables, variant, title))

    def read(places: Sequence[int]) -> Iterable[np.ndarray]:
        if images.is_dir():
            return _from_folder(images, [index.members[place] for place in places])
        return _from_zip(images, index, places)

    return Opened(name, title if not variant else f"{title}, {variant}", index, read)


def _from_zip(path: Path, index: Index, places: Sequence[int]) -> Iterator[np.ndarray]:
    """By the offsets in the index: opening 200,000 members with zipfile costs a second each time."""
    packed, deflated = index.facts["packed"], index.facts["deflated"]
    with path.open("rb") as file:
        for place in places:
            member = index.members[place].rpartition("/")[2]
            with sentences(f"{member} in {path.name}"):
                data = zip_member(file, index.offsets[place], packed[place], index.sizes[place], deflated[place])
            yield decode(data, member)


def _from_folder(path: Path, wanted: Sequence[str]) -> Iterator[np.ndarray]:
    for member in wanted:
        with sentences(member), (path / member).open("rb") as file:
            data = file.read(MAX_PICTURE + 1)
        yield decode(data, member)


def _build(images: Path, tables: Sequence[Path], variant: str, title: str) -> Index:
    identity, attributes, partition = tables
    where = _found(images)
    parts: list[int] | None = None
    classes: tuple[str, ...]
    if variant:
        labels, classes = _attribute(attributes, variant)
        published = {file: PUBLISHED.get(cell) for file, cell in _pairs(partition)}
    else:
        people = dict(_pairs(identity))
        numbers = sorted(set(people.values()), key=lambda one: (len(one), one))
        classes = tuple(f"person {number}" for number in numbers)
        place = {number: label for label, number in enumerate(numbers)}
        labels = {file: place[number] for file, number in people.items()}
    files = [file for file in labels if file in where]
    if len(files) < len(labels):
        missing = next(file for file in labels if file not in where)
        raise UserError(
            f"{images.name} holds {len(files):,} of the {len(labels):,} pictures that the lists name "
            f"({safe_text(missing)} is missing); get it again."
        )
    if variant:
        unknown = next((file for file in files if published.get(file) is None), None)
        if unknown is not None:
            raise UserError(f"{partition.name} gives {safe_text(unknown)} no part 0, 1 or 2; get it again.")
        parts = [PARTS.index(published[file] or TRAIN) for file in files]
    offsets = [where[file].offset for file in files]
    return Index(
        classes,
        [file.rpartition(".")[0] for file in files],
        [labels[file] for file in files],
        parts,
        sizes=[where[file].size for file in files],
        checks=[where[file].check for file in files],
        offsets=offsets,
        members=[where[file].member for file in files],
        facts={
            "packed": [where[file].packed for file in files],
            "deflated": [where[file].deflated for file in files],
        },
    )


@dataclass(frozen=True)
class _Where:
    """Where a picture lies: its name in the zip or folder; bytes, and in a zip where and how they are packed."""

    member: str
    size: int
    check: int
    offset: int = 0
    packed: int = 0
    deflated: bool = False


def _found(images: Path) -> dict[str, _Where]:
    """000001.jpg -> where it lies."""
    if images.is_dir():
        inner = images / FOLDER if (images / FOLDER).is_dir() else images
        files = [one for one in inner.iterdir() if one.suffix == ".jpg" and not one.is_symlink()]
        return {
            one.name: _Where(str(one.relative_to(images)), one.stat().st_size, check)
            for one, check in zip(files, file_checks(files), strict=True)
        }
    found = {}
    with zipfile.ZipFile(images) as archive:
        for info in archive.infolist():
            if not info.filename.endswith(".jpg"):
                continue
            if info.flag_bits & 1 or info.compress_type not in PACKING or info.file_size > MAX_PICTURE:
                raise UserError(
                    f"{safe_text(info.filename)} is not packed as CelebA's pictures are; get the zip again."
                )
            found[info.filename.rpartition("/")[2]] = _Where(
                info.filename,
                info.file_size,
                info.CRC,
                info.header_offset,
                info.compress_size,
                info.compress_type == zipfile.ZIP_DEFLATED,
            )
    return found


def _lines(path: Path) -> list[list[str]]:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{path.name} is not the plain text that CelebA has; get it again.") from error
    if len(lines) > MAX_LINES:
        raise UserError(f"{path.name} has more than {MAX_LINES:,} lines; get the right file.")
    return [line.split() for line in lines if line.strip()]


def _pairs(path: Path) -> list[tuple[str, str]]:
    rows = _lines(path)
    wrong = next((number for number, row in enumerate(rows, 1) if len(row) != 2 or not row[1].isdecimal()), None)
    if wrong is not None or not rows:
        raise UserError(f"Line {wrong or 1} of {path.name} is not a file name and a number; get the right file.")
    return [(file, number) for file, number in rows]


def _attribute(path: Path, attribute: str) -> tuple[dict[str, int], tuple[str, str]]:
    """File -> 0 or 1, and the two classes' names. First line: how many files; second: attributes; then -1 or 1 each."""
    rows = _lines(path)
    names = rows[1] if len(rows) > 2 else []
    if attribute not in names:
        near = difflib.get_close_matches(attribute, names, n=3, cutoff=0.4)
        hint = f"did you mean {', '.join(near)}?" if near else f"known: {', '.join(names)}."
        raise UserError(f"CelebA has no attribute called {safe_text(attribute)!r}; {hint}")
    column = 1 + names.index(attribute)
    bad = next(
        (place for place, row in enumerate(rows[2:], 3) if len(row) <= column or row[column] not in ("-1", "1")), 0
    )
    if bad:
        raise UserError(f"Line {bad} of {path.name} does not say -1 or 1 for {attribute}; get the file again.")
    return {row[0]: int(row[column] == "1") for row in rows[2:]}, (f"not {attribute}", attribute)

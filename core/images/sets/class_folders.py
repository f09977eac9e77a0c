"""Archives and unpacked folders that hold one folder a class: Caltech-101, Imagenette, LFW.

A zip, a plain tar and an unpacked folder are indexed and read where they lie. What cannot be (a compressed tar, an
archive within the archive) is gone through once: its pictures' bytes go one behind the other into a file of our own.
"""

from __future__ import annotations

import contextlib
import io
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from core.errors import UserError
from core.images.dataset import PARTS, TEST, TRAIN
from core.images.folder import SUFFIXES, natural_key
from core.images.sets.archives import MAX_PICTURE, PLAIN, Member, members, of_tar, read_in_place
from core.images.sets.base import Index, Opened, decode, unique_names
from core.images.sets.cache import BLOB, Blob, cached_index, file_checks, sentences
from core.names import safe_name, safe_text
from core.settings import Settings

MAX_TOTAL = 16 * 2**30  # bytes of all pictures of one archive
MAX_NESTED = 2 * 2**30  # bytes of a tar within a zip
WNIDS = {  # Imagenette's folders are WordNet's numbers; the names are those of its README
    "n01440764": "tench",
    "n02102040": "English springer",
    "n02979186": "cassette player",
    "n03000684": "chain saw",
    "n03028079": "church",
    "n03394916": "French horn",
    "n03417042": "garbage truck",
    "n03425413": "gas pump",
    "n03445777": "golf ball",
    "n03888257": "parachute",
}


@dataclass(frozen=True)
class Place:
    """Where in a data set a member belongs."""

    group: str  # its class
    part: str | None = None  # TRAIN or TEST; None where the publisher makes no split


Sort = Callable[[PurePosixPath], Place | None]  # None: not a picture of the data set


def open_class_folders(
    name: str, title: str, path: Path, sort: Sort, settings: Settings, *, reader: str, nested: str = "", least: int = 1
) -> Opened:
    """Open an archive or folder whose members `sort` puts into classes; those below `least` pictures are left out.

    nested: name of an archive within the archive that holds the pictures. The order is that of the members' paths,
    whatever the archive's own is.
    """
    index, folder = cached_index(settings, reader, [path], lambda draft: _build(path, sort, title, nested, draft))
    index = at_least(index, least, title)

    def read(places: Sequence[int]) -> Iterable[np.ndarray]:
        for place in places:
            yield decode(_bytes(place), f"{index.names[place]}{Path(index.members[place]).suffix}")

    def _bytes(place: int) -> bytes:
        with sentences(index.members[place]):
            if path.is_dir():
                with (path / index.members[place]).open("rb") as file:
                    return file.read(MAX_PICTURE + 1)
            how = index.facts["how"][place]
            with (path if how else folder / BLOB).open("rb") as file:
                packed = index.facts["packed"][place]
                return read_in_place(file, how or PLAIN, index.offsets[place], packed, index.sizes[place])

    return Opened(name, title, index, read)


@dataclass(frozen=True)
class Found:
    """A picture where it was found. how, packed: as core.images.sets.archives.Member has them."""

    path: PurePosixPath
    place: Place
    size: int
    check: int  # CRC-32 of its bytes, or what stands in for it
    offset: int = 0
    how: str = ""
    packed: int = 0


def _build(path: Path, sort: Sort, title: str, nested: str, draft: Path) -> Index:
    found: list[Found] = []
    total = 0
    with contextlib.ExitStack() as stack:
        blob = None
        for member in _pictures(path, nested):
            place = sort(member.path)
            if place is None:
                continue
            total += member.size
            if total > MAX_TOTAL:
                raise UserError(f"{path.name} holds more than {MAX_TOTAL >> 30} GiB of pictures; it is not {title}.")
            if path.is_dir():
                found.append(Found(member.path, place, member.size, 0))
                continue
            check, offset = member.crc, member.offset
            if check is None or not member.how:
                data = member.read()
                check = zlib.crc32(data)
                if not member.how:
                    blob = blob or stack.enter_context(Blob(draft))
                    offset = blob.add(data)
            member.check_size()
            found.append(Found(member.path, place, member.size, check, offset, member.how, member.packed))
    if not found:
        raise UserError(f"{path.name} holds no pictures in class folders as {title} has them; get the right archive.")
    if path.is_dir():
        checks = file_checks([path / one.path for one in found])
        found = [replace(one, check=check) for one, check in zip(found, checks, strict=True)]
    return index_of(found)


def index_of(found: list[Found]) -> Index:
    """The index in the natural order of class and path."""
    found = sorted(found, key=lambda one: (natural_key(one.place.group), natural_key(str(one.path)), str(one.path)))
    groups = [one.place.group for one in found]
    classes = tuple(sorted(set(groups), key=lambda one: (natural_key(one), one)))
    number = {one: place for place, one in enumerate(classes)}
    parts = [one.place.part for one in found]
    return Index(
        classes,
        unique_names([one.path.stem for one in found], groups),
        [number[group] for group in groups],
        None if None in parts else [PARTS.index(part) for part in parts if part is not None],
        sizes=[one.size for one in found],
        checks=[one.check for one in found],
        offsets=[one.offset for one in found],
        members=[str(one.path) for one in found],
        facts={"how": [one.how for one in found], "packed": [one.packed for one in found]},
    )


def at_least(index: Index, least: int, title: str) -> Index:
    """The index without classes of fewer pictures; UserError where fewer than two classes remain."""
    counts = np.bincount(index.labels, minlength=len(index.classes))
    kept = [label for label in range(len(index.classes)) if counts[label] >= least]
    if len(kept) < 2:
        raise UserError(
            f"{title} has {len(kept)} classes with at least {least} pictures here, where two are needed; ask for fewer "
            "pictures of each, or get the whole archive."
        )
    if len(kept) == len(index.classes):
        return index
    number = {label: place for place, label in enumerate(kept)}
    rows = [place for place, label in enumerate(index.labels) if label in number]
    return Index(
        tuple(index.classes[label] for label in kept),
        [index.names[row] for row in rows],
        [number[index.labels[row]] for row in rows],
        None if index.parts is None else [index.parts[row] for row in rows],
        sizes=[index.sizes[row] for row in rows],
        checks=[index.checks[row] for row in rows],
        offsets=[index.offsets[row] for row in rows],
        members=[index.members[row] for row in rows],
        facts={fact: [values[row] for row in rows] for fact, values in index.facts.items()},
    )


def _pictures(path: Path, nested: str) -> Iterator[Member]:
    for member in members(path):
        if nested and member.path.name == nested:
            yield from of_tar(io.BytesIO(member.read(MAX_NESTED)), nested)
        else:
            yield member


def _picture(path: PurePosixPath) -> bool:
    return path.suffix.lower() in SUFFIXES and len(path.parts) >= 2


def caltech(path: PurePosixPath) -> Place | None:
    """101_ObjectCategories/CLASS/image_0001.jpg; the class of odd pictures is none of the 101."""
    if not _picture(path) or path.parent.name.startswith("BACKGROUND") or "Annotations" in path.parts:
        return None
    return Place(safe_name(path.parent.name))


def imagenette(path: PurePosixPath) -> Place | None:
    """imagenette2-160/{train,val}/WNID/NAME.JPEG."""
    if not _picture(path) or len(path.parts) < 3 or path.parts[-3] not in ("train", "val"):
        return None
    group = WNIDS.get(path.parts[-2])
    return None if group is None else Place(group, TRAIN if path.parts[-3] == "train" else TEST)


def people(path: PurePosixPath) -> Place | None:
    """lfw/First_Last/First_Last_0001.jpg."""
    return Place(safe_name(path.parent.name.replace("_", " "))) if _picture(path) else None


LEAST_OF_A_PERSON = 20


def _open_caltech(name: str, title: str, path: Path, variant: str, settings: Settings) -> Opened:
    return open_class_folders(
        name, title, path, caltech, settings, reader="caltech101", nested="101_ObjectCategories.tar.gz"
    )


def _open_imagenette(name: str, title: str, path: Path, variant: str, settings: Settings) -> Opened:
    return open_class_folders(name, title, path, imagenette, settings, reader="imagenette")


def _open_people(name: str, title: str, path: Path, variant: str, settings: Settings) -> Opened:
    if variant and not (variant.isascii() and variant.isdecimal() and 0 < int(variant[:6]) < 1000 and len(variant) < 5):
        raise UserError(
            f"lfw-people:{safe_text(variant, 20)} was asked for, but behind the colon belongs the least number of "
            "pictures of a person, such as lfw-people:20."
        )
    least = int(variant) if variant else LEAST_OF_A_PERSON
    return open_class_folders(name, title, path, people, settings, reader="lfw", least=least)


OPENERS: Mapping[str, Callable[[str, str, Path, str, Settings], Opened]] = {
    "caltech101": _open_caltech,
    "imagenette": _open_imagenette,
    "lfw-people": _open_people,
}

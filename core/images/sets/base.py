"""An opened data set: an index in memory, and a reader that decodes the pictures at some places."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from core.errors import UserError
from core.images.dataset import PARTS, TEST, TRAIN, Entry
from core.images.picture import Picture
from core.images.split import held_out
from core.names import safe_name

Reader = Callable[[Sequence[int]], Iterable[np.ndarray]]  # places -> (H, W, 3) uint8, in this order
DEFAULT_SHARE, DEFAULT_SEED = 0.2, 0  # of the split that entries show where the publisher makes none


@dataclass(frozen=True)
class Index:
    """What is known of every picture without decoding one. All lists have one place a picture."""

    classes: tuple[str, ...]
    names: list[str]
    labels: list[int]
    parts: list[int] | None = None  # places in dataset.PARTS; None where the publisher makes no split
    sizes: list[int] = field(default_factory=list)  # bytes of each, where they say something
    checks: list[int] = field(default_factory=list)  # CRC-32 of each picture's bytes, or what stands in for it
    offsets: list[int] = field(default_factory=list)  # where each begins, for readers that need it
    members: list[str] = field(default_factory=list)  # what each is called in its container, for readers that need it
    facts: dict[str, Any] = field(default_factory=dict)  # what else the reader wants to find again

    def fingerprint(self) -> str:
        """sha256 over classes, names, labels, the published split, sizes and checks: other pixels make another one."""
        digest = hashlib.sha256("\n".join(self.classes).encode())
        parts = self.parts if self.parts is not None else [-1] * len(self.names)
        sizes = self.sizes or [0] * len(self.names)
        checks = self.checks or [0] * len(self.names)
        rows = zip(self.names, self.labels, parts, sizes, checks, strict=True)
        digest.update("".join("\0" + "\t".join(map(str, row)) for row in rows).encode())
        return digest.hexdigest()


class Opened:
    """A data set over an Index and a reader; implements core.images.dataset.DataSet."""

    def __init__(self, name: str, title: str, index: Index, reader: Reader) -> None:
        if not index.names:
            raise UserError(f"The data set {title} holds no picture; check where its files come from.")
        self.name = name
        self.title = title
        self.index = index
        self._reader = reader

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the data set's order."""
        return self.index.classes

    @property
    def published_split(self) -> bool:
        """Whether the publisher says which pictures are held out."""
        return self.index.parts is not None

    @cached_property
    def entries(self) -> tuple[Entry, ...]:
        """Every picture; where there is no published split, parts are those of seed 0 with a fifth held out."""
        index = self.index
        if index.parts is not None:
            parts = [PARTS[part] for part in index.parts]
        else:
            held = held_out(index.names, index.labels, share=DEFAULT_SHARE, seed=DEFAULT_SEED)
            parts = [TEST if one else TRAIN for one in held]
        return tuple(map(Entry, index.names, index.labels, parts))

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over what the index says."""
        return self.index.fingerprint()

    def pictures(self, places: Sequence[int]) -> list[Picture]:
        """Decode the entries at these places, in this order; UserError that names a broken one."""
        pixels = self._reader(places)
        index = self.index
        return [
            Picture(index.names[place], one, index.labels[place], index.classes[index.labels[place]])
            for place, one in zip(places, pixels, strict=True)
        ]


def decode(data: bytes, filename: str) -> np.ndarray:
    """(H, W, 3) uint8 of a PNG, JPEG or WebP; UserError that names the file for any other."""
    from core.images.intake import take_in_image

    return take_in_image(data, filename).pixels


def unique_names(stems: Sequence[str], groups: Sequence[str]) -> list[str]:
    """One name a picture, fit for a file name: its stem; where stems repeat, its class in front, then a number."""
    clean = [safe_name(stem) for stem in stems]
    seen: set[str] = set()
    twice = {stem for stem in clean if stem in seen or seen.add(stem)}  # type: ignore[func-returns-value]
    taken: set[str] = set()
    names = []
    for stem, group in zip(clean, groups, strict=True):
        wanted = name = safe_name(f"{group}-{stem}") if stem in twice else stem
        number = 1
        while name in taken:
            number += 1
            name = f"{wanted}-{number}"
        taken.add(name)
        names.append(name)
    return names

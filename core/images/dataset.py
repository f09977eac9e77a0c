"""What an opened data set is: an index that costs little, and pictures that are decoded when asked for. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from core.images.picture import Picture

TRAIN, TEST = "train", "test"
PARTS = (TRAIN, TEST)


@dataclass(frozen=True)
class Entry:
    """One picture of a data set before it is decoded. name: unique in the data set, fit for a file name."""

    name: str
    label: int  # its class's place in DataSet.classes
    part: str = TRAIN  # TRAIN or TEST (held out), as its publisher splits it, or by a split seed where nobody does


class DataSet(Protocol):
    """A data set on this machine, opened. entries never change their order."""

    @property
    def name(self) -> str:
        """As it is asked for: cifar100, lfw, or a folder's or a file's path behind `folder:` or `parquet:`."""

    @property
    def title(self) -> str:
        """For people."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; an entry's label is a place in here."""

    @property
    def entries(self) -> Sequence[Entry]:
        """Every picture, in the data set's own order."""

    @property
    def published_split(self) -> bool:
        """Whether the publisher says what is held out; else entries show the one of split seed 0 and a fifth."""

    @property
    def fingerprint(self) -> str:
        """sha256 over names, labels, split and the pictures' bytes: another one means other contents."""

    def pictures(self, places: Sequence[int]) -> list[Picture]:
        """Decode the entries at these places, in this order; UserError that names a broken one."""


@dataclass(frozen=True)
class DataChoice:
    """What of a data set is taken: the same choice of the same data set is the same images, for ever.

    Training takes the train part, and looks at accuracy on the test part. Originals take what `part` says.
    """

    dataset: str  # as core.images.datasets.open_dataset takes it
    part: str = TRAIN
    count: int | None = None  # images in all; None: every one
    per_class: int | None = None  # images of each class; None: as they come
    classes: tuple[str, ...] = ()  # only these; empty: every class
    names: tuple[str, ...] = ()  # a fixed list of entries, in this order; then part, count, per_class do not count
    seed: int = 0  # of the draw alone: another one draws other images of the same part
    held_out: float = 0.2  # share of each class that is the test part where the publisher makes no split
    split_seed: int = 0  # of that split; what one training holds out, others hold out only with the same two
    fingerprint: str = ""  # of the data set when the choice was stored; "" before that

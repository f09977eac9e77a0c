"""The pictures of a choice: as originals for one model, or as arrays to train on. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from core.errors import UserError
from core.images.dataset import TEST, TRAIN, DataChoice, DataSet
from core.images.datasets import open_dataset
from core.images.drawing import choose, class_places, in_part
from core.images.load import prepare
from core.images.picture import Picture, Prepared
from core.images.resize import to_input
from core.models.spec import ModelSpec
from core.settings import Settings

PIECE = 256  # pictures decoded at once
MOST_BYTES = 2 * 2**30  # of pixels to train on
MOST_HELD = 10_000  # held-out images that a training looks at
Beat = Callable[[int, int], None]  # (images so far, images in all)


@dataclass(frozen=True)
class TrainingImages:
    """What a training takes. Unpacks into its first five fields."""

    images: np.ndarray  # (N, H, W, C) uint8
    labels: np.ndarray  # (N,) int64, places in class_names
    held_images: np.ndarray  # (M, H, W, C) uint8; M = 0 where nothing is held out
    held_labels: np.ndarray  # (M,) int64
    class_names: tuple[str, ...]
    held_of: int = 0  # held-out images there are; more than M where they were capped, evenly over the classes

    def __iter__(self) -> Iterator[Any]:
        """The five arrays and names, in order."""
        return iter((self.images, self.labels, self.held_images, self.held_labels, self.class_names))


def load_choice(settings: Settings, choice: DataChoice, *, spec: ModelSpec, seed: int = 0) -> list[Prepared]:
    """Originals of the choice for one model, in the choice's order; labels are the data set's where they fit.

    Labels that do not fit are drawn by the seed and marked so. Raises UserError.
    """
    pictures, classes = counted_pictures(open_dataset(choice.dataset, settings), choice, spec)
    return prepare(pictures, spec=spec, seed=seed, label_source="dataset", classes=classes)


def counted_pictures(dataset: DataSet, choice: DataChoice, spec: ModelSpec) -> tuple[list[Picture], tuple[str, ...]]:
    """The choice's pictures in its order, and the names of the classes that their labels count. Raises UserError.

    A model with class names is compared with the classes of these pictures; one with as many classes as the data set,
    or more, with all of them; any other with the chosen classes.
    """
    places = choose(dataset, choice)
    counted = _counted(dataset, choice, places, spec)
    renumber = {label: number for number, label in enumerate(counted)}
    pictures = [
        replace(one, label=None if one.label is None else renumber[one.label])
        for piece in _pieces(dataset, places)
        for one in piece
    ]
    return pictures, tuple(dataset.classes[label] for label in counted)


def training_images(
    settings: Settings, choice: DataChoice, spec: ModelSpec, beat: Beat | None = None
) -> TrainingImages:
    """The choice's training part at the model's size, and the held-out part of the same classes.

    Decoded in pieces, so that memory holds little beyond the result; beat is called after each piece. At most 10,000
    held-out images are taken, evenly over the classes; held_of says of how many. Raises UserError for a broken picture,
    fewer than two classes, a model with another number of classes, and above 2 GiB of pixels.
    """
    dataset = open_dataset(choice.dataset, settings)
    places = choose(dataset, replace(choice, part=TRAIN))
    if choice.names:
        counted = tuple(sorted({dataset.entries[place].label for place in places}))
    else:
        counted = class_places(dataset, choice.classes)
    if len(counted) < 2:
        raise UserError(
            f"A training needs at least two classes, but this choice of {dataset.title} holds one "
            f"({dataset.classes[counted[0]]}); choose more."
        )
    if len(counted) != spec.num_classes:
        raise UserError(
            f"This choice of {dataset.title} has {len(counted)} classes, but the model has {spec.num_classes}; make "
            "them the same."
        )
    held, held_of = _held(dataset, choice, counted, places)
    _check_size(len(places) + len(held), spec)
    renumber = {label: number for number, label in enumerate(counted)}
    total = len(places) + len(held)
    images, labels = _arrays(dataset, places, spec, renumber, lambda done: beat(done, total) if beat else None)
    held_images, held_labels = _arrays(
        dataset, held, spec, renumber, lambda done: beat(len(places) + done, total) if beat else None
    )
    names = tuple(dataset.classes[label] for label in counted)
    return TrainingImages(images, labels, held_images, held_labels, names, held_of)


def counted_classes(dataset: DataSet, choice: DataChoice, spec: ModelSpec) -> tuple[int, ...]:
    """The classes of counted_pictures, by their places in dataset.classes; no picture is decoded."""
    return _counted(dataset, choice, choose(dataset, choice), spec)


def _counted(dataset: DataSet, choice: DataChoice, places: Sequence[int], spec: ModelSpec) -> tuple[int, ...]:
    """Classes of the data set that the model's classes are compared with."""
    if spec.class_names:
        return tuple(sorted({dataset.entries[place].label for place in places}))
    if len(dataset.classes) <= spec.num_classes or choice.names:
        return tuple(range(len(dataset.classes)))
    return class_places(dataset, choice.classes)


def _held(
    dataset: DataSet, choice: DataChoice, counted: Sequence[int], taken: Sequence[int]
) -> tuple[tuple[int, ...], int]:
    """Places of held-out images, capped evenly, and how many there are; none that is trained on."""
    wanted = replace(
        choice,
        part=TEST,
        count=None,
        per_class=None,
        classes=tuple(dataset.classes[label] for label in counted),
        names=(),
    )
    labels = np.fromiter((entry.label for entry in dataset.entries), np.int64, len(dataset.entries))
    if not (in_part(dataset, wanted) & np.isin(labels, counted)).any():
        return (), 0  # no accuracy can be told
    places = choose(dataset, wanted)
    trained = set(taken)
    places = tuple(place for place in places if place not in trained)
    return places[:MOST_HELD], len(places)


def _check_size(count: int, spec: ModelSpec) -> None:
    each = spec.height * spec.width * spec.channels
    if count * each > MOST_BYTES:
        raise UserError(
            f"{count:,} images of {spec.width}×{spec.height}×{spec.channels} are {count * each / 2**30:.1f} GiB of "
            f"pixels, where at most {MOST_BYTES >> 30} GiB are taken; lower the images of each class, the classes "
            "or the input size."
        )


def _arrays(
    dataset: DataSet, places: Sequence[int], spec: ModelSpec, renumber: dict[int, int], beat: Callable[[int], object]
) -> tuple[np.ndarray, np.ndarray]:
    images = np.zeros((len(places), spec.height, spec.width, spec.channels), dtype=np.uint8)
    labels = np.fromiter((renumber[dataset.entries[place].label] for place in places), np.int64, len(places))
    done = 0
    for pictures in _pieces(dataset, places):
        for picture in pictures:
            images[done] = to_input(picture.pixels, height=spec.height, width=spec.width, channels=spec.channels)
            done += 1
        beat(done)
    return images, labels


def _pieces(dataset: DataSet, places: Sequence[int]) -> Iterator[list[Picture]]:
    for start in range(0, len(places), PIECE):
        yield dataset.pictures(places[start : start + PIECE])

"""From a data set or a folder to originals for one model: resized, quantised to 8 bits and labelled."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from core.errors import UserError
from core.images.dataset import DataChoice
from core.images.datasets import DATASETS, FOLDER, PARQUET, is_here, is_name, open_dataset
from core.images.folder import folder_pictures
from core.images.label_table import label_by_table
from core.images.picture import Picture, Prepared
from core.images.resize import to_input
from core.images.samples import SAMPLES, sample_pictures
from core.models.spec import ModelSpec
from core.settings import Settings, load_settings

MOST_AT_ONCE = 1_000  # images of a data set that are taken without a word on how many


def load_images(
    source: str | Path,
    *,
    spec: ModelSpec,
    limit: int | None = None,
    seed: int = 0,
    labels: Path | None = None,
    images_list: Path | None = None,
    settings: Settings | None = None,
) -> list[Prepared]:
    """Load `limit` pictures of a bundled set, a data set (cifar100, folder:…, parquet:…) or a folder, for `spec`.

    A bundled set or a folder of class folders comes one class in turn, so any limit is as balanced as it can be; `lfw`
    shows seven faces to one other crop; that order never depends on the seed. Of a data set, `limit` pictures of the
    training part are drawn by the seed, or those of `images_list` are taken (core.images.lists). labels is a CSV with
    the columns name and label (a number or a class name of the model). settings: where data sets lie; by default the
    environment's. Raises UserError.
    """
    if limit is not None and limit < 1:
        raise UserError(f"The limit must be at least 1 image, not {limit}.")
    pictures: Sequence[Picture]
    classes: Sequence[str]
    if isinstance(source, str) and (images_list is not None or is_dataset(source, settings or load_settings())):
        pictures, classes = _from_dataset(source, spec, limit, seed, images_list, settings or load_settings())
        label_source = "dataset"
    elif isinstance(source, str) and source in SAMPLES:
        pictures, label_source = sample_pictures(source)[:limit], "dataset"
        classes = SAMPLES[source].classes
    else:
        folder = Path(source)
        if not folder.is_dir():
            raise UserError(
                f"There is no data set and no folder called {str(source)[:200]!r}; "
                f"give one of {', '.join(DATASETS)}, folder:PATH, parquet:PATH, or the path of a folder."
            )
        pictures, classes = folder_pictures(folder, limit=limit)
        label_source = "folder"
    if labels is not None:
        pictures, label_source, classes = label_by_table(pictures, labels, spec), "table", ()
    return prepare(pictures, spec=spec, seed=seed, label_source=label_source, classes=classes)


def is_dataset(source: str, settings: Settings) -> bool:
    """Whether a name is a data set's, not a bundled one's; one that is not here gives way to a folder of its name."""
    if source in SAMPLES or not is_name(source):
        return False
    if source.startswith((FOLDER, PARQUET)):
        return True
    return is_here(source, settings) or not Path(source).is_dir()


def _from_dataset(
    source: str, spec: ModelSpec, limit: int | None, seed: int, images_list: Path | None, settings: Settings
) -> tuple[list[Picture], tuple[str, ...]]:
    from core.images.chosen import counted_pictures
    from core.images.lists import read_list

    dataset = open_dataset(source, settings)
    if images_list is not None:
        choice = read_list(images_list, dataset)
        choice = replace(choice, names=choice.names[:limit])
    elif limit is None and len(dataset.entries) > MOST_AT_ONCE:
        raise UserError(
            f"{dataset.title} has {len(dataset.entries):,} images; say how many with --limit, or which with "
            "--images-list."
        )
    else:
        choice = DataChoice(source, count=limit, seed=seed)
    return counted_pictures(dataset, choice, spec)


def prepare(
    pictures: Sequence[Picture],
    *,
    spec: ModelSpec,
    seed: int = 0,
    label_source: str = "hand",
    classes: Sequence[str] = (),
) -> list[Prepared]:
    """Make originals of pictures. A picture whose class is unknown or does not fit the model gets a drawn label.

    classes names the classes that the pictures' labels count; empty: their labels count the model's own classes,
    and one beyond them raises UserError. A drawn label depends on the seed and the picture's name alone.
    """
    if not pictures:
        raise UserError("There is no image to attack; choose at least one.")
    meaning = class_map(classes, spec) if classes else {label: label for label in range(spec.num_classes)}
    prepared = []
    for picture in pictures:
        label = None if picture.label is None or meaning is None else meaning.get(picture.label)
        if label is None and picture.label is not None and not classes:
            raise UserError(
                f"The label of {picture.name} is {picture.label}, but the model has the classes 0 to "
                f"{spec.num_classes - 1}; correct the label."
            )
        prepared.append(
            Prepared(
                name=picture.name,
                original=to_input(picture.pixels, height=spec.height, width=spec.width, channels=spec.channels),
                source=picture.pixels,
                label=draw_label(picture.name, spec.num_classes, seed) if label is None else label,
                label_source="drawn" if label is None else label_source,
                class_name=picture.class_name,
            )
        )
    return prepared


def class_map(classes: Sequence[str], spec: ModelSpec) -> dict[int, int] | None:
    """Data set class -> the model's class, or None when they do not fit and labels must be drawn.

    A model with class names wants every class by name (or, without names in common, none). Class folders that are
    called 0, 7, 12 … mean those classes. Otherwise the classes count from 0 in their order.
    """
    numbers = range(len(classes))
    if spec.class_names:
        known = {name.casefold(): place for place, name in enumerate(spec.class_names)}
        if all(name.casefold() in known for name in classes):
            return {number: known[classes[number].casefold()] for number in numbers}
    if all(name.isascii() and name.isdecimal() for name in classes):
        if all(int(name) < spec.num_classes for name in classes):
            return {number: int(classes[number]) for number in numbers}
        return None
    if spec.class_names or len(classes) > spec.num_classes:
        return None
    return {number: number for number in numbers}


def draw_label(name: str, num_classes: int, seed: int) -> int:
    """A label that depends on the seed and the name alone, so that other pictures of the batch do not move it."""
    digest = hashlib.sha256(f"{seed}\n{name}".encode()).digest()
    return int.from_bytes(digest[:16], "big") % num_classes  # 128 bits: the remainder's bias is below 1e-33

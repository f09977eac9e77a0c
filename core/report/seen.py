"""Whether a victim was trained on the images that an audit attacks: by a picture's name in the same files. No torch."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import select

from core.errors import UserError
from core.images.dataset import TRAIN, DataChoice, DataSet
from core.images.datasets import FOLDER, PARQUET, open_dataset
from core.images.sampling import choose
from core.settings import Settings
from core.storage.schema import jobs, models
from core.storage.store import Store

NOT_KNOWN = "It is not known whether the victim has seen these images"
OWN_FILES = (FOLDER, PARQUET)
SHARED_SOURCES = (frozenset({"lfw", "lfw-people"}), frozenset({"imagenette", "stanford-dogs"}))  # LFW, ImageNet


def seen_words(settings: Settings, trained_on: DataChoice, attacked: DataChoice | None) -> str:
    """A sentence on how many of the attacked images the victim was trained on; "" for published sets without a share.

    attacked: None where the images are of no data set. Whatever cannot be told is said to be not known. Raises
    UserError where the attacked choice cannot be met.
    """
    if attacked is None:
        return f"{NOT_KNOWN}: they are of no data set."
    first, second = source_of(trained_on.dataset), source_of(attacked.dataset)
    if first != second:
        own = first.startswith(OWN_FILES) or second.startswith(OWN_FILES)
        shared = any({first, second} <= both for both in SHARED_SOURCES)
        return f"{NOT_KNOWN}: it was trained on other files, which may hold them too." if own or shared else ""
    dataset = open_dataset(attacked.dataset, settings)
    taken = [dataset.entries[place].name for place in choose(dataset, attacked)]
    try:
        other = dataset if trained_on.dataset == attacked.dataset else open_dataset(trained_on.dataset, settings)
        known = {other.entries[place].name for place in trained_places(other, trained_on)}
    except UserError:
        return f"{NOT_KNOWN}: the data set that it learned from changed, or cannot be opened here."
    seen = sum(name in known for name in taken)
    if seen == len(taken):
        return "The victim was trained on all of these images."
    if seen == 0:
        return "Held out: the victim has seen none of these images."
    return f"The victim was trained on {seen:,} of these {len(taken):,} images."


def source_of(name: str) -> str:
    """What holds a data set's pictures: its record, whatever its variant, or the path where a link or .. ends."""
    for kind in OWN_FILES:
        if name.startswith(kind):
            return f"{kind}{Path(name.removeprefix(kind)).expanduser().resolve()}"
    return name.partition(":")[0]


def trained_places(dataset: DataSet, choice: DataChoice) -> frozenset[int]:
    """The places of the images that a training on the choice took: of its training part, or of its list."""
    return frozenset(choose(dataset, replace(choice, part=TRAIN)))


def trained_on(store: Store, model_id: int) -> DataChoice | None:
    """The images of the training that made a stored model; None where it was made elsewhere."""
    made = select(jobs.c.payload).join(models, models.c.job_id == jobs.c.id)
    with store.database.read() as connection:
        text = connection.execute(made.where(models.c.id == model_id, jobs.c.kind == "train")).scalar()
    return None if text is None else as_choice(json.loads(text)["data"])


def as_choice(asked: dict[str, Any]) -> DataChoice:
    """A choice as JSON keeps it."""
    values: dict[str, Any] = {name: tuple(one) if isinstance(one, list) else one for name, one in asked.items()}
    return DataChoice(**values)

"""Whether a victim was trained on the images that an audit attacks: by name, in the same data set. No torch."""

from dataclasses import replace

from core.errors import UserError
from core.images.dataset import TRAIN, DataChoice, DataSet
from core.images.datasets import open_dataset
from core.images.sampling import choose
from core.settings import Settings


def seen_words(settings: Settings, trained_on: DataChoice, attacked: DataChoice) -> str:
    """A sentence on how many of the attacked images the victim was trained on; "" where the data sets differ.

    Raises UserError where the attacked choice cannot be met; a data set that changed since the training is said.
    """
    if trained_on.dataset != attacked.dataset:
        return ""
    dataset = open_dataset(attacked.dataset, settings)
    taken = choose(dataset, attacked)
    try:
        known = trained_places(dataset, trained_on)
    except UserError:
        return "The data set changed since the victim was trained on it: whether it has seen these images is not known."
    seen = sum(place in known for place in taken)
    if seen == len(taken):
        return "The victim was trained on all of these images."
    if seen == 0:
        return "Held out: the victim has seen none of these images."
    return f"The victim was trained on {seen:,} of these {len(taken):,} images."


def trained_places(dataset: DataSet, choice: DataChoice) -> frozenset[int]:
    """The places of the images that a training on the choice took: of its training part, or of its list."""
    return frozenset(choose(dataset, replace(choice, part=TRAIN)))

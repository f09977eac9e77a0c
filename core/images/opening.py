"""A look at one's own pictures before anything long begins: some are decoded, and a broken one is named. No torch."""

from core.errors import UserError
from core.images.dataset import DataSet

MOST_OPENED = 200  # pictures that are decoded at once, spread evenly


def opened_words(dataset: DataSet, most: int = MOST_OPENED) -> str:
    """How many of the pictures were opened, in words. Raises UserError that names a broken one."""
    total = len(dataset.entries)
    step = max(1, -(-total // most))
    places = range(0, total, step)
    for place in places:
        (_,) = dataset.pictures([place])
    if len(places) == total:
        return "all of them were opened"
    return f"{len(places):,} of them, spread evenly, were opened; the others are when they are used"


def trouble(dataset: DataSet, most: int = MOST_OPENED) -> tuple[str, str]:
    """(words, ""), or ("", the sentence that names a broken picture)."""
    try:
        return opened_words(dataset, most), ""
    except UserError as error:
        return "", str(error)

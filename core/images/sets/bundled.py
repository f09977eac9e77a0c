"""The sets that come with SemSight, as data sets: `lfw` and `photos`. Nobody publishes a split of them."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence

import numpy as np

from core.images.samples import SAMPLES
from core.images.sets.base import Index, Opened


def open_bundled(name: str) -> Opened:
    """Open one by its name in SAMPLES."""
    sample = SAMPLES[name]
    pictures = sample.pictures()
    index = Index(
        sample.classes,
        [picture.name for picture in pictures],
        [picture.label or 0 for picture in pictures],
        sizes=[picture.pixels.nbytes for picture in pictures],
        checks=[zlib.crc32(picture.pixels.tobytes()) for picture in pictures],
    )

    def read(places: Sequence[int]) -> Iterable[np.ndarray]:
        return (pictures[place].pixels for place in places)

    return Opened(name, sample.title, index, read)

"""A picture as it came in, and the original that is made of it."""

from dataclasses import dataclass

import numpy as np

COLOUR_MODES = {1: "L", 3: "RGB"}  # Pillow's mode for a number of channels


@dataclass(frozen=True)
class Picture:
    """A decoded picture before any resize: pixels (H, W, 3) uint8, and what is known of its class.

    label counts the classes of its own data set from 0; None when nothing is known.
    """

    name: str  # unique in its data set, fit for a file name, without an extension
    pixels: np.ndarray
    label: int | None = None
    class_name: str = ""


@dataclass(frozen=True)
class Prepared:
    """An original, ready for one model: the very 8-bit pixels that the victim sees, and its source.

    label_source: "dataset", "folder", "table", "hand" or "drawn" (from the seed, because no class fits the model).
    """

    name: str
    original: np.ndarray  # (H, W, C) uint8 at the model's size
    source: np.ndarray  # (H', W', 3) uint8, before crop and resize
    label: int
    label_source: str
    class_name: str = ""  # of the data set; kept even where the label was drawn

"""Pictures that pages and exports derive from stored ones."""

import numpy as np

from core.images.resize import to_input
from core.storage.artifacts import decode_png, encode_png


def difference_png(original: bytes, reconstruction: bytes) -> bytes:
    """PNG of |original - reconstruction| for each channel: black where they are equal. Both PNGs have one size."""
    first, second = decode_png(original).astype(np.int16), decode_png(reconstruction).astype(np.int16)
    if first.shape != second.shape:
        raise ValueError(f"A difference needs images of one size, not {first.shape} and {second.shape}.")
    return encode_png(np.abs(first - second).astype(np.uint8))


def source_png(source: bytes, reconstruction: bytes) -> bytes:
    """The picture before augmentation, cut and resized to the reconstruction's size, as PNG.

    As an original is made without augmentation, so the two differ in nothing but what the audit changed.
    """
    height, width, channels = decode_png(reconstruction).shape
    return encode_png(to_input(decode_png(source), height=height, width=width, channels=channels))

"""Opening data sets by name: bundled, published (downloaded once), a folder of class folders, a Parquet file. No torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class InputFormat:
    """What a victim of a data set takes: pixels, and the normalisation (x - mean) / std of images in [0, 1]."""

    channels: int
    size: int  # pixels, height and width
    mean: tuple[float, ...]
    std: tuple[float, ...]

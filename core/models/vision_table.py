"""torchvision's classification models as measured by `python -m benchmarks.measure_vision`. Imports no torch."""

from typing import NamedTuple


class VisionRow(NamedTuple):
    """One model of torchvision; see core.models.catalogue.Architecture for what the fields mean."""

    name: str
    minimum_size: int
    training_minimum: int
    batchnorm: bool
    multiple: int = 1
    square: bool = False
    refused: str = ""


VISION_TABLE: tuple[VisionRow, ...] = ()

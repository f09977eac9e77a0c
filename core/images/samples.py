"""The pictures that come with SemSight: `lfw` (faces and other crops) and `photos` (crops of photographs).

Both keep one order for ever, so that the first N are the same N whatever the seed is. Licences of all of them are in
assets/images/LICENCES.md.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from core.images.picture import Picture
from core.registry import look_up, register

ASSETS = Path(__file__).resolve().parents[2] / "assets" / "images"
FACES = 100  # the first 100 of lfw_subset's 200 crops are faces


@dataclass(frozen=True)
class SampleSet:
    """A bundled data set; pictures() gives it in its fixed order."""

    name: str
    title: str
    summary: str
    classes: tuple[str, ...]  # a picture's label is its place in here
    count: int
    pictures: Callable[[], tuple[Picture, ...]]


SAMPLES: dict[str, SampleSet] = {}


def sample_pictures(name: str) -> tuple[Picture, ...]:
    """All pictures of a bundled set in order; raise UserError for an unknown name."""
    return look_up(SAMPLES, name, "bundled data set").pictures()


def lfw_order() -> list[int]:
    """The rows of lfw_subset in our order: seven faces, then one that is none, until the faces run out."""
    faces, others = list(range(FACES)), list(range(FACES, 2 * FACES))
    order: list[int] = []
    while faces:
        order += [*faces[:7], others.pop(0)]
        del faces[:7]
    return order + others


@cache
def lfw() -> tuple[Picture, ...]:
    """scikit-image's lfw_subset: 25×25 grey crops in [0, 1], rounded to 8 bits. Class 1 is a face, 0 is none."""
    from skimage import data

    crops: Callable[[], np.ndarray] = data.lfw_subset  # (200, 25, 25) in [0, 1]
    grey = np.rint(crops() * 255).astype(np.uint8)  # (200, 25, 25)
    pictures = []
    for row in lfw_order():
        label = int(row < FACES)
        name = f"face-{row:03d}" if label else f"other-{row:03d}"
        pixels = np.repeat(grey[row][..., None], 3, axis=2)
        pixels.flags.writeable = False  # one array for all who ask
        pictures.append(Picture(name, pixels, label, LFW_CLASSES[label]))
    return tuple(pictures)


@cache
def photos() -> tuple[Picture, ...]:
    """Square colour crops of four photographs, one of each in turn; the class is the photograph."""
    pictures = []
    for number in range(1, PHOTOS_EACH + 1):
        for label, photograph in enumerate(PHOTO_CLASSES):
            name = f"{photograph}-{number}"
            with Image.open(ASSETS / "photos" / f"{name}.png") as image:
                pictures.append(Picture(name, np.asarray(image.convert("RGB")), label, photograph))
    return tuple(pictures)


LFW_CLASSES = ("not a face", "face")
PHOTO_CLASSES = ("astronaut", "coffee", "cat", "rocket")
PHOTOS_EACH = 8

register(
    SAMPLES,
    "lfw",
    SampleSet(
        "lfw",
        "Faces (LFW subset)",
        "100 faces and 100 other crops of photographs, grey, 25×25 pixels.",
        LFW_CLASSES,
        2 * FACES,
        lfw,
    ),
)
register(
    SAMPLES,
    "photos",
    SampleSet(
        "photos",
        "Photographs",
        "32 colour crops of four photographs, 96×96 pixels.",
        PHOTO_CLASSES,
        PHOTOS_EACH * len(PHOTO_CLASSES),
        photos,
    ),
)

"""Cut the bundled `photos` out of scikit-image's photographs: `python -m core.images.make_photos`."""

from pathlib import Path

import numpy as np
from PIL import Image

from core.images.resize import to_input
from core.images.samples import ASSETS

SIZE = 96  # pixels, square
CROPS: dict[str, tuple[str, tuple[tuple[int, int, int], ...]]] = {
    # our class: (scikit-image's name, eight of (left, top, side) in its pixels), chosen by eye to show a thing each
    "astronaut": (
        "astronaut",
        (
            (150, 10, 150),
            (340, 0, 172),
            (290, 330, 182),
            (110, 140, 190),
            (115, 325, 120),
            (0, 0, 150),
            (0, 0, 512),
            (220, 260, 140),
        ),
    ),
    "coffee": (
        "coffee",
        (
            (160, 10, 260),
            (180, 210, 120),
            (310, 210, 130),
            (190, 70, 190),
            (440, 0, 160),
            (90, 0, 400),
            (70, 120, 180),
            (0, 190, 170),
        ),
    ),
    "cat": (
        "chelsea",
        (
            (70, 0, 300),
            (120, 60, 110),
            (270, 85, 110),
            (200, 190, 110),
            (130, 0, 160),
            (30, 140, 160),
            (200, 60, 190),
            (270, 0, 170),
        ),
    ),
    "rocket": (
        "rocket",
        (
            (190, 100, 260),
            (270, 105, 110),
            (250, 290, 137),
            (0, 60, 160),
            (80, 300, 127),
            (480, 40, 160),
            (110, 0, 427),
            (370, 240, 187),
        ),
    ),
}


def make_photos(folder: Path) -> list[Path]:
    """Write CLASS-NUMBER.png (96×96, RGB) for every crop into `folder` and return the paths."""
    from skimage import data

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for class_name, (photograph, crops) in CROPS.items():
        pixels: np.ndarray = getattr(data, photograph)()  # (H, W, 3) uint8
        for number, (left, top, side) in enumerate(crops, start=1):
            crop = pixels[top : top + side, left : left + side]
            if crop.shape != (side, side, 3):
                raise ValueError(f"Crop {number} of {photograph} leaves the picture: {crop.shape}.")
            path = folder / f"{class_name}-{number}.png"
            Image.fromarray(to_input(crop, height=SIZE, width=SIZE, channels=3)).save(path, optimize=True)
            paths.append(path)
    return paths


if __name__ == "__main__":
    print(f"{len(make_photos(ASSETS / 'photos'))} crops written to assets/images/photos")

"""What each ATS policy makes of a photograph: `python -m benchmarks.ats_pictures` writes docs/ats/*.png.

The paper's three policies, each with seven draws beside the photograph, and all 50 transformations of the authors'
list, each in both signs, though half of them have none. By the very functions that the training and the defence use.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from core.images.policies import LIST, preview, title_of, transform_signed
from core.images.samples import photos

FOLDER = Path(__file__).parent.parent / "docs" / "ats"
PHOTO = "astronaut-1"
POLICIES = ("3-1-7", "43-18-18", "3-1-7+43-18-18")
SIDE, SMALL, GAP, LINE = 96, 48, 4, 16  # px: a tile of a policy, one of the list, between tiles, of a line of text


def main() -> None:
    """Write the pictures."""
    FOLDER.mkdir(exist_ok=True)
    for policy in POLICIES:
        strip(policy, square(SIDE)).save(FOLDER / f"{policy}.png", optimize=True)
    whole_list(square(SMALL)).save(FOLDER / "list.png", optimize=True)
    sizes = {path.name: path.stat().st_size for path in sorted(FOLDER.glob("*.png"))}
    print("\n".join(f"{name}: {size / 1000:.0f} kB" for name, size in sizes.items()))


def square(side: int) -> np.ndarray:
    """The photograph, its middle, (side, side, 3) uint8."""
    pixels = next(picture.pixels for picture in photos() if picture.name == PHOTO)
    size = min(pixels.shape[:2])
    top, left = (pixels.shape[0] - size) // 2, (pixels.shape[1] - size) // 2
    image = Image.fromarray(pixels[top : top + size, left : left + size])
    return np.asarray(image.resize((side, side), Image.Resampling.LANCZOS))


def strip(policy: str, picture: np.ndarray) -> Image.Image:
    """The picture, and what the policy makes of it in seven draws."""
    tiles = [picture, *preview(policy, picture, range(7))]
    sheet = Image.new("RGB", (len(tiles) * (SIDE + GAP) - GAP, SIDE + LINE), "white")
    for place, tile in enumerate(tiles):
        label = "original" if place == 0 else f"seed {place - 1}"
        put(sheet, [tile], place * (SIDE + GAP), 0, label)
    return sheet


def whole_list(picture: np.ndarray) -> Image.Image:
    """Every transformation: 10 rows of 5, each with + on the left and − on the right."""
    width, height = 2 * SMALL + 3 * GAP, SMALL + LINE + GAP
    sheet = Image.new("RGB", (5 * width, 10 * height), "white")
    for number in range(len(LIST)):
        image = Image.fromarray(picture)
        tiles = [np.asarray(transform_signed(image, number, sign)) for sign in (1, -1)]
        put(sheet, tiles, number % 5 * width, number // 5 * height, f"{number} {title_of(number)}")
    return sheet


def put(sheet: Image.Image, tiles: list[np.ndarray], left: int, top: int, label: str) -> None:
    """Tiles side by side with a label below."""
    for place, tile in enumerate(tiles):
        sheet.paste(Image.fromarray(tile), (left + place * (tile.shape[1] + 1), top))
    ImageDraw.Draw(sheet).text((left, top + tiles[0].shape[0] + 1), label, "black", ImageFont.load_default(11))


if __name__ == "__main__":
    main()

"""ATS policies (arXiv 2011.12505): transformations by their index in the authors' public list. Imports no torch.

A policy such as 3-1-7 is a row of them, applied in order; with + between several, each picture draws one.

Ten magnitudes m = 0 … 9 mean evenly spaced values: translate 0 … 150/331 of the side, shear 0 … 0.3, rotate 0 … 30°
counter-clockwise, contrast, colour, sharpness and brightness by a factor 1 ± (0 … 0.5), posterize to 8 … 4 bits,
solarize above 256 … 0; equalize, autocontrast and invert have none. ± is drawn for each picture. Shifted-in pixels are
black, those of a rotation grey (128).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from core.errors import UserError

# Index 0 … 49: operation and magnitude (the probabilities in the authors' list are not used by their code either).
_TABLE = (
    "invert 7,contrast 6,rotate 2,translateX 9,sharpness 1,sharpness 3,shearY 2,translateY 2,autocontrast 5,equalize 2,"
    "shearY 5,posterize 5,color 3,brightness 5,sharpness 9,brightness 9,equalize 5,equalize 1,contrast 7,sharpness 5,"
    "color 5,translateX 5,equalize 7,autocontrast 8,translateY 3,sharpness 6,brightness 6,color 8,solarize 0,invert 0,"
    "equalize 0,autocontrast 0,equalize 8,equalize 4,color 5,equalize 5,autocontrast 4,solarize 4,brightness 3,color 0,"
    "solarize 1,autocontrast 0,translateY 3,translateY 3,autocontrast 1,solarize 1,equalize 5,invert 0,translateY 3,"
    "autocontrast 1"
)
LIST = tuple((entry.split()[0], int(entry.split()[1])) for entry in _TABLE.split(","))
ENHANCERS = {
    "contrast": ImageEnhance.Contrast,
    "color": ImageEnhance.Color,
    "sharpness": ImageEnhance.Sharpness,
    "brightness": ImageEnhance.Brightness,
}
LARGEST = {"translateX": 150 / 331, "translateY": 150 / 331, "shearX": 0.3, "shearY": 0.3, "rotate": 30.0}


def parse(policy: str) -> list[list[int]]:
    """ "3-1-7+43-18-18" -> [[3, 1, 7], [43, 18, 18]]. Raises UserError for anything else."""
    policies = [[number.strip() for number in part.split("-")] for part in policy.split("+")]
    if not all(n.isascii() and n.isdecimal() and int(n) < len(LIST) for part in policies for n in part):
        raise UserError(
            f"A policy is a row of numbers from 0 to {len(LIST) - 1} with - between them, such as 3-1-7 or "
            f"3-1-7+43-18-18, not {policy[:60]!r}."
        )
    return [[int(n) for n in part] for part in policies]


def transform(image: Image.Image, number: int, draw: np.random.Generator) -> Image.Image:
    """One transformation of the list; image is L or RGB and keeps its mode and size. One draw decides the sign."""
    return transform_signed(image, number, 1 if draw.random() < 0.5 else -1)


def transform_signed(image: Image.Image, number: int, sign: int) -> Image.Image:
    """As `transform`, with the ± of shifts, shears and factors given as 1 or -1."""
    name, magnitude = LIST[number]
    share = magnitude / 9
    if name in ENHANCERS:
        return ENHANCERS[name](image).enhance(1 + sign * 0.5 * share)
    if name == "rotate":
        grey = (128,) * len(image.getbands())
        return image.rotate(LARGEST[name] * share, fillcolor=grey if len(grey) > 1 else 128)
    if name in LARGEST:
        return _moved(image, name, sign * LARGEST[name] * share)
    if name == "posterize":
        return ImageOps.posterize(image, round(8 - 4 * share))
    if name == "solarize":
        return ImageOps.solarize(image, math.ceil(256 * (1 - share)))  # inverts what is not below it
    if name == "equalize":
        return ImageOps.equalize(image)
    return ImageOps.autocontrast(image) if name == "autocontrast" else ImageOps.invert(image)


def apply_policy(pixels: np.ndarray, policies: Sequence[Sequence[int]], draw: np.random.Generator) -> np.ndarray:
    """(H, W, C) uint8, C 1 or 3, through one of the policies, drawn -> the same shape and type."""
    image = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[..., 0])
    for number in policies[int(draw.integers(len(policies)))]:
        image = transform(image, number, draw)
    return np.array(image).reshape(pixels.shape)


def preview(policy: str, picture: np.ndarray, seeds: Sequence[int]) -> list[np.ndarray]:
    """What a policy makes of a picture (H, W, C) uint8, once for each seed; UserError for a policy that is none."""
    policies = parse(policy)
    return [apply_policy(picture, policies, np.random.default_rng(seed)) for seed in seeds]


def title_of(number: int) -> str:
    """A transformation in words, such as "translateX 9"; UserError for a number that is not in the list."""
    (row,) = parse(str(number))
    name, magnitude = LIST[row[0]]
    return f"{name} {magnitude}"


def _moved(image: Image.Image, name: str, amount: float) -> Image.Image:
    """Shifted by a share of its side (nearest pixel), or sheared (bicubic)."""
    width, height = image.size
    rows = {
        "translateX": (1, 0, amount * width, 0, 1, 0),
        "translateY": (1, 0, 0, 0, 1, amount * height),
        "shearX": (1, amount, 0, 0, 1, 0),
        "shearY": (1, 0, 0, amount, 1, 0),
    }
    filter_ = Image.Resampling.NEAREST if name.startswith("translate") else Image.Resampling.BICUBIC
    return image.transform(image.size, Image.Transform.AFFINE, rows[name], filter_)

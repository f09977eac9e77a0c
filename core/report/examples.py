"""The worked example of the Metrics page: one bundled picture, damaged and attacked, as pairs for every metric.

Everything here is made anew each time from the bundled picture, the same bytes on every machine; only the three real
reconstructions are files (assets/examples, made by `python -m benchmarks.make_examples`). Scores are computed live.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from core.images.resize import to_input
from core.images.samples import sample_pictures
from core.registry import look_up

EXAMPLES = Path(__file__).resolve().parents[2] / "assets" / "examples"
SIDE = 32  # pixels: what most attacks reconstruct
SHIFT = 2  # pixels
BLUR = 1.5  # pixels, sigma
NOISE = 0.12  # sigma, of pixels in [0, 1]
QUALITY = 25  # of JPEG
DIMMED = 0.55  # of the brightness that stays
Pixels = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True)
class Base:
    """A picture that the page offers, and another one of its class."""

    picture: str  # name within its set
    title: str
    images: str  # bundled set
    other: str
    label: str  # its class, by name


@dataclass(frozen=True)
class Example:
    """One version of the picture. seen: what is left for a person, by our own eyes, no answers were asked for."""

    key: str
    title: str
    detail: str  # what was done, with its numbers
    seen: str  # one of SEEN
    pixels: Pixels  # (32, 32, 3)


SEEN = ("the same picture", "part of it", "not this picture")
BASES = (
    Base("cat-1", "Cat", "photos", "cat-7", "cat"),
    Base("astronaut-1", "Astronaut", "photos", "astronaut-7", "astronaut"),
    Base("coffee-1", "Coffee", "photos", "coffee-6", "coffee"),
    Base("rocket-1", "Rocket", "photos", "rocket-7", "rocket"),
    Base("face-003", "Face", "lfw", "face-002", "face"),
)
_BASES = {base.picture: base for base in BASES}


def _jpeg(pixels: Pixels) -> Pixels:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=QUALITY, subsampling=2)
    return _decoded(buffer)


def _dimmed(pixels: Pixels) -> Pixels:
    dimmed: Pixels = np.rint(pixels * DIMMED).astype(np.uint8)
    return dimmed


def _shifted(pixels: Pixels) -> Pixels:
    """Down and to the right; the border is repeated."""
    moved: Pixels = np.pad(pixels, ((SHIFT, 0), (SHIFT, 0), (0, 0)), mode="edge")
    return moved[:SIDE, :SIDE]


def _mirrored(pixels: Pixels) -> Pixels:
    return np.ascontiguousarray(pixels[:, ::-1])


def _blurred(pixels: Pixels) -> Pixels:
    blurred: Pixels = np.rint(gaussian_filter(pixels.astype(np.float64), (BLUR, BLUR, 0))).astype(np.uint8)
    return blurred


def _noisy(pixels: Pixels) -> Pixels:
    noise = np.random.default_rng(0).normal(0, 255 * NOISE, pixels.shape)
    noisy: Pixels = np.rint(np.clip(pixels + noise, 0, 255)).astype(np.uint8)
    return noisy


def _masked(pixels: Pixels) -> Pixels:
    masked = pixels.copy()
    masked[:, SIDE // 2 :] = 128
    return masked


def _mean_colour(pixels: Pixels) -> Pixels:
    return np.broadcast_to(np.rint(pixels.mean((0, 1))).astype(np.uint8), pixels.shape).copy()


# Damages in the order of the figure: what a person sees goes from all to nothing. (key, title, detail, seen, how)
DAMAGES: tuple[tuple[str, str, str, str, Callable[[Pixels], Pixels]], ...] = (
    ("jpeg", "JPEG", f"saved as JPEG of quality {QUALITY}", SEEN[0], _jpeg),
    ("dimmed", "Dimmed", f"brightness × {DIMMED}", SEEN[0], _dimmed),
    ("shifted", "Shifted", f"moved by {SHIFT} px down and right", SEEN[0], _shifted),
    ("mirrored", "Mirrored", "left and right exchanged", SEEN[0], _mirrored),
    ("noisy", "Noise", f"Gaussian noise, σ = {NOISE} of full scale", SEEN[0], _noisy),
    ("blurred", "Blurred", f"Gaussian blur, σ = {BLUR} px", SEEN[1], _blurred),
    ("masked", "Half hidden", "the right half replaced by grey", SEEN[1], _masked),
    ("mean", "Mean colour", "one colour everywhere: the picture's mean", SEEN[2], _mean_colour),
)
# Real reconstructions: file suffix -> (title, detail, seen)
ATTACKED = {
    "early": ("Attack, stopped", "DLG on LeNet, stopped after 60 iterations", SEEN[0]),
    "noisy": ("Attack, noisy", "DLG on LeNet's update with Gaussian noise of 0.01", SEEN[1]),
    "failed": ("Attack, failed", "Inverting Gradients on a narrow ConvNet, 500 steps", SEEN[2]),
}


def base(name: str) -> Base:
    """The offered picture of this name; UserError for another."""
    return look_up(_BASES, name, "example picture")


@cache
def original(name: str) -> Pixels:
    """The picture as attacks and metrics get it, (32, 32, 3)."""
    chosen = base(name)
    return _input(chosen.images, chosen.picture)


@cache
def examples(name: str) -> tuple[Example, ...]:
    """All versions of the picture, those that leave most for a person first."""
    chosen, pixels = base(name), original(name)
    made = [
        Example(f"attack-{key}", title, detail, seen, _read(f"{name}-{key}.png"))
        for key, (title, detail, seen) in ATTACKED.items()
    ]
    made += [Example(key, title, detail, seen, how(pixels)) for key, title, detail, seen, how in DAMAGES]
    other = f"another picture of the class: {chosen.other}"
    made.append(Example("other", "Another one", other, SEEN[2], _input(chosen.images, chosen.other)))
    return tuple(sorted(made, key=lambda one: SEEN.index(one.seen)))  # stable: within a group as listed


def _input(images: str, name: str) -> Pixels:
    found = next(picture for picture in sample_pictures(images) if picture.name == name)
    return to_input(found.pixels, height=SIDE, width=SIDE, channels=3)


def _read(name: str) -> Pixels:
    return _decoded(EXAMPLES / name)


def _decoded(source: Path | io.BytesIO) -> Pixels:
    with Image.open(source) as image:
        return np.asarray(image.convert("RGB"))

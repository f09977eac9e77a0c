"""Real pairs: photographs that scikit-image ships beside damaged copies of themselves, and real reconstructions."""

import os
from functools import cache
from pathlib import Path

import numpy as np
from scipy import ndimage
from skimage import data


@cache
def real_pairs(size: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(count, size, size, 3) uint8 crops, and copies with noise, blur, shift, dimming, or another crop."""
    rng = np.random.default_rng(size)
    photos = [data.astronaut(), data.chelsea(), data.coffee(), data.rocket()]
    originals = np.stack([_crop(photos[i % 4], size, rng) for i in range(count)])
    harms = (_noise, _blur, _shift, _dim, _other)
    damaged = [harms[i % 5](image, rng) for i, image in enumerate(originals)]
    return originals, np.clip(np.rint(damaged), 0, 255).astype(np.uint8)


@cache
def reconstructions() -> tuple[np.ndarray, np.ndarray]:
    """(40, 32, 32, 3) uint8 originals, and what the product's own attacks made of them: see make_reconstructions."""
    with np.load(Path(__file__).with_name("reconstructions.npz")) as file:
        return file["originals"], file["reconstructions"]


@cache
def two_hundred() -> tuple[np.ndarray, np.ndarray]:
    """(200, 32, 32, 3) uint8: the reconstructions, and 160 photographs beside their damaged copies."""
    attacked, damaged = reconstructions(), real_pairs(32, 160)
    return np.concatenate([attacked[0], damaged[0]]), np.concatenate([attacked[1], damaged[1]])


def thinned(count: int) -> tuple[np.ndarray, np.ndarray]:
    """The two hundred for networks that take seconds a pair: `count` of them, evenly; all with ALL_PAIRS=1."""
    rows = np.arange(200) if os.environ.get("ALL_PAIRS") else np.linspace(0, 199, count).round().astype(int)
    originals, others = two_hundred()
    return originals[rows], others[rows]


def _crop(photo: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    top, left = (int(rng.integers(0, limit - size)) for limit in photo.shape[:2])
    return photo[top : top + size, left : left + size]


def _noise(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return image + rng.normal(0, 25, image.shape)


def _blur(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return ndimage.gaussian_filter(image.astype(float), (2, 2, 0))


def _shift(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.roll(image, (2, 3), (0, 1))


def _dim(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return image * 0.6 + 20


def _other(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _crop(data.astronaut(), len(image), rng)

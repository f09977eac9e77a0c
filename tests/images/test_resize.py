"""Resizing: 8 bits in, 8 bits out, antialiased, centred, and the same bytes for ever."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from core.errors import UserError
from core.images.resize import centre_box, to_input

SIDES = st.integers(1, 40)
PIXELS = st.tuples(SIDES, SIDES, st.sampled_from((1, 3))).flatmap(lambda shape: arrays(np.uint8, shape))


@settings(max_examples=60, deadline=None)
@given(pixels=PIXELS, height=SIDES, width=SIDES, channels=st.sampled_from((1, 3)))
def test_shape_type_and_repeatability(pixels: np.ndarray, height: int, width: int, channels: int) -> None:
    first = to_input(pixels, height=height, width=width, channels=channels)
    assert first.shape == (height, width, channels)
    assert first.dtype == np.uint8
    assert np.array_equal(first, to_input(pixels, height=height, width=width, channels=channels))


@settings(max_examples=40, deadline=None)
@given(pixels=PIXELS)
def test_own_size_is_left_alone(pixels: np.ndarray) -> None:
    height, width, channels = pixels.shape
    assert np.array_equal(to_input(pixels, height=height, width=width, channels=channels), pixels)


@settings(max_examples=40, deadline=None)
@given(value=st.integers(0, 255), shape=st.tuples(SIDES, SIDES), height=SIDES, width=SIDES)
def test_flat_stays_flat(value: int, shape: tuple[int, int], height: int, width: int) -> None:
    flat = np.full((*shape, 3), value, dtype=np.uint8)
    assert (to_input(flat, height=height, width=width, channels=3) == value).all()


@settings(max_examples=40, deadline=None)
@given(pixels=PIXELS, side=SIDES)
def test_mirroring_commutes(pixels: np.ndarray, side: int) -> None:
    """No side is favoured: a mirrored picture gives the mirrored original, to one step of rounding."""
    plain = to_input(pixels, height=side, width=side, channels=3).astype(int)
    mirrored = to_input(pixels[:, ::-1].copy(), height=side, width=side, channels=3).astype(int)
    assert np.abs(plain - mirrored[:, ::-1]).max() <= 1


def test_antialiased() -> None:
    """A checkerboard of single pixels, 8 times smaller: its mean (127.5) everywhere; without antialiasing 0 or 255."""
    board = (255 * (np.indices((64, 64)).sum(axis=0) % 2)).astype(np.uint8)[..., None]
    assert np.abs(to_input(board, height=8, width=8, channels=1).astype(int) - 127.5).max() <= 1.5


def test_centre_is_kept_and_shape_not_squeezed() -> None:
    """A white square in the middle of a wide picture: cropped at the sides, still square."""
    wide = np.zeros((20, 60, 1), dtype=np.uint8)
    wide[5:15, 25:35] = 255
    assert np.array_equal(to_input(wide, height=20, width=20, channels=1), wide[:, 20:40])
    assert centre_box(60, 20, 1, 1) == (20.0, 0.0, 40.0, 20.0)
    assert centre_box(20, 60, 2, 1) == (0.0, 25.0, 20.0, 35.0)


def test_grey_is_the_standards_luma() -> None:
    """ITU-R BT.601: .299 R + .587 G + .114 B. 255 × .299 = 76.2, 255 × .587 = 149.7, 255 × .114 = 29.1."""
    primaries = np.zeros((1, 3, 3), dtype=np.uint8)
    primaries[0, range(3), range(3)] = 255
    assert to_input(primaries, height=1, width=3, channels=1)[0, :, 0].tolist() == [76, 150, 29]


def test_colour_from_grey_repeats() -> None:
    grey = np.arange(16, dtype=np.uint8).reshape(4, 4, 1)
    assert np.array_equal(to_input(grey, height=4, width=4, channels=3), np.repeat(grey, 3, axis=2))


def test_box_that_leaves_nothing_out_agrees_with_pillow() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 50, 3)).astype(np.uint8)
    expected = Image.fromarray(pixels).resize((32, 32), Image.Resampling.BICUBIC)
    assert np.array_equal(to_input(pixels, height=32, width=32, channels=3), np.asarray(expected))


@pytest.mark.parametrize(
    ("pixels", "channels", "sentence"),
    [
        (np.zeros((4, 4, 3), dtype=np.uint8), 4, "but the model takes 4"),
        (np.zeros((4, 4, 3)), 3, "8-bit pixels .* got float64"),
        (np.zeros((4, 4), dtype=np.uint8), 3, "8-bit pixels"),
        (np.zeros((4, 4, 2), dtype=np.uint8), 3, "8-bit pixels"),
        (np.zeros((0, 4, 3), dtype=np.uint8), 3, "8-bit pixels"),
    ],
)
def test_what_is_refused(pixels: np.ndarray, channels: int, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        to_input(pixels, height=4, width=4, channels=channels)

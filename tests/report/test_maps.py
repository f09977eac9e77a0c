"""Error maps: their means are the metrics' own, their colours grow with the error, and bad pairs say why."""

import numpy as np
import pytest
import torch

from core.metrics.ssim import SSIM
from core.report.colours import CIVIDIS, coloured
from core.report.maps import KINDS, difference_map, lpips_picture, ssim_map
from core.report.pictures import source_png
from core.storage.artifacts import decode_png, encode_png
from tests.filled_store import degrade, photographs


def pair(amount=0.4, size=32):
    original = photographs(1, size)[0]
    return original, degrade(original, amount, 1)


def test_the_ssim_map_means_what_our_ssim_scores():
    original, made = pair()
    found = ssim_map(encode_png(original), encode_png(made))
    first, second = (torch.tensor(p.transpose(2, 0, 1)[None] / 255, dtype=torch.float64) for p in (original, made))
    assert found.mean == pytest.approx(float(SSIM.compute(first, second, None)[0]), abs=1e-9)
    assert decode_png(found.png).shape == (32, 32, 3)


def test_equal_pictures_are_dark_all_over():
    original, _ = pair()
    dark = [int(CIVIDIS[0][i : i + 2], 16) for i in (1, 3, 5)]
    for made in (difference_map, ssim_map):
        found = made(encode_png(original), encode_png(original))
        assert (decode_png(found.png) == dark).all()
    assert difference_map(encode_png(original), encode_png(original)).mean == 0
    assert ssim_map(encode_png(original), encode_png(original)).mean == pytest.approx(1)


def test_the_difference_is_of_the_range():
    black, grey = np.zeros((12, 12, 3), np.uint8), np.full((12, 12, 3), 51, np.uint8)
    found = difference_map(encode_png(black), encode_png(grey))
    assert found.mean == pytest.approx(0.2)  # 51 / 255
    assert (decode_png(found.png) == coloured(np.array([[0.4]]))[0, 0]).all()  # of a scale that ends at 0.5


def test_the_colours_grow_evenly_brighter():
    shades = coloured(np.linspace(0, 1, 64)[None]).astype(float)[0]
    lightness = shades @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(lightness) > -0.5).all()  # rounding to 8 bits may cost half a level
    assert lightness[-1] > lightness[0] + 150
    assert (coloured(np.array([[-1.0, np.nan, 2.0]])) == coloured(np.array([[0.0, 0.0, 1.0]]))).all()


def test_an_lpips_map_is_drawn_with_its_mean():
    found = lpips_picture(np.array([[0.0, 1.0], [2.0, 1.0]], dtype=np.float32))
    assert found.mean == 1.0
    drawn = decode_png(found.png)
    assert (drawn[1, 0] == drawn[0, 1]).all()  # above the scale's end is no brighter than there
    half = decode_png(lpips_picture(np.array([[0.2, 0.1]], dtype=np.float32)).png)
    assert (half[0, 0] == drawn[0, 1]).all()  # 0.2 is that end, as the legend says
    assert (half[0, 1] != half[0, 0]).any()


@pytest.mark.parametrize("made", [difference_map, ssim_map])
def test_pictures_of_two_sizes_have_no_map_but_a_reason(made):
    found = made(encode_png(pair()[0]), encode_png(pair(size=24)[1]))
    assert (found.png, found.mean) == (None, None)
    assert found.problem == "The original is 32 × 32 and the reconstruction 24 × 24 pixels."


def test_a_picture_below_ssims_window_says_so():
    small = encode_png(np.zeros((10, 20, 3), np.uint8))
    assert ssim_map(small, small).problem == "SSIM needs 11 pixels a side, and these are 20 × 10."


def test_every_kind_has_words_for_both_ends():
    assert list(KINDS) == ["difference", "ssim", "lpips"]
    assert all(kind.low and kind.high and kind.measure for kind in KINDS.values())


def test_a_source_is_cut_and_resized_to_the_reconstruction():
    source, made = photographs(1, 64)[0], photographs(1, 32)[0]
    assert decode_png(source_png(encode_png(source), encode_png(made))).shape == (32, 32, 3)

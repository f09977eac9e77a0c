"""docs/training.md names every field of a recipe, and the paper's recipes, as they are."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import ats_pictures
from core.errors import UserError
from core.images.policies import preview, title_of
from core.models.training.recipe import PAPER_RECIPES, Recipe

TEXT = Path("docs/training.md").read_text(encoding="utf-8")


def test_every_field_is_there() -> None:
    for field in fields(Recipe):
        assert f"\n| `{field.name}` |" in TEXT, field.name


def test_the_papers_recipes_are_there() -> None:
    for name in PAPER_RECIPES:
        assert f"\n| {name} |" in TEXT, name


def test_the_pictures_are_what_the_policies_do() -> None:
    photo = ats_pictures.square(ats_pictures.SIDE)
    for policy in ats_pictures.POLICIES:
        assert f"(ats/{policy}.png)" in TEXT
        with Image.open(ats_pictures.FOLDER / f"{policy}.png") as image:
            shown = np.asarray(image)[: ats_pictures.SIDE]
        step = ats_pictures.SIDE + ats_pictures.GAP
        for place, expected in enumerate([photo, *preview(policy, photo, range(7))]):
            np.testing.assert_array_equal(shown[:, place * step : place * step + ats_pictures.SIDE], expected)


def test_a_preview_keeps_shape_and_seed() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (20, 30, 1), dtype=np.uint8)
    one, same, other = preview("3-1-7", grey, [1, 1, 4])
    assert one.shape == grey.shape
    assert one.dtype == np.uint8
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()
    assert title_of(3) == "translateX 9"
    with pytest.raises(UserError, match="0 to 49"):
        preview("50", grey, [0])

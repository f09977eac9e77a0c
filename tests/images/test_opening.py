"""A look at one's own pictures: how many were opened, and which one is broken."""

import pytest

from core.errors import UserError
from core.images.datasets import open_dataset
from core.images.opening import opened_words, trouble
from core.settings import load_settings
from tests.images.dataset_files import class_folder


def test_pictures_are_opened_all_or_spread_evenly(tmp_path):
    class_folder(tmp_path / "pets", {"cats": 5, "dogs": 5})
    dataset = open_dataset(f"folder:{tmp_path / 'pets'}", load_settings())
    assert opened_words(dataset) == "all of them were opened"
    assert opened_words(dataset, 4).startswith("4 of them, spread evenly")  # every third of ten


def test_a_broken_picture_is_named(tmp_path):
    class_folder(tmp_path / "pets", {"cats": 5, "dogs": 5})
    (tmp_path / "pets" / "dogs" / "bad.png").write_bytes(b"no picture")
    dataset = open_dataset(f"folder:{tmp_path / 'pets'}", load_settings())
    with pytest.raises(UserError, match=r"bad\.png"):
        opened_words(dataset)
    words, sentence = trouble(dataset)
    assert not words
    assert "bad.png" in sentence

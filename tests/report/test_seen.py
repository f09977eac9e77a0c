"""Which of the attacked images a victim was trained on, counted by hand."""

from pathlib import Path

from core.images.dataset import TEST, TRAIN, DataChoice
from core.images.datasets import open_dataset
from core.report.seen import seen_words
from core.settings import load_settings


def test_seen_and_held_out_images_are_counted(home: Path) -> None:
    settings = load_settings()
    trained = DataChoice("lfw", count=40)  # the first 40 of the training part's draw by seed 0
    assert seen_words(settings, trained, DataChoice("lfw", part=TRAIN, count=40)).startswith(
        "The victim was trained on"
    )
    assert "all" in seen_words(settings, trained, DataChoice("lfw", part=TRAIN, count=10))
    assert "none" in seen_words(settings, trained, DataChoice("lfw", part=TEST, count=10))
    # the draw of 50 begins with the draw of 40
    assert "40 of these 50" in seen_words(settings, trained, DataChoice("lfw", part=TRAIN, count=50))
    dataset = open_dataset("lfw", settings)
    held = [entry.name for entry in dataset.entries if entry.part == TEST][:2]
    kept = [entry.name for entry in dataset.entries if entry.part == TRAIN]
    every = DataChoice("lfw")
    assert "1 of these 3" in seen_words(settings, every, DataChoice("lfw", names=(*held, kept[0])))


def test_another_data_set_says_nothing_and_a_changed_one_says_so(home: Path) -> None:
    settings = load_settings()
    assert seen_words(settings, DataChoice("photos"), DataChoice("lfw", count=3)) == ""
    other = DataChoice("lfw", fingerprint="0" * 64)
    assert "not known" in seen_words(settings, other, DataChoice("lfw", count=3))

"""Which of the attacked images a victim was trained on, counted by hand."""

from pathlib import Path

from core.images.dataset import TEST, TRAIN, DataChoice
from core.images.datasets import open_dataset
from core.report.seen import NOT_KNOWN, seen_words, source_of
from core.settings import load_settings
from tests.images.dataset_files import celeba_files, class_folder, lfw_archive


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


def test_variants_and_spellings_of_the_same_pictures_are_compared(home: Path, tmp_path: Path) -> None:
    settings = load_settings()
    celeba_files(settings.datasets / "celeba")
    people = open_dataset("celeba", settings)
    kept = [entry.name for entry in people.entries if entry.part == TRAIN]
    held = [entry.name for entry in people.entries if entry.part == TEST]
    smiles = DataChoice("celeba:Smiling", names=(kept[0], held[0]))
    assert "1 of these 2" in seen_words(settings, DataChoice("celeba"), smiles)
    (settings.datasets / "lfw-people").mkdir()
    lfw_archive(settings.datasets / "lfw-people" / "lfw.tgz", {"Ann_Bo": 4, "Cy_Do": 3, "Ed_Fu": 2})
    many = DataChoice("lfw-people:2")
    assert "all" in seen_words(settings, many, DataChoice("lfw-people:3", part=TRAIN))
    folder = class_folder(tmp_path / "mine", {"a": 4, "b": 4})
    (tmp_path / "link").symlink_to(folder)
    for other in (f"{folder}/", f"{folder}/../mine", str(tmp_path / "link")):
        assert source_of(f"folder:{other}") == f"folder:{folder}"
        assert "all" in seen_words(settings, DataChoice(f"folder:{folder}"), DataChoice(f"folder:{other}", count=3))


def test_what_cannot_be_known_is_said(home: Path, tmp_path: Path) -> None:
    settings = load_settings()
    folder = class_folder(tmp_path / "mine", {"a": 4, "b": 4})
    for trained, attacked in (
        (DataChoice(f"folder:{folder}"), DataChoice("lfw", count=2)),
        (DataChoice("lfw"), DataChoice(f"folder:{folder}", count=2)),
        (DataChoice("lfw-people"), DataChoice("lfw", count=2)),
        (DataChoice("lfw"), None),
    ):
        assert seen_words(settings, trained, attacked).startswith(NOT_KNOWN)

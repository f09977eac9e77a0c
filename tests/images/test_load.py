"""From a name or a folder to originals: order, limits, labels and their source."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from core.errors import UserError
from core.images.load import class_map, draw_label, load_images, prepare
from core.images.picture import Picture
from core.models.presets import PRESETS
from core.models.spec import ModelSpec

LENET = PRESETS["lenet"]
FACES = PRESETS["lenet-faces"]
GREY = ModelSpec("lenet", 10, channels=1, height=28, width=28, mean=(0.0,), std=(1.0,))


def write(path: Path, value: int, size: tuple[int, int] = (8, 6)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value, value)).save(path)


@pytest.fixture
def table(tmp_path: Path) -> Callable[[str], Path]:
    def make(text: str) -> Path:
        path = tmp_path / "labels.csv"
        path.write_text(text, encoding="utf-8")
        return path

    return make


@pytest.mark.parametrize("source", ["lfw", "photos"])
@pytest.mark.parametrize("spec", [LENET, GREY])
def test_originals_have_the_models_shape_and_keep_their_source(source: str, spec: ModelSpec) -> None:
    prepared = load_images(source, spec=spec, limit=8)
    assert len(prepared) == 8
    for item in prepared:
        assert item.original.shape == (spec.height, spec.width, spec.channels)
        assert item.original.dtype == np.uint8
        assert item.source.shape == ((25, 25, 3) if source == "lfw" else (96, 96, 3))
        assert item.label_source == "dataset"


def test_a_limit_is_the_beginning_of_the_whole_whatever_the_seed() -> None:
    names = [item.name for item in load_images("photos", spec=LENET)]
    assert [item.name for item in load_images("photos", spec=LENET, limit=6, seed=4)] == names[:6]
    assert Counter(name.split("-")[0] for name in names[:8]) == dict.fromkeys(
        ("astronaut", "coffee", "cat", "rocket"), 2
    )


def test_faces_are_matched_by_class_name() -> None:
    swapped = replace(FACES, class_names=("face", "not a face"))
    for spec in (FACES, swapped):
        for item in load_images("lfw", spec=spec, limit=8):
            assert spec.class_names[item.label] == item.class_name
            assert item.label_source == "dataset"


def test_classes_that_do_not_fit_are_drawn_and_say_so() -> None:
    prepared = load_images("photos", spec=FACES, seed=1)  # four photographs, a model of two other classes
    assert {item.label_source for item in prepared} == {"drawn"}
    assert {item.label for item in prepared} == {0, 1}
    assert {item.class_name for item in prepared} == {"astronaut", "coffee", "cat", "rocket"}
    assert [item.label for item in load_images("photos", spec=FACES, seed=1)] == [item.label for item in prepared]
    assert [item.label for item in load_images("photos", spec=FACES, seed=2)] != [item.label for item in prepared]


@pytest.mark.parametrize(
    ("classes", "num_classes", "class_names", "expected"),
    [
        (("a", "b"), 10, (), {0: 0, 1: 1}),
        (("a", "b", "c"), 2, (), None),
        (("B", "a"), 2, ("A", "b"), {0: 1, 1: 0}),
        (("a", "c"), 2, ("a", "b"), None),
        (("0", "7"), 10, (), {0: 0, 1: 7}),
        (("0", "17"), 10, (), None),
        (("007", "3"), 10, (), {0: 7, 1: 3}),
    ],
)
def test_class_map(
    classes: tuple[str, ...], num_classes: int, class_names: tuple[str, ...], expected: dict[int, int] | None
) -> None:
    assert class_map(classes, ModelSpec("lenet", num_classes, class_names=class_names)) == expected


@given(name=st.text(max_size=20), classes=st.integers(2, 1000), seed=st.integers(0, 2**31))
def test_drawn_labels_are_classes(name: str, classes: int, seed: int) -> None:
    assert 0 <= draw_label(name, classes, seed) < classes


def test_drawn_labels_are_even() -> None:
    """10,000 draws from 10 classes: each 1,000 ± 5 · √(10,000 · .1 · .9) = ± 150."""
    counts = Counter(draw_label(f"image {number}", 10, 0) for number in range(10_000))
    assert all(850 < counts[label] < 1150 for label in range(10))


def test_flat_folder_is_in_natural_order_and_drawn(tmp_path: Path) -> None:
    for number in (10, 2, 1):
        write(tmp_path / f"{number}.png", number)
    (tmp_path / "notes.txt").write_text("no image")
    write(tmp_path / ".hidden.png", 9)
    prepared = load_images(tmp_path, spec=LENET, seed=3)
    assert [item.name for item in prepared] == ["1", "2", "10"]
    assert [int(item.original[0, 0, 0]) for item in prepared] == [1, 2, 10]
    assert {item.label_source for item in prepared} == {"drawn"}
    assert [item.label for item in prepared] == [draw_label(name, 10, 3) for name in ("1", "2", "10")]
    assert [item.label for item in load_images(str(tmp_path), spec=LENET, seed=3, limit=1)] == [prepared[0].label]


def test_class_folders_come_in_turn(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / "cats" / f"{number}.png", number)
    write(tmp_path / "dogs" / "0.jpg", 100)
    (tmp_path / "empty").mkdir()
    prepared = load_images(tmp_path, spec=LENET)
    assert [(item.name, item.label, item.class_name) for item in prepared] == [
        ("cats-0", 0, "cats"),
        ("dogs-0", 1, "dogs"),
        ("1", 0, "cats"),
        ("2", 0, "cats"),
    ]
    assert {item.label_source for item in prepared} == {"folder"}
    assert [item.name for item in load_images(tmp_path, spec=LENET, limit=2)] == ["cats-0", "dogs-0"]


def test_same_stem_twice_gets_two_names(tmp_path: Path) -> None:
    write(tmp_path / "a.png", 1)
    write(tmp_path / "a.jpg", 2)
    names = [item.name for item in load_images(tmp_path, spec=LENET)]
    assert len(set(names)) == 2


def test_links_that_leave_the_folder_are_left_out(tmp_path: Path) -> None:
    write(tmp_path / "secret" / "s.png", 1)
    write(tmp_path / "open" / "a.png", 2)
    (tmp_path / "open" / "b.png").symlink_to(tmp_path / "secret" / "s.png")
    assert [item.name for item in load_images(tmp_path / "open", spec=LENET)] == ["a"]


def test_table_of_labels(tmp_path: Path, table: Callable[[str], Path]) -> None:
    for number in (1, 2):
        write(tmp_path / "images" / f"{number}.png", number)
    folder = tmp_path / "images"
    prepared = load_images(folder, spec=LENET, labels=table("name,label\n1.png,7\n2,3\nother,1\n"))
    assert [(item.label, item.label_source) for item in prepared] == [(7, "table"), (3, "table")]
    named = load_images(folder, spec=FACES, labels=table("name,label\n1,face\n2,not a face\n"))
    assert [item.label for item in named] == [1, 0]
    bundled = load_images("lfw", spec=LENET, limit=1, labels=table("name,label\nface-000,9\n"))
    assert [(item.label, item.label_source) for item in bundled] == [(9, "table")]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name,label\n1,7\n", "no row for 1 of 2 images"),
        ("name,label\n1,7\n2,10\n", "expected a class number from 0 to 9"),
        ("name,label\n1,7\n2,-1\n", "expected a class number from 0 to 9"),
        ("name,label\n1,7\n2,1.5\n", "expected a class number from 0 to 9"),
        ("name,label\n1,7\n2,99999999999999999999\n", "expected a class number from 0 to 9"),
        ("name,label\n1,7\n2,\n", "expected a class number from 0 to 9"),
        ("name,label\n1,7\n1.png,6\n2,1\n", "twice with different labels"),
        ("name,class\n1,7\n", "label"),
        ("", "empty"),
    ],
)
def test_tables_that_are_refused(tmp_path: Path, table: Callable[[str], Path], text: str, sentence: str) -> None:
    for number in (1, 2):
        write(tmp_path / "images" / f"{number}.png", number)
    with pytest.raises(UserError, match=sentence):
        load_images(tmp_path / "images", spec=LENET, labels=table(text))


def test_folders_that_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no data set and no folder called 'lwf'"):
        load_images("lwf", spec=LENET)
    with pytest.raises(UserError, match="holds no PNG, JPEG or WebP image"):
        load_images(tmp_path, spec=LENET)
    with pytest.raises(UserError, match="at least 1 image, not 0"):
        load_images("lfw", spec=LENET, limit=0)
    with pytest.raises(UserError, match="no table of labels"):
        load_images("lfw", spec=LENET, labels=tmp_path / "absent.csv")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(UserError, match="broken"):
        load_images(tmp_path, spec=LENET)
    write(tmp_path / "cats" / "1.png", 1)
    with pytest.raises(UserError, match="keep one of the two"):
        load_images(tmp_path, spec=LENET)


def test_labels_by_hand() -> None:
    pixels = np.zeros((4, 4, 3), dtype=np.uint8)
    pictures = [Picture("a", pixels, 4, "x"), Picture("b", pixels)]
    prepared = prepare(pictures, spec=LENET, seed=2)
    assert [(item.label, item.label_source) for item in prepared] == [(4, "hand"), (draw_label("b", 10, 2), "drawn")]
    with pytest.raises(UserError, match="label of a is 10, but the model has the classes 0 to 9"):
        prepare([Picture("a", pixels, 10)], spec=LENET)
    with pytest.raises(UserError, match="no image to attack"):
        prepare([], spec=LENET)

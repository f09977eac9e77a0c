"""Draws and lists of pictures."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import UserError
from core.images.dataset import DataChoice, DataSet
from core.images.datasets import open_dataset
from core.images.sampling import choose, fix, read_list, write_list
from core.images.sets.base import Index, Opened
from core.settings import Settings


def small(sizes: Sequence[int], *, split: bool = True, name: str = "small", extra: str = "") -> DataSet:
    """A data set of so many pictures a class; each third one is held out where it is split."""
    labels = [label for label, size in enumerate(sizes) for _ in range(size)]
    numbers = [n for size in sizes for n in range(size)]
    names = [f"{'abcdefgh'[label]}{n}{extra}" for label, n in zip(labels, numbers, strict=True)]
    parts = [int(n % 3 == 2) for n in numbers] if split else None
    return Opened(name, "Small", Index(tuple("abcdefgh"[: len(sizes)]), names, labels, parts), lambda places: [])


SIZES = st.lists(st.integers(3, 12), min_size=2, max_size=6)


@given(SIZES, st.integers(0, 3), st.sampled_from(["train", "test"]), st.booleans())
def test_a_larger_draw_begins_with_the_smaller_and_is_balanced(
    sizes: list[int], seed: int, part: str, split: bool
) -> None:
    dataset = small(sizes, split=split)
    whole = choose(dataset, DataChoice("small", part=part, seed=seed))
    assert len(set(whole)) == len(whole)
    for count in range(1, len(whole) + 1):
        drawn = choose(dataset, DataChoice("small", part=part, seed=seed, count=count))
        assert drawn == whole[:count]
        counts = Counter(dataset.entries[place].label for place in drawn)
        there = Counter(dataset.entries[place].label for place in whole)
        most = max(counts.values())
        # a class has one fewer than the fullest only because the count ran out, and less only because it is used up
        assert all(counts[label] >= min(most - 1, there[label]) for label in there)


@given(SIZES, st.integers(0, 3), st.booleans())
def test_parts_never_meet_and_together_are_everything(sizes: list[int], seed: int, split: bool) -> None:
    dataset = small(sizes, split=split)
    parts = [choose(dataset, DataChoice("small", part=part, seed=seed, held_out=0.3)) for part in ("train", "test")]
    assert sorted(parts[0] + parts[1]) == list(range(len(dataset.entries)))


def test_the_published_part_is_taken_whatever_the_seed() -> None:
    dataset = small([6, 6])
    for seed in range(3):
        taken = choose(dataset, DataChoice("small", part="test", seed=seed))
        assert sorted(dataset.entries[place].name for place in taken) == ["a2", "a5", "b2", "b5"]


def test_of_each_class_and_only_some_classes() -> None:
    dataset = small([9, 9, 9])
    taken = choose(dataset, DataChoice("small", per_class=2, classes=("c", "a"), seed=5))
    assert Counter(dataset.entries[place].name[0] for place in taken) == {"a": 2, "c": 2}
    every = choose(dataset, DataChoice("small", per_class=2, seed=5))
    assert set(taken) < set(every)  # a class's draw does not depend on the others
    assert taken != choose(dataset, DataChoice("small", per_class=2, classes=("c", "a"), seed=6))


def test_names_are_taken_in_their_order() -> None:
    dataset = small([4, 4])
    taken = choose(dataset, DataChoice("small", names=("b3", "a0", "b1"), count=1, part="test"))
    assert [dataset.entries[place].name for place in taken] == ["b3", "a0", "b1"]


@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        ({"count": 9}, "9 images were asked for, but the training part of Small holds 8; ask for fewer, or take the"),
        ({"count": 0}, "number of images must be at least 1, not 0"),
        ({"per_class": 5}, "5 images of each class were asked for, but the training part of Small holds 4 of a"),
        ({"part": "both"}, "The part is train or test, not 'both'"),
        ({"classes": ("aa",)}, r"no class called 'aa'; did you mean a\?"),
        ({"names": ("a0", "a55")}, r"no picture called 'a55' \(1 such names\); did you mean a5\?"),
        ({"names": ("a0", "b0", "a0")}, "names 'a0' twice"),
        ({"fingerprint": "f" * 64}, "is not what it was when this choice was made"),
    ],
)
def test_a_choice_that_cannot_be_met_is_one_sentence(choice: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        choose(small([6, 6]), replace(DataChoice("small"), **choice))


def test_a_share_that_is_none() -> None:
    with pytest.raises(UserError, match="held-out share must be from 0 up to below 1, not 1"):
        choose(small([6, 6], split=False), DataChoice("small", held_out=1.0))


def test_fix_names_what_the_data_set_holds() -> None:
    dataset = small([6, 6])
    fixed = fix(dataset, DataChoice("small", count=2))
    assert fixed.fingerprint == dataset.fingerprint
    choose(dataset, fixed)
    with pytest.raises(UserError, match="is not what it was"):
        choose(small([6, 7]), fixed)


def test_a_list_gives_the_same_pictures_back(settings: Settings, tmp_path: Path) -> None:
    dataset = open_dataset("photos", settings)
    choice = DataChoice("photos", part="test", count=6, seed=3)
    text = write_list(dataset, choice)
    (tmp_path / "list.csv").write_text(text)
    for source in (text, text.encode(), tmp_path / "list.csv", ("\ufeff" + text).encode()):
        read = read_list(source, dataset)
        assert choose(dataset, read) == choose(dataset, choice)
        assert (read.dataset, read.part, read.fingerprint) == ("photos", "test", dataset.fingerprint)
    assert text.splitlines()[:3] == [
        "# SemSight list of images",
        "# data set: photos",
        f"# fingerprint: {dataset.fingerprint}",
    ]


def test_a_plain_list_of_names_or_a_table_with_names_is_taken() -> None:
    dataset = small([6, 6])
    assert read_list("b1\na0\n", dataset).names == ("b1", "a0")
    assert read_list("rank,name\n1,b1\n2,a0\n", dataset).names == ("b1", "a0")


def test_names_with_commas_and_quotes_survive() -> None:
    dataset = small([3, 3], extra=', "x"')
    choice = DataChoice("small", count=3)
    assert choose(dataset, read_list(write_list(dataset, choice), dataset)) == choose(dataset, choice)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("# data set: other\nname\na0\n", "is of the data set other, not of Small"),
        ("# data set: other\n# fingerprint: 00\nname\na0\n", "is of the data set other, not of Small"),
        ("# data set: small\n# fingerprint: 00\nname\na0\n", "is not what it was"),
        ("name\na0\na0\n", "names 'a0' twice"),
        ("name\nz\n", "has no picture called 'z'"),
        ("name\n", "names none"),
        ("", "names none"),
        ("x,y\n1,2\n", "several columns, but none is called name"),
        ("rank,name\n1\n", "too few columns"),
        (b"\xff\xfe\x00", "is not UTF-8"),
    ],
)
def test_a_wrong_list_is_one_sentence(text: str | bytes, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        read_list(text, small([3, 3]))


def test_a_list_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no list of images at"):
        read_list(tmp_path / "none.csv", small([3, 3]))


def test_another_draw_never_reaches_into_another_part(settings: Settings) -> None:
    dataset = open_dataset("photos", settings)
    trained = set(choose(dataset, DataChoice("photos")))
    for seed in range(20):
        held = set(choose(dataset, DataChoice("photos", part="test", count=4, seed=seed)))
        assert not held & trained, seed
    other = choose(dataset, DataChoice("photos", part="test", split_seed=7))
    assert set(other) & trained  # another split is another split


def test_a_list_brings_its_split_and_is_not_believed_against_it(settings: Settings) -> None:
    dataset = open_dataset("photos", settings)
    choice = DataChoice("photos", part="test", count=4, seed=3, split_seed=7, held_out=0.3)
    text = write_list(dataset, choice)
    assert "# split: 7, 0.3\n" in text
    read = read_list(text, dataset)
    assert (read.part, read.split_seed, read.held_out) == ("test", 7, 0.3)
    with pytest.raises(UserError, match="says that its images are of the test part, but"):
        read_list(text.replace("# split: 7, 0.3", "# split: 8, 0.2"), dataset)
    with pytest.raises(UserError, match="where a seed and a share belong"):
        read_list(text.replace("7, 0.3", "seven"), dataset)
    assert read_list(text.replace("# split: 7, 0.3\n", ""), dataset).part == "train"  # the part is not claimed

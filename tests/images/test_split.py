"""The held-out part where nobody publishes one."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from core.images.split import held_out, ranks

SHARE = 0.2
CLASSES = st.lists(st.integers(0, 5), min_size=1, max_size=60)


@given(CLASSES, st.integers(0, 5))
def test_each_class_holds_out_its_share_and_keeps_one_to_train_with(labels: list[int], seed: int) -> None:
    held = held_out([f"p{n}" for n in range(len(labels))], labels, share=SHARE, seed=seed)
    for label in set(labels):
        size = labels.count(label)
        mine = int(held[np.array(labels) == label].sum())
        # round half up of a fifth; at least one where there are two, and one always stays
        assert mine == min(max((2 * size + 5) // 10, 1), size - 1)


@given(CLASSES, st.integers(0, 5), st.integers(0, 5))
def test_other_classes_do_not_move_a_class(labels: list[int], seed: int, left: int) -> None:
    names = [f"p{n}" for n in range(len(labels))]
    held = dict(zip(names, held_out(names, labels, share=SHARE, seed=seed), strict=True))
    kept = [place for place, label in enumerate(labels) if label != left]
    again = held_out([names[place] for place in kept], [labels[place] for place in kept], share=SHARE, seed=seed)
    assert [held[names[place]] for place in kept] == list(again)


def test_another_seed_is_another_split_and_none_is_none() -> None:
    names, labels = [f"p{n}" for n in range(200)], [0] * 200
    first, second = (held_out(names, labels, share=SHARE, seed=seed) for seed in (0, 1))
    assert first.sum() == second.sum() == 40
    assert 0 < (first & second).sum() < 40
    assert not held_out(names, labels, share=0.0, seed=0).any()


def test_the_numbers_are_the_same_on_every_machine() -> None:
    # printf 'draw\n7\ncat-1' | b2sum -l 64 (GNU coreutils) prints these bytes; they are read little-endian
    expected = int.from_bytes(bytes.fromhex("69d96bf82f7c56eb"), "little")
    assert ranks(["cat-1"], 7, "draw").tolist() == [expected]

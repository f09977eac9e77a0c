"""BAD_INPUTS.md: names with markup, of 10,000 characters, or none get one clear sentence."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import UserError
from core.labels.annotators import annotator_id, clean_name
from core.storage.store import Store


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("  Ana   Lima ", "Ana Lima"),
        ("o'Neil-3", "o'Neil-3"),
        ("Zoe\u0308", "Zoë"),
        ("李雷", "李雷"),
        ("a@b.org", "a@b.org"),
    ],
)
def test_a_name_is_cleaned(text: str, name: str) -> None:
    assert clean_name(text) == name


@pytest.mark.parametrize(
    "text", ["", None, " \t", "x" * 10_000, "<b>Ana</b>", "Ana\u202egnp", "A\x00na", "a&b", '"Ana"', "=1+1", "...", "-"]
)
def test_a_bad_name_is_refused_in_one_sentence(text: str | None) -> None:
    with pytest.raises(UserError) as caught:
        clean_name(text)
    assert len(str(caught.value)) < 200
    assert "<" not in str(caught.value)


@given(st.text(max_size=100))
def test_cleaning_twice_changes_nothing(text: str) -> None:
    try:
        once = clean_name(text)
    except UserError:
        return
    assert clean_name(once) == once


def test_one_row_for_each_name(store: Store) -> None:
    first = annotator_id(store, "Ana")
    assert annotator_id(store, " Ana ") == first
    assert annotator_id(store, "Ben") != first


def test_a_person_and_a_simulation_never_share_a_name(store: Store) -> None:
    annotator_id(store, "Ana")
    with pytest.raises(UserError, match="a person"):
        annotator_id(store, "Ana", simulated=True)

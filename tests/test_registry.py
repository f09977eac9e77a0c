"""What is said of a name that a registry does not hold."""

import pytest

from core.errors import UserError
from core.registry import LISTED, look_up

KNOWN = dict.fromkeys(("paper", "five", "mini", "mini-cut", "fid_alex"))


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("minni", "did you mean mini, mini-cut?"),
        ("papre", "did you mean paper?"),
        ("fid", "did you mean fid_alex?"),  # how it begins is enough
        ("nope", "known: fid_alex, five, mini, mini-cut, paper."),  # no letter's slip away from "paper"
        ("", "known: fid_alex, five, mini, mini-cut, paper."),
    ],
)
def test_only_close_names_are_suggested(name: str, hint: str):
    with pytest.raises(UserError) as error:
        look_up(KNOWN, name, "thing")
    assert str(error.value) == f"There is no thing called {name!r}; {hint}"


def test_of_many_names_some_are_listed():
    many = dict.fromkeys(f"n{number:03}" for number in range(LISTED + 7))
    with pytest.raises(UserError, match=r"known: n000, .*n029 and 7 more\.$"):
        look_up(many, "zzz", "thing")

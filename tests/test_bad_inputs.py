"""Every numbered bad input of this issue has a test that carries its number: `bad-input-NN` stands in the test's id."""

import re
from pathlib import Path

import pytest

NUMBERS = [*range(1, 35), *range(36, 41)]  # 35, imported labels, belongs to a later issue
TESTS = Path(__file__).resolve().parent
FOUND = {
    int(number)
    for path in TESTS.rglob("test_*.py")
    if path != Path(__file__).resolve()
    for number in re.findall(r"bad[-_]input[-_](\d+)", path.read_text(encoding="utf-8"))
}


@pytest.mark.parametrize("number", NUMBERS)
def test_a_test_carries_the_number(number: int) -> None:
    assert number in FOUND

"""Percent by hand."""

import math

import pytest

from core.report.shares import percent


@pytest.mark.parametrize(
    ("share", "n", "told"),
    [
        (0.625, 8, "63 %"),  # 5 of 8: halves go up …
        (0.125, 8, "13 %"),  # … also where Python's own rounding would go to the even 12
        (0.145, 200, "15 %"),  # 29 of 200, whose nearest float lies below
        (0.6251, 999, "63 %"),
        (0.6251, 1000, "62.5 %"),
        (1.0, 10_000, "100.0 %"),
        (0.0, None, "0 %"),
        (None, 8, "–"),
        (math.nan, 8, "–"),
    ],
)
def test_percent_by_hand(share: float | None, n: int | None, told: str) -> None:
    assert percent(share, n) == told

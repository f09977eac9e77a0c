"""Ranks of the settings by every column, and how each column's ranking agrees with people's. Pure."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from core.report.settings_records import (
    FEWEST_ANSWERED,
    FEWEST_SETTINGS,
    PEOPLE,
    RATE,
    SHARE,
    Agreement,
    SettingColumn,
    SettingRow,
    Statistic,
    value_of,
)
from core.statistics.few import kendall_test, shared_ranks, spearman_test

FEW_SETTINGS = 10  # below, the words say how little a correlation over settings can show


def ranked(rows: Sequence[SettingRow], columns: Sequence[SettingColumn], statistic: Statistic) -> list[SettingColumn]:
    """The columns with the rank of every row: 1 leaks most, equal values share a place; only whole rows are ranked."""
    found = []
    for column in columns:
        values = np.array([_value(row, column, statistic) if row.whole else np.nan for row in rows], dtype=np.float64)
        places: list[int | None] = [None] * len(rows)
        if not column.diagnostic:
            ranks = shared_ranks(values, column.direction == "higher")
            places = [None if np.isnan(rank) else int(rank) for rank in ranks]
        found.append(replace(column, ranks=tuple(places)))
    return found


def agreements(
    rows: Sequence[SettingRow], columns: Sequence[SettingColumn], statistic: Statistic
) -> tuple[tuple[Agreement, ...], str, str]:
    """(one for each metric and set metric, the column of people it is with, words about it).

    With the share of recognisable images where at least FEWEST_SETTINGS settings have one over FEWEST_ANSWERED images
    or more, else with the recognition rate of settings with so many answered images; () with fewer. Settings of attacks
    on the model alone are left out: their pairing, with the nearest original, would flatter the metrics.
    """
    by_name = {column.name: column for column in columns}
    usable = [row for row in rows if row.whole and not row.nearest]
    left_out = sum(bool(row.whole and row.nearest) for row in rows)
    for name in PEOPLE:
        column = by_name.get(name)
        counted = [_value(row, column, statistic) if _enough(row, name) else np.nan for row in usable] if column else []
        said = np.array(counted, dtype=np.float64)
        count = int((~np.isnan(said)).sum())
        if count >= FEWEST_SETTINGS:
            found = [_agreement(usable, one, said, statistic) for one in columns if _compared(one)]
            return tuple(found), name, _words(count, name, left_out)
    some = sum(_enough(row, RATE) for row in usable)
    return (
        (),
        SHARE,
        (
            f"Too few answers yet: {some} of {len(usable)} settings have {FEWEST_ANSWERED} answered images or more, "
            f"and a ranking needs at least {FEWEST_SETTINGS} such settings."
        ),
    )


def _enough(row: SettingRow, name: str) -> bool:
    """Whether people said enough of this setting for its place in a ranking to mean anything."""
    if row.people is None:
        return False
    images = row.people.share.n if name == SHARE else row.people.images
    return images >= FEWEST_ANSWERED


def _compared(column: SettingColumn) -> bool:
    return column.kind != "people" and not column.diagnostic


def _agreement(rows: Sequence[SettingRow], column: SettingColumn, said: np.ndarray, statistic: Statistic) -> Agreement:
    turn = 1.0 if column.direction == "higher" else -1.0
    scores = turn * np.array([_value(row, column, statistic) for row in rows])
    return Agreement(column.name, kendall_test(scores, said), spearman_test(scores, said))


def _words(count: int, name: str, left_out: int) -> str:
    measure = "the share of recognisable images" if name == SHARE else "the recognition rate of all answers"
    told = f"Over {count} settings, with {measure}."
    if name == RATE:
        told += f" Fewer than {FEWEST_SETTINGS} settings have {FEWEST_ANSWERED} images with 3 answers each."
    if count < FEW_SETTINGS:
        told += (
            f" With so few, chance alone reaches high values: p says how often among all orders of these {count}; "
            "it says nothing of other settings."
        )
    if left_out:
        told += f" {left_out} of attacks on the model alone left out: their pairing flatters the metrics."
    return told


def _value(row: SettingRow, column: SettingColumn, statistic: Statistic) -> float:
    found = value_of(row, column, statistic)
    return float("nan") if found is None else found

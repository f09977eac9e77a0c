"""The published layout of a human study: config, image_id, true_class, annotator_1 … annotator_k, then the metrics.

annotator_i holds the class that this person named, -1 for "recognised nothing", and is empty where there is no answer.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, cast

import numpy as np
import pandas as pd

from core.errors import UserError
from core.statistics.correlate import correlate
from core.statistics.estimate import Floats
from core.statistics.study import MOST_ROWS, Direction, StudyData

COLUMNS = ("config", "image_id", "true_class")
# Of the metrics in published tables, by their names there. Callers bring those of the metrics that are computed here.
DIRECTIONS: Final[Mapping[str, Direction]] = {
    "mse": "lower",
    "psnr": "higher",
    "ssim": "higher",
    "lpips": "lower",
    "dreamsim": "lower",
    "semsim": "lower",
    "semsim_paper": "lower",
}
MISSING = ("", "nan", "na", "n/a", "null", "none")
MOST_ANNOTATORS = 500
MOST_METRICS = 100


class UnknownMetricColumn(UserError):
    """A metric column of which no direction is known; who can take a direction says how to give it."""


def correlate_table(
    frame: pd.DataFrame, *, resamples: int = 500, seed: int = 0, directions: Mapping[str, Direction] | None = None
) -> dict[str, Any]:
    """Correlate a table in the published layout; see `core.statistics.correlate.correlate` for what comes back."""
    return correlate(parse_table(frame, directions), resamples=resamples, seed=seed)


def parse_table(frame: pd.DataFrame, directions: Mapping[str, Direction] | None = None) -> StudyData:
    """Read a table in the published layout; cells may be text as long as the text is a number.

    directions: for metrics that DIRECTIONS does not know (and where it overrules it), which end means more leakage.
    UserError names the missing column, or the row and column of a wrong cell. In metrics NaN and empty cells are
    unscored, infinities are values.
    """
    frame = frame.rename(columns=lambda name: str(name).strip())
    annotators, metrics = _columns(frame)
    known: dict[str, Direction] = {**DIRECTIONS, **(directions or {})}
    strange = [m for m in metrics if m not in known]
    if strange:
        raise UnknownMetricColumn(
            f"Nothing is known of the metric column {_short(strange[0])}, so it is not clear whether higher or lower "
            "means more alike: take the column out or say its direction."
        )
    if not len(frame):
        raise UserError("The table has a header but no rows.")
    if len(frame) > MOST_ROWS:
        raise UserError(
            f"The table has {len(frame):,} rows; at most {MOST_ROWS:,} can be correlated, so split it by data set."
        )
    answers = np.column_stack([_classes(frame, column, empty=True) for column in annotators])
    truth = _classes(frame, "true_class", empty=False)
    setting, setting_names = _ids(frame, "config")
    original, _ = _ids(frame, "image_id")
    recognised = np.where(np.isnan(answers), np.nan, (answers == truth[:, None]).astype(np.float64))
    return StudyData(
        setting=setting,
        original=original,
        recognised=recognised,
        metrics={m: _numbers(frame, m) for m in metrics},
        directions={m: known[m] for m in metrics},
        setting_names=setting_names,
    )


def _columns(frame: pd.DataFrame) -> tuple[list[str], list[str]]:
    """The annotator and the metric columns; UserError if one that is needed is missing or one comes twice."""
    names = list(frame.columns)
    twice = [n for n in names if names.count(n) > 1]
    if twice:
        raise UserError(f"The column {_short(twice[0])} comes twice; keep one of them.")
    missing = [c for c in (*COLUMNS, "annotator_1") if c not in names]
    if missing:
        raise UserError(
            f"The table has no column {missing[0]!r}; expected config, image_id, true_class, annotator_1, "
            "annotator_2, … and then one column for each metric."
        )
    numbers = sorted(int(m[1]) for n in names if (m := re.fullmatch(r"annotator_([1-9][0-9]{0,5})", n)))
    gap = next((i for i, number in enumerate(numbers, 1) if i != number), None)
    if gap is not None:
        raise UserError(f"The table has no column 'annotator_{gap}' but a later one; number the annotators from 1 on.")
    annotators = [f"annotator_{i}" for i in numbers]
    metrics = [n for n in names if n not in COLUMNS and n not in annotators]
    if len(annotators) > MOST_ANNOTATORS or len(metrics) > MOST_METRICS:
        raise UserError(
            f"The table has {len(annotators)} annotators and {len(metrics)} metrics; "
            f"at most {MOST_ANNOTATORS} and {MOST_METRICS} can be correlated."
        )
    if not metrics:
        raise UserError("The table has no metric column; expected at least one after the annotators, such as psnr.")
    return annotators, metrics


def _numbers(frame: pd.DataFrame, column: str) -> Floats:
    """A column as float64: empty and NaN cells are NaN, "inf" is infinite; UserError for other text."""
    cells = frame[column]
    if pd.api.types.is_bool_dtype(cells) or pd.api.types.is_datetime64_any_dtype(cells):
        raise UserError(f"The column {_short(column)} must hold numbers, not {cells.dtype}.")
    if not pd.api.types.is_numeric_dtype(cells):
        cells = cells.map(lambda c: c.strip() if isinstance(c, str) else c)
        cells = cells.where(~cells.astype(str).str.casefold().isin(MISSING))
    values = pd.to_numeric(cells, errors="coerce")
    wrong = np.flatnonzero((values.isna() & cells.notna()).to_numpy())
    if len(wrong):
        raise UserError(
            f"The column {_short(column)} must hold numbers, but row {wrong[0] + 2} (the header is row 1) holds "
            f"{_short(frame[column].iloc[wrong[0]])}."
        )
    return cast(Floats, values.to_numpy(dtype=np.float64, na_value=np.nan))


def _classes(frame: pd.DataFrame, column: str, *, empty: bool) -> Floats:
    """A column of class numbers: whole numbers from -1 on; empty cells are NaN where `empty` allows them."""
    values = _numbers(frame, column)
    wrong = ~np.isnan(values) & ~((values >= -1) & (values < 2**53) & (values == np.floor(values)))
    if not empty:
        wrong |= np.isnan(values) | (values < 0)
    rows = np.flatnonzero(wrong)
    if len(rows):
        allowed = "-1 (recognised nothing) or a class number" if empty else "a class number from 0 on"
        raise UserError(
            f"The column {_short(column)} must hold {allowed}, but row {rows[0] + 2} (the header is row 1) holds "
            f"{_short(frame[column].iloc[rows[0]])}."
        )
    return values


def _ids(frame: pd.DataFrame, column: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """A column of names as numbers from 0, and the names; UserError for an empty cell."""
    cells = frame[column]
    empty = np.flatnonzero((cells.isna() | (cells.astype(str).str.strip() == "")).to_numpy())
    if len(empty):
        raise UserError(f"The column {_short(column)} is empty in row {empty[0] + 2} (the header is row 1).")
    codes, names = pd.factorize(cells.astype(str).str.strip())
    return codes.astype(np.int64), tuple(str(n) for n in names)


def _short(value: object) -> str:
    text = str(value)
    return repr(text if len(text) <= 60 else text[:60] + "…")

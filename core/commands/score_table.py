"""The scores of many pairs, and how they are written: CSV or Parquet, reasons for what is missing, the run record."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from core.commands.output import remove_leftovers, replacing, write_text
from core.errors import UserError

if TYPE_CHECKING:
    from core.metrics.base import Score

CSV, PARQUET = ".csv", ".parquet"
METADATA = b"semsight"  # the key of the run record in a Parquet file


class Table:
    """One row a pair, one column a metric: float64, NaN where there is no value; then there is a reason.

    8 bytes for a value and 4 for the number of its reason: 100,000 pairs × 30 metrics take 36 MB.
    """

    def __init__(self, names: Sequence[str], metrics: Sequence[str]) -> None:
        self.names = list(names)
        self.metrics = list(metrics)
        self.values = np.full((len(self.names), len(self.metrics)), np.nan)
        self._reasons = ["not scored"]
        self._numbers = {"not scored": 0}
        self._codes = np.zeros(self.values.shape, dtype=np.int32)
        self._columns = {metric: place for place, metric in enumerate(self.metrics)}

    def put(self, row: int, metric: str, score: Score) -> None:
        """Fill one cell."""
        column = self._columns[metric]
        if score.value is None:
            self._codes[row, column] = self._number(score.reason)
        else:
            self.values[row, column] = score.value

    def spoil_row(self, row: int, reason: str) -> None:
        """The pair has no score at all."""
        self._codes[row] = self._number(reason)

    def spoil_column(self, metric: str, reason: str) -> None:
        """The metric has no score at all."""
        self._codes[:, self._columns[metric]] = self._number(reason)

    def reason(self, row: int, metric: str) -> str:
        """Why a cell has no value; "" where it has one."""
        column = self._columns[metric]
        return self._reasons[self._codes[row, column]] if np.isnan(self.values[row, column]) else ""

    def column(self, metric: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        """All values of a metric, NaN where there is none."""
        return self.values[:, self._columns[metric]]

    def _number(self, reason: str) -> int:
        if reason not in self._numbers:
            self._numbers[reason] = len(self._reasons)
            self._reasons.append(reason)
        return self._numbers[reason]


def companion(out: Path, ending: str) -> Path:
    """A file beside the table: its whole name and an ending, such as scores.csv.partial."""
    return out.with_name(out.name + ending)


def check_out(out: Path) -> None:
    """Refuse, before anything is scored, what cannot become a table."""
    if out.suffix.lower() not in (CSV, PARQUET):
        raise UserError(f"--out must end in .csv or .parquet, not in {out.suffix!r}; rename it.")
    if os.path.isdir(out):  # not Path.is_dir, which raises for a name that is too long
        raise UserError(f"--out must be a file, but {out.name!r} is a folder; choose another name.")


def write_table(out: Path, table: Table, columns: Sequence[str], record: dict[str, Any]) -> None:
    """Write the table, its record and its reasons, each whole or not at all, the table last.

    CSV: the record stands in OUT.json. Parquet: in the file's metadata. OUT.reasons.csv has a row for each empty cell,
    and is removed where there is none. UserError if the disk does not take them. The caller holds OUT's journal.
    """
    reasons, run = companion(out, ".reasons.csv"), companion(out, ".json")
    for path in (out, reasons, run):
        remove_leftovers(path)
    if any(np.isnan(table.column(metric)).any() for metric in columns):
        with replacing(reasons) as file:
            _write_csv(file, ["name", "metric", "reason"], _reason_rows(table, columns))
    else:
        reasons.unlink(missing_ok=True)
    if out.suffix.lower() == PARQUET:
        with replacing(out) as file:
            _write_parquet(file, table, columns, record)
        return
    write_text(run, json.dumps(record, indent=2, allow_nan=False) + "\n")
    with replacing(out) as file:
        _write_csv(file, ["name", *columns], _value_rows(table, columns))


def shown_name(name: str) -> str:
    """A file's name as UTF-8 can hold it: bytes that are none are written \\xff."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _value_rows(table: Table, columns: Sequence[str]) -> Iterator[list[str]]:
    """An infinity is written inf, a missing value is empty, and every number is read back to the same bits."""
    from core.tables import safe_cell

    chosen = [table.column(metric) for metric in columns]
    for row, name in enumerate(table.names):
        values = (float(column[row]) for column in chosen)
        yield [safe_cell(shown_name(name)), *("" if value != value else repr(value) for value in values)]


def _reason_rows(table: Table, columns: Sequence[str]) -> Iterator[list[str]]:
    from core.tables import safe_cell

    for row, name in enumerate(table.names):
        for metric in columns:
            if reason := table.reason(row, metric):
                yield [safe_cell(shown_name(name)), metric, safe_cell(reason)]


def _write_csv(file: IO[bytes], header: list[str], rows: Iterator[list[str]]) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    text.flush()
    text.detach()


def _write_parquet(file: IO[bytes], table: Table, columns: Sequence[str], record: dict[str, Any]) -> None:
    import pyarrow
    import pyarrow.parquet

    names = pyarrow.array([shown_name(name) for name in table.names], pyarrow.string())
    values = [table.column(metric) for metric in columns]
    arrays = [pyarrow.array(column, pyarrow.float64(), mask=np.isnan(column)) for column in values]
    made = pyarrow.Table.from_arrays([names, *arrays], ["name", *columns])
    made = made.replace_schema_metadata({METADATA: json.dumps(record, allow_nan=False).encode()})
    pyarrow.parquet.write_table(made, file)

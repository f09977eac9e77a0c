"""Tables that come from users, and go to them, as CSV.

Reading is strict: one sentence for a missing column, a text where a number belongs, too many rows or a wrong encoding.
Writing makes sure that no text cell starts a formula in a spreadsheet; reading takes that mark off again.
"""

import csv
import difflib
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd

from core.errors import UserError
from core.names import safe_text

MAX_ROWS = 1_000_000
MAX_BYTES = 256 * 2**20
MAX_COLUMNS = 1_000
MAX_CELL = 100_000  # characters; also keeps a file with one unclosed quote from becoming one cell
CHUNK = 2**20
MISSING = frozenset(("", "nan", "na", "n/a", "null", "none"))
INFINITE = {"inf": math.inf, "infinity": math.inf, "∞": math.inf}
# What a spreadsheet takes for the beginning of a formula, or for a cell's end (OWASP, "CSV Injection").
STARTERS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


@dataclass(frozen=True)
class SpecialCounts:
    """How many cells of a numeric column hold no finite number."""

    missing: int  # NaN
    positive_infinite: int
    negative_infinite: int


def read_table(
    source: bytes | Path,
    *,
    required: Sequence[str],
    numeric: Sequence[str] = (),
    max_rows: int = MAX_ROWS,
    name: str = "table.csv",
) -> pd.DataFrame:
    """Read a CSV with a header row: UTF-8, comma-separated.

    All columns are kept; those of `numeric` (that are there) become float64 with NaN for an empty cell or NaN and
    with ±inf as written, all others text. The number of lines is counted before anything is loaded; a line break
    within quotes counts as one. Raises UserError with one sentence.
    """
    name = safe_text(name)
    _check_size(source, max_rows, name)
    rows = _rows(source, name)
    try:
        header = [restore_cell(cell.strip()) for cell in next(rows)]
    except StopIteration:
        raise UserError(f"{name} is empty, where a header row and rows are expected; upload it again.") from None
    _check_header(header, required, name)
    columns: list[list[str]] = [[] for _ in header]
    for number, row in enumerate(rows, start=2):
        if number - 1 > max_rows:  # a last line without its end, or lines that end in a bare CR
            raise UserError(f"{name} has more than {max_rows:,} rows, the most that are taken; split it.")
        if len(row) != len(header):
            raise UserError(
                f"{name} has {len(row)} cells in row {number}, where its header has {len(header)}; "
                "quote cells that hold a comma."
            )
        for column, cell in zip(columns, row, strict=True):
            column.append(cell)
    frame = {
        label: _numbers(cells, label, name) if label in numeric else [restore_cell(cell) for cell in cells]
        for label, cells in zip(header, columns, strict=True)
    }
    return pd.DataFrame(frame, columns=header)


def special_values(frame: pd.DataFrame, columns: Sequence[str]) -> dict[str, SpecialCounts]:
    """Count NaN, +inf and -inf of each numeric column, so that a page can say what is left out."""
    counts = {}
    for column in columns:
        values = frame[column].to_numpy(dtype=np.float64)
        counts[column] = SpecialCounts(
            int(np.isnan(values).sum()), int(np.isposinf(values).sum()), int(np.isneginf(values).sum())
        )
    return counts


def write_csv(frame: pd.DataFrame) -> bytes:
    """UTF-8 CSV: text cells and headers through safe_cell, numbers as Python writes them, NaN, inf and -inf."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow([safe_cell(str(column)) for column in frame.columns])
    writer.writerows([_written(value) for value in row] for row in frame.itertuples(index=False, name=None))
    return buffer.getvalue().encode("utf-8")


def safe_cell(text: str) -> str:
    """`text` with an apostrophe before it if a spreadsheet would take it for a formula; else unchanged."""
    return "'" + text if text.lstrip("'").startswith(STARTERS) else text


def restore_cell(text: str) -> str:
    """The inverse of safe_cell."""
    return text[1:] if text.startswith("'") and text.lstrip("'").startswith(STARTERS) else text


def _written(value: object) -> str:
    if isinstance(value, str):
        return safe_cell(value)
    if value is None or value is pd.NaT or value is pd.NA:
        return ""
    if isinstance(value, float | np.floating):
        return "NaN" if math.isnan(value) else repr(float(value))
    return str(value) if isinstance(value, int | np.integer | np.bool_) else safe_cell(str(value))


def _check_size(source: bytes | Path, max_rows: int, name: str) -> None:
    size = len(source) if isinstance(source, bytes) else source.stat().st_size if source.is_file() else -1
    if size < 0:
        raise UserError(f"{name} is no file that can be read; check its path.")
    if size > MAX_BYTES:
        raise UserError(f"{name} has {size:,} bytes, where at most {MAX_BYTES:,} are taken; split it.")
    with _opened(source) as file:
        lines = sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(CHUNK), b""))
    if lines > max_rows + 1:
        raise UserError(f"{name} has about {lines - 1:,} rows, where at most {max_rows:,} are taken; split it.")


def _opened(source: bytes | Path) -> BinaryIO:
    return io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")


def _rows(source: bytes | Path, name: str) -> Iterator[list[str]]:
    """Rows as text; empty lines are left out."""
    with _opened(source) as file:
        start = file.read(4)
        if start.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise UserError(f"{name} is in UTF-16, where UTF-8 is expected; save it as CSV UTF-8.")
        if start.startswith((b"PK\3\4", b"\xd0\xcf\x11\xe0")):
            raise UserError(f"{name} is a spreadsheet or a zip file, where CSV is expected; save it as CSV UTF-8.")
        file.seek(0)
        text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
        reader = csv.reader(text, strict=True)
        try:
            for row in reader:
                if any(len(cell) > MAX_CELL for cell in row):
                    raise UserError(f"{name} has a cell of over {MAX_CELL:,} characters in line {reader.line_num}.")
                if row:
                    yield row
        except UnicodeDecodeError as error:
            raise UserError(
                f"{name} is not in UTF-8: byte 0x{error.object[error.start]:02x} after line {reader.line_num:,} means "
                "nothing there; save it as CSV UTF-8."
            ) from None
        except csv.Error as error:
            raise UserError(f"{name} is no CSV at line {reader.line_num:,} ({error}); save it as CSV again.") from None


def _check_header(header: list[str], required: Sequence[str], name: str) -> None:
    if len(header) > MAX_COLUMNS:
        raise UserError(f"{name} has {len(header):,} columns, where at most {MAX_COLUMNS:,} are taken; leave some out.")
    twice = sorted({column for column in header if header.count(column) > 1})
    if twice:
        raise UserError(f"{name} has the column {safe_text(twice[0])!r} twice; rename or leave out one of them.")
    for column in required:
        if column not in header:
            near = difflib.get_close_matches(column, header, n=1, cutoff=0.5)
            hint = f"the nearest is {safe_text(near[0])!r}: rename it" if near else f"it has {_listed(header)}"
            raise UserError(f"{name} has no column {safe_text(column)!r}; {hint}, or choose another file.")


def _listed(header: list[str]) -> str:
    shown = ", ".join(repr(safe_text(column, 40)) for column in header[:6])
    return shown if len(header) <= 6 else f"{shown} and {len(header) - 6} more"


def _numbers(cells: list[str], column: str, name: str) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    values = np.empty(len(cells), dtype=np.float64)
    for index, cell in enumerate(cells):
        value = _number(cell.strip())
        if value is None:
            hint = "write it with a point" if "," in cell else "mend or empty the cell"
            raise UserError(
                f"{name} has {safe_text(cell, 40)!r} in column {safe_text(column)!r} of row {index + 2:,}, "
                f"where a number is expected; {hint}."
            )
        values[index] = value
    return values


def _number(text: str) -> float | None:
    """The number that is written, NaN for a missing one, None for what is none (or is too large for a float)."""
    word = text.casefold().replace("−", "-")
    if word in MISSING:
        return math.nan
    sign, bare = (-1.0, word[1:]) if word.startswith("-") else (1.0, word.removeprefix("+"))
    if bare in INFINITE:
        return sign * INFINITE[bare]
    if "_" in word:
        return None
    try:
        value = float(word)
    except ValueError:
        return None
    return None if math.isinf(value) else value

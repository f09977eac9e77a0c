"""What `score` has done so far: a file beside --out that only grows, so that an interrupted run goes on from there.

Its first line is MARK; every further line is one piece of the work, whole: which metrics, and for each pair its key and
its values. A line that a crash tore, or that a disk lost, is scored again. A metric is named with its version, weights,
library and device, and a key changes with the name and bytes of the files, so nothing old is taken for new.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
from array import array
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from core.commands.output import sync_folder
from core.errors import UserError

if TYPE_CHECKING:
    from core.metrics.base import Score

MARK = b'{"semsight": "score journal", "format": 1}\n'
SYNC_SECONDS = 2.0  # what a loss of power may cost; a killed process loses the piece it was at
# Reasons that the files and the metric alone decide. Any other, such as weights that cannot be read, may be mended.
LASTING = ("unavailable: needs at", "the metric is not defined")


@dataclass(frozen=True, slots=True)
class _Row:
    metrics: tuple[str, ...]  # their identities; one tuple for all rows of a piece
    values: array[float]
    reasons: Mapping[int, str]  # place -> why there is no value


class Journal:
    """The file, opened and locked. Use as a context manager; `remove` it when the table is written."""

    def __init__(self, path: Path, *, restart: bool = False) -> None:
        """Open or begin the journal; restart forgets what it holds.

        UserError: it cannot be written, another process writes it, or the file is something else.
        """
        self.path = path
        self._rows: dict[bytes, list[_Row]] = {}
        self._added = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: BinaryIO = path.open("a+b")
        except OSError as error:
            raise _unwritable(path, error) from None
        try:
            self._lock()
            self._open(restart)
        except BaseException:
            self._file.close()
            raise
        self._synced = time.monotonic()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        """How many pairs of an earlier run it holds."""
        return len(self._rows)

    def find(self, key: bytes, metrics: Sequence[str]) -> dict[str, Score]:
        """The scores of one pair that are known, by the metrics' identities; those that may be mended are not."""
        from core.metrics.base import Score

        found: dict[str, Score] = {}
        for row in self._rows.get(key, ()):
            for place, metric in enumerate(row.metrics):
                reason = row.reasons.get(place)
                if metric in metrics and (reason is None or reason.startswith(LASTING)):
                    found[metric] = Score(row.values[place]) if reason is None else Score(None, reason)
        return found

    def add(self, metrics: Sequence[str], keys: Sequence[bytes], scores: Sequence[Sequence[Score]]) -> None:
        """Write one piece: for each key its scores, in the metrics' order. UserError if the disk does not take it."""
        rows = [[key.hex(), [_written(score) for score in row]] for key, row in zip(keys, scores, strict=True)]
        line = json.dumps({"metrics": list(metrics), "rows": rows}, allow_nan=False, separators=(",", ":"))
        try:
            self._file.write(line.encode() + b"\n")
            self._file.flush()
            self._added = True
            if time.monotonic() - self._synced >= SYNC_SECONDS:
                os.fsync(self._file.fileno())
                self._synced = time.monotonic()
        except OSError as error:
            raise _unwritable(self.path, error) from None

    def close(self) -> None:
        """Sync and close; an empty journal is removed."""
        if self._file.closed:
            return
        if not self._rows and not self._added:
            self.remove()
            return
        with suppress(OSError), self._file:  # what is not kept is scored again
            os.fsync(self._file.fileno())

    def remove(self) -> None:
        """All is done: delete the file, while it is still locked."""
        with self._file:
            self.path.unlink(missing_ok=True)
        sync_folder(self.path.parent)

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"Another process is writing {self.path.name}; wait for it, or choose another --out."
            ) from None
        except OSError:  # a file system without locks: then nobody looks after this
            return

    def _open(self, restart: bool) -> None:
        self._file.seek(0)
        first = self._file.readline(len(MARK))
        if not MARK.startswith(first):
            raise UserError(f"{self.path.name} is no journal of an earlier run of score; move it away.")
        try:
            if restart or first != MARK:
                self._file.truncate(0)
                self._file.write(MARK)
                self._file.flush()
                sync_folder(self.path.parent)
                return
            end = len(MARK)
            for line in self._file:
                if line.endswith(b"\n"):
                    end += len(line)
                    self._take(line)
            self._file.truncate(end)  # the next line begins on its own, whatever a crash left
        except OSError as error:
            raise _unwritable(self.path, error) from None

    def _take(self, line: bytes) -> None:
        """Remember a line; one that is damaged is as good as none."""
        try:
            piece = json.loads(line)
            metrics = tuple(sys.intern(metric) for metric in piece["metrics"])
            rows = [(bytes.fromhex(key), _row(metrics, written)) for key, written in piece["rows"]]
        except (ValueError, TypeError, LookupError):
            return
        for key, row in rows:
            self._rows.setdefault(key, []).append(row)


def _row(metrics: tuple[str, ...], written: list[float | str | list[str]]) -> _Row:
    if len(metrics) != len(written):
        raise ValueError("a row has as many values as metrics")
    reasons = {place: sys.intern(cell[0]) for place, cell in enumerate(written) if isinstance(cell, list)}
    return _Row(metrics, array("d", [0.0 if isinstance(cell, list) else float(cell) for cell in written]), reasons)


def _written(score: Score) -> float | str | list[str]:
    """A number, "inf", "-inf", or a list with the reason."""
    if score.value is None:
        return [score.reason]
    return float(score.value) if abs(score.value) != float("inf") else str(float(score.value))


def _unwritable(path: Path, error: OSError) -> UserError:
    return UserError(f"{path.name} cannot be written ({error.strerror}); free some space or choose another --out.")

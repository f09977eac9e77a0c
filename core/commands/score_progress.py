"""How far a long command is: a bar on a terminal, elsewhere a line now and then if that was asked for."""

import sys
import time
from collections.abc import Callable
from types import TracebackType

SECONDS = 10.0  # between two lines


class Progress:
    """Counts pairs. Use as a context manager; `seen` is how many were dealt with."""

    def __init__(self, total: int, *, lines: bool, clock: Callable[[], float] = time.monotonic) -> None:
        """lines: print a line now and then where standard error is no terminal."""
        from tqdm import tqdm

        terminal = sys.stderr.isatty()
        self.total = total
        self.seen = 0
        self._computed = 0  # without those that an earlier run had scored: the pace is that of the work
        self._lines = lines and not terminal
        self._clock = clock
        self._start = self._last = clock()
        self._bar = tqdm(total=total, unit="pair", disable=not terminal)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.close()

    def update(self, pairs: int, *, known: bool = False) -> None:
        """So many pairs more; known: they were scored by an earlier run."""
        self.seen += pairs
        self._computed += 0 if known else pairs
        self._bar.update(pairs)
        now = self._clock()
        if self._lines and now - self._last >= SECONDS:
            self._last = now
            print(self._line(now), file=sys.stderr, flush=True)

    def _line(self, now: float) -> str:
        pace = self._computed / (now - self._start)
        if not pace:
            return f"{self.seen:,} of {self.total:,} pairs"
        left = (self.total - self.seen) / pace
        return f"{self.seen:,} of {self.total:,} pairs, {pace:,.1f} a second, {_duration(left)} left"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

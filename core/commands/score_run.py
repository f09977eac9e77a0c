"""Score the pairs of two folders piece by piece, in bounded memory, on from where an earlier run was stopped.

Files are read and decoded in this thread: a second one made it slower (0.30 instead of 0.21 ms for a pair at 32 px, two
cores), because the checks before Pillow hold Python's lock; and decoding is 1 to 2 % of a table of all metrics.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from core.commands.score_files import FilePair, Pairing, decode_pair, read_pair
from core.commands.score_journal import Journal
from core.commands.score_table import Table
from core.errors import UserError
from core.settings import Settings

if TYPE_CHECKING:
    import numpy as np

    from core.commands.score_progress import Progress
    from core.metrics.base import Score

log = logging.getLogger("semsight.score")
PIXELS_AT_ONCE = 1 << 24  # of the originals held in memory, beyond the first


@dataclass(frozen=True)
class Plan:
    """What is to be scored and how."""

    pairing: Pairing
    metrics: Mapping[str, str]  # name -> identity: with version, weights, library and device
    settings: Settings
    device: str
    batch: int  # pairs scored at once, and held in memory


@dataclass
class Outcome:
    """What came of it beside the table."""

    faults: list[str] = field(default_factory=list)  # pairs that are none, a sentence each
    failed: dict[str, str] = field(default_factory=dict)  # metrics that failed unexpectedly, with the first reason
    resumed: int = 0  # pairs that an earlier run had scored, with all metrics asked for
    inputs: str = ""  # sha256 over the names and bytes of all pairs that could be read, in order


@dataclass
class _Item:
    row: int
    files: FilePair
    original: np.ndarray
    reconstruction: np.ndarray


@dataclass
class _Piece:
    """Pairs that lack the same metrics."""

    missing: tuple[str, ...]
    items: list[_Item] = field(default_factory=list)
    pixels: int = 0


def score_all(plan: Plan, journal: Journal, table: Table, outcome: Outcome, progress: Progress) -> None:
    """Fill the table. What is computed goes into the journal first; what the journal has is not computed again.

    UserError: a device whose memory does not suffice, or a disk that is full. The journal keeps what was done.
    """
    for piece in _pieces(plan, journal, table, outcome, progress):
        rows = _score(plan, piece, outcome)
        journal.add([plan.metrics[name] for name in piece.missing], [item.files.key for item in piece.items], rows)
        for item, scores in zip(piece.items, rows, strict=True):
            for name, score in zip(piece.missing, scores, strict=True):
                table.put(item.row, name, score)
        progress.update(len(piece.items))


def _score(plan: Plan, piece: _Piece, outcome: Outcome) -> list[list[Score]]:
    """For each pair its scores, in the order of `missing`."""
    from core.attacks.memory import is_out_of_memory
    from core.metrics.scoring import score_pairs

    def failed(name: str, error: Exception) -> str:
        reason = failure(name, error)
        outcome.failed.setdefault(name, reason)
        return reason

    originals, reconstructions = ([i.original for i in piece.items], [i.reconstruction for i in piece.items])
    try:
        found = score_pairs(
            originals,
            reconstructions,
            piece.missing,
            plan.settings,
            batch=plan.batch,
            device=plan.device,
            failed=failed,
        )
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(
            f"The memory of {plan.device} does not suffice for {plan.batch} pairs at once; run the same command with a "
            "smaller --batch, or with --device cpu."
        ) from None
    return [list(scores) for scores in zip(*(found[name] for name in piece.missing), strict=True)]


def failure(name: str, error: Exception) -> str:
    """The reason of a metric that failed unexpectedly: it is scored again next time. Memory that ran out is raised."""
    from core.attacks.memory import is_out_of_memory

    if is_out_of_memory(error):
        raise error
    log.debug("the metric %s failed", name, exc_info=error)
    return " ".join(f"{name} failed: {type(error).__name__}: {error}".split())[:500]


def _pieces(plan: Plan, journal: Journal, table: Table, outcome: Outcome, progress: Progress) -> Iterator[_Piece]:
    """What is left to score, in pieces; the rest goes into the table, and a pair that is none into `faults`.

    A piece begins where the one before ended, whatever was left out between: a run that goes on forms the pieces that
    it would have formed, so its numbers are the same to the last bit.
    """
    digest = hashlib.sha256()
    piece = _Piece(())
    for row, name in enumerate(plan.pairing.names):
        try:
            files = read_pair(name, plan.pairing)
            digest.update(files.key)
            missing = _take_known(plan, journal, table, row, files.key)
            if not missing:
                outcome.resumed += bool(plan.metrics)
                progress.update(1, known=True)
                continue
            item = _Item(row, files, *decode_pair(files, plan.pairing))
        except UserError as error:
            outcome.faults.append(str(error))
            table.spoil_row(row, str(error))
            progress.update(1)
            continue
        pixels = item.original.size // 3
        full = len(piece.items) == plan.batch or piece.pixels + pixels > PIXELS_AT_ONCE
        if piece.items and (full or missing != piece.missing):
            yield piece
            piece = _Piece(())
        piece.missing = missing
        piece.items.append(item)
        piece.pixels += pixels
    if piece.items:
        yield piece
    outcome.inputs = digest.hexdigest()


def _take_known(plan: Plan, journal: Journal, table: Table, row: int, key: bytes) -> tuple[str, ...]:
    """Put what the journal knows of a pair into the table; return the metrics that it does not know."""
    known = journal.find(key, tuple(plan.metrics.values()))
    missing = []
    for name, identity in plan.metrics.items():
        if identity in known:
            table.put(row, name, known[identity])
        else:
            missing.append(name)
    return tuple(missing)

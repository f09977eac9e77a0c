"""How an attack's progress becomes events: thinned, and with checkpoints when they are due. Imports no torch."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from core.jobs.events import Event
from core.jobs.packing import blob

if TYPE_CHECKING:
    import torch

CURVE_POINTS = 200  # rows of a shard's loss curve, about
FRAMES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75)  # previews, as shares of the run
BEAT_SECONDS = 1.0  # between two signs of life that the curve does not keep


class WorkerProgress:
    """core.attacks.base.Progress for one shard: turns calls into events."""

    def __init__(
        self,
        emit: Callable[[Event], None],
        stop: Callable[[], bool],
        *,
        checkpoint: bytes | None,
        checkpoint_number: int,
        checkpoint_seconds: float,
        previews: bool,
    ) -> None:
        self._emit, self._stop = emit, stop
        self._checkpoint, self._number, self._interval = checkpoint, checkpoint_number, checkpoint_seconds
        self._saved = self._beat = time.monotonic()
        self._frames = list(FRAMES) if previews else []
        self._point = -1
        self._share = 0.0

    def resume(self) -> bytes | None:
        """The checkpoint that came with the shard."""
        return self._checkpoint

    def cancelled(self) -> bool:
        """Whether the runner asked to stop."""
        return self._stop()

    def step(self, done: int, total: int, losses: torch.Tensor) -> None:
        """Tell of a step when the curve wants its point, or when nothing was told for a while."""
        now = time.monotonic()
        point = done * CURVE_POINTS // max(1, total)  # by steps, not by time: the same run leaves the same curve
        curve = point != self._point or done >= total
        if not curve and now - self._beat < BEAT_SECONDS:
            return
        self._point, self._beat = point, now
        best = np.asarray(losses.detach().cpu().numpy(), dtype=np.float64)
        best = np.where(np.isnan(best), np.inf, best).reshape(len(best), -1).min(axis=1)
        self._emit(Event("progress", {"step": int(done), "total": int(total), "curve": curve}, {"losses": best}))

    def preview_due(self, done: int, total: int) -> bool:
        """True a few times a run, early frames closer together."""
        self._share = done / max(1, total)
        return bool(self._frames) and self._share >= self._frames[0]

    def preview(self, done: int, images: np.ndarray) -> None:
        """Show the emerging images (N, B, H, W, C)."""
        self._frames = [share for share in self._frames if share > self._share]
        self._emit(Event("preview", {"step": int(done)}, {"images": images}))

    def checkpoint_due(self) -> bool:
        """True when the interval since the last checkpoint is over, and before a stop: a pause loses no work."""
        return time.monotonic() - self._saved >= self._interval or self._stop()

    def checkpoint(self, done: int, state: bytes) -> None:
        """Hand the state over, numbered onwards from the one that came with the shard."""
        self._number += 1
        self._saved = time.monotonic()
        self._emit(Event("checkpoint", {"step": int(done), "number": self._number}, {"state": blob(state)}))

"""The computing of a training's shard. torch is imported only when one runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from core.jobs.compute import Emit, prepare_torch, run_record
from core.jobs.events import Event
from core.jobs.packing import blob
from core.jobs.progress import BEAT_SECONDS, CURVE_POINTS
from core.models.spec import ModelSpec
from core.models.training.progress import EpochRow
from core.models.training.recipe import Recipe

if TYPE_CHECKING:
    from torch import Tensor


def train(header: dict[str, Any], arrays: dict[str, np.ndarray], emit: Emit, stop: Callable[[], bool]) -> None:
    """Train the victim and emit its curve, the weights of chosen epochs, and the last weights."""
    from core.models.build import load_weights
    from core.models.training.loop import fit

    began = time.monotonic()
    device = prepare_torch(header)
    spec = ModelSpec.from_json(header["spec"])
    counts = {
        "images": len(arrays["labels"]),
        "held_out": len(arrays["held_labels"]),
        "parameters": count_parameters(spec),
    }
    progress = WorkerTraining(
        emit,
        stop,
        counts=counts,
        checkpoint=arrays.pop("checkpoint").tobytes() if "checkpoint" in arrays else None,
        checkpoint_number=header["checkpoint_number"],
        checkpoint_seconds=header["checkpoint_seconds"],
    )
    done = fit(
        spec,
        arrays["images"],
        arrays["labels"],
        arrays["held_images"],
        arrays["held_labels"],
        Recipe.from_dict(header["recipe"]),
        weights=load_weights(arrays["weights"].tobytes()) if "weights" in arrays else None,
        device=str(device),
        progress=progress,
        key=header.get("key"),
    )
    record = {**done.record, **run_record(device, header["threads"]), "peak_memory_bytes": peak_bytes(str(device))}
    values = {
        "rows": [asdict(row) for row in done.rows],
        **counts,
        "seconds": time.monotonic() - began,
        "record": record,
    }
    emit(Event("trained", values, {"weights": blob(weights_file(done.weights))}))


CHECKPOINT_SHARE = 0.05  # of the time at most, on writing checkpoints
WRITING = 50e6  # bytes a second: where a runner writes them, this process sees no disk, and one may be as slow as this


class WorkerTraining:
    """core.models.training.progress.TrainingProgress for one shard: turns calls into events."""

    def __init__(
        self,
        emit: Emit,
        stop: Callable[[], bool],
        *,
        counts: Mapping[str, int],
        checkpoint: bytes | None,
        checkpoint_number: int,
        checkpoint_seconds: float,
    ) -> None:
        self._emit, self._stop, self._counts = emit, stop, counts
        self._checkpoint, self._number = checkpoint, checkpoint_number
        self._least = self._interval = checkpoint_seconds
        self._saved = self._beat = self._asked = time.monotonic()
        self._point = -1
        self._progress = (0, 1)  # steps done, of how many

    def resume(self) -> bytes | None:
        """The checkpoint that came with the shard; handed over once, so that its memory is let go."""
        given, self._checkpoint = self._checkpoint, None
        return given

    def cancelled(self) -> bool:
        """Whether the runner asked to stop."""
        return self._stop()

    def step(self, done: int, total: int, loss: float | None) -> None:
        """Tell of a step when the curve wants its point, or when nothing was told for a while."""
        now = time.monotonic()
        self._progress = (done, total)
        point = done * CURVE_POINTS // max(1, total)  # by steps, not by time: the same training leaves the same curve
        due = point != self._point or done >= total
        if not due and now - self._beat < BEAT_SECONDS:
            return
        self._beat = now
        if due and loss is not None:
            self._point = point
        losses = np.array([] if loss is None else [loss], dtype=np.float64)
        values = {"step": int(done), "total": int(total), "curve": due and loss is not None}
        self._emit(Event("progress", values, {"losses": losses}))

    def looking(self) -> None:
        """Tell that it still works, when nothing was told for a while."""
        now = time.monotonic()
        if now - self._beat >= BEAT_SECONDS:
            self._beat = now
            done, total = self._progress
            values = {"step": int(done), "total": int(total), "curve": False}
            self._emit(Event("progress", values, {"losses": np.array([], dtype=np.float64)}))

    def epoch(self, row: EpochRow) -> None:
        """A point of the training curve."""
        self._emit(Event("epoch", {"row": asdict(row)}))

    def kept(self, row: EpochRow, weights: Mapping[str, Tensor]) -> None:
        """Hand over the weights of a chosen epoch."""
        values = {"row": asdict(row), **self._counts}
        self._emit(Event("kept", values, {"weights": blob(weights_file(weights))}))

    def checkpoint_due(self) -> bool:
        """True when the interval since the last checkpoint is over, and before a stop: a pause loses no work."""
        self._asked = time.monotonic()
        return self._asked - self._saved >= self._interval or self._stop()

    def checkpoint(self, done: int, state: bytes) -> None:
        """Hand the state over, numbered onwards from the one that came with the shard.

        One that takes long makes the next wait longer, so that writing stays within CHECKPOINT_SHARE of the time.
        """
        self._number += 1
        self._emit(Event("checkpoint", {"step": int(done), "number": self._number}, {"state": blob(state)}))
        self._saved = time.monotonic()
        took = max(self._saved - self._asked, len(state) / WRITING)  # since it was asked for: making it counts too
        self._interval = max(self._least, took / CHECKPOINT_SHARE)


def weights_file(weights: Mapping[str, Tensor]) -> bytes:
    """safetensors bytes of a state dict: the same numbers give the same bytes."""
    from safetensors.torch import save

    return save({name: tensor.contiguous() for name, tensor in weights.items()})


def count_parameters(spec: ModelSpec) -> int:
    """Trainable numbers of a model, BatchNorm's running statistics not counted."""
    from core.models.build import build_skeleton, describe

    return describe(build_skeleton(spec)).parameters


def peak_bytes(device: str) -> int:
    """The most memory in use so far: of the GPU's allocator, or of this process."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.max_memory_allocated())
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

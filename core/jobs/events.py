"""What a worker tells the runner, as bytes."""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from core.jobs.packing import pack, unpack

Kind = Literal[
    "facts",
    "progress",
    "preview",
    "checkpoint",
    "reconstructions",
    "scores",
    "sets",
    "epoch",
    "kept",
    "trained",
    "failed",
]
# after one of these a shard says nothing more
LAST: tuple[Kind, ...] = ("reconstructions", "scores", "sets", "trained", "failed")


@dataclass(frozen=True)
class Event:
    """One message about one shard.

    facts           arrays gradient_norm, loss (N,); values warnings
    progress        values step, total, curve (whether the loss curve keeps it); arrays losses (N,): best restart
    preview         values step; arrays images (N, B, H, W, C) uint8
    checkpoint      values step, number; arrays state (bytes)
    reconstructions arrays images, losses, chosen, labels, iterations; values status, seconds, record
    scores          values scores: metric -> list of [value | "inf" | "-inf" | None, reason]; versions; weights; record
    sets            values set: id of the set's row; scores: metric -> [value | "inf" | None, reason]; as scores
    epoch           values row: a core.models.training.progress.EpochRow as a dict
    kept            values row, and counts images, held_out, parameters; arrays weights (safetensors bytes) of an epoch
    trained         values rows: every epoch's row; counts as above; seconds; record; arrays weights (safetensors bytes)
    failed          values reason ("memory", "cancelled", "lost", "device", "error") and sentence
    """

    kind: Kind
    values: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """For the way from the worker to the runner."""
        return pack({"kind": self.kind, "values": self.values}, self.arrays)

    @staticmethod
    def from_bytes(data: bytes) -> "Event":
        """Rebuild an event; ValueError for other bytes."""
        header, arrays = unpack(data)
        return Event(header["kind"], header["values"], arrays)


def failed(reason: str, sentence: str) -> Event:
    """The shard ended without a result."""
    return Event("failed", {"reason": reason, "sentence": sentence})

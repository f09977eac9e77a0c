"""What a worker does with a shard: bytes in, events out. Imports torch only when a shard runs."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from core.attacks.base import AttackCancelled
from core.attacks.speed import useful_threads
from core.errors import UserError
from core.jobs import compute, compute_scores, compute_train
from core.jobs.events import failed
from core.jobs.packing import blob, pack, unpack
from core.jobs.payloads import AttackJob
from core.jobs.plan import ShardPlan, plan_attack
from core.leakage.threat import ThreatModel
from core.models.spec import ModelSpec
from core.models.training.progress import OtherDevice, TrainingCancelled

Emit = compute.Emit


@dataclass(frozen=True)
class AttackShard:
    """All that a worker needs to attack some updates of a job, or to run a control on them.

    images: (M, B, H, W, C) uint8 and labels: (M, B) int64 of the targets, followed by those of the donors.
    """

    spec: ModelSpec
    weights: bytes | None  # safetensors; None: drawn from the spec's seed
    images: np.ndarray
    labels: np.ndarray
    threat: ThreatModel
    attack: str
    config: dict[str, Any]
    seed: int
    plan: ShardPlan
    device: str = "auto"
    threads: int = 1
    checkpoint: bytes | None = None
    checkpoint_number: int = 0
    checkpoint_seconds: float = 20.0
    previews: bool = True

    def to_bytes(self) -> bytes:
        """For the way to the worker."""
        header = {
            "type": "attack",
            "spec": self.spec.to_json(),
            "threat": asdict(self.threat),
            "role": self.plan.role,
            "plan": self.plan.to_json(),
            **{name: getattr(self, name) for name in _PLAIN},
        }
        arrays = {"images": self.images, "labels": self.labels.astype(np.int64)}
        if self.weights is not None:
            arrays["weights"] = blob(self.weights)
        if self.checkpoint is not None:
            arrays["checkpoint"] = blob(self.checkpoint)
        return pack(header, arrays)


_PLAIN = ("attack", "config", "seed", "device", "threads", "checkpoint_number", "checkpoint_seconds", "previews")


@dataclass(frozen=True)
class ScoreShard:
    """Pairs to be scored. originals, reconstructions: (N, H, W, 3) uint8; labels: (N,) true labels.

    losses: (N,) the attack's own, NaN where it has none. classes, names: of the N originals, None where not known.
    faults: for each pair, why it gets no score, or "".
    """

    originals: np.ndarray
    reconstructions: np.ndarray
    labels: np.ndarray
    metrics: tuple[str, ...]  # empty: all that are available
    spec: ModelSpec  # the victim, for the diagnostics
    weights: bytes | None
    device: str = "cpu"
    threads: int = 1
    losses: np.ndarray | None = None
    classes: tuple[str | None, ...] | None = None
    names: tuple[str | None, ...] | None = None
    faults: tuple[str, ...] | None = None

    def to_bytes(self) -> bytes:
        """For the way to the worker."""
        header = {
            "type": "score",
            "spec": self.spec.to_json(),
            "metrics": list(self.metrics),
            "device": self.device,
            "threads": self.threads,
            "classes": None if self.classes is None else list(self.classes),
            "names": None if self.names is None else list(self.names),
            "faults": None if self.faults is None else list(self.faults),
        }
        arrays = {"originals": self.originals, "reconstructions": self.reconstructions, "labels": self.labels}
        if self.losses is not None:
            arrays["losses"] = self.losses.astype(np.float64)
        if self.weights is not None:
            arrays["weights"] = blob(self.weights)
        return pack(header, arrays)


@dataclass(frozen=True)
class SetShard:
    """Two sets of pictures to be compared as a whole. originals: (N, H, W, 3), reconstructions: (M, H, W, 3), uint8."""

    set_id: int  # the row that the scores are of
    originals: np.ndarray
    reconstructions: np.ndarray
    metrics: tuple[str, ...]
    device: str = "cpu"
    threads: int = 1

    def to_bytes(self) -> bytes:
        """For the way to the worker."""
        header = {
            "type": "sets",
            "set": self.set_id,
            "metrics": list(self.metrics),
            "device": self.device,
            "threads": self.threads,
        }
        return pack(header, {"originals": self.originals, "reconstructions": self.reconstructions})


@dataclass(frozen=True)
class TrainShard:
    """All that a worker needs to train a victim. images (N, H, W, C), held_images (M, H, W, C) uint8; labels int64."""

    spec: ModelSpec
    recipe: dict[str, Any]
    images: np.ndarray
    labels: np.ndarray
    held_images: np.ndarray
    held_labels: np.ndarray
    weights: bytes | None = None  # safetensors to start from; None: drawn from the spec's seed
    key: int | None = field(default=None, repr=False)  # secret: what DP-SGD draws from (core.models.training.secret)
    device: str = "auto"
    threads: int = 1
    checkpoint: bytes | None = None
    checkpoint_number: int = 0
    checkpoint_seconds: float = 20.0

    def to_bytes(self) -> bytes:
        """For the way to the worker: the one copy of the pixels beside the worker's own."""
        plain = ("recipe", "key", "device", "threads", "checkpoint_number", "checkpoint_seconds")
        header = {"type": "train", "spec": self.spec.to_json(), **{name: getattr(self, name) for name in plain}}
        arrays = {
            "images": self.images,
            "labels": self.labels.astype(np.int64),
            "held_images": self.held_images,
            "held_labels": self.held_labels.astype(np.int64),
        }
        if self.weights is not None:
            arrays["weights"] = blob(self.weights)
        if self.checkpoint is not None:
            arrays["checkpoint"] = blob(self.checkpoint)
        return pack(header, arrays)


def plan_shards(
    payload: AttackJob,
    pixels: Sequence[np.ndarray],
    labels: Sequence[int],
    weights: bytes | None,
    *,
    threads: int,
) -> list[AttackShard]:
    """All shards of a job without any store: pixels are uint8 (H, W, C), in the order of payload.originals."""
    plans = plan_attack(payload, labels)
    return [attack_shard(payload, plan, pixels, labels, weights, threads=threads) for plan in plans]


def attack_shard(
    payload: AttackJob,
    plan: ShardPlan,
    pixels: Sequence[np.ndarray],
    labels: Sequence[int],
    weights: bytes | None,
    *,
    threads: int,
    device: str | None = None,
    checkpoint: bytes | None = None,
    checkpoint_number: int = 0,
    checkpoint_seconds: float = 20.0,
) -> AttackShard:
    """The shard of one plan: picks its updates' images and labels out of the job's. device None: the payload's."""
    size = payload.threat.batch_size
    rows = [range(u * size, (u + 1) * size) for u in (*plan.targets, *plan.donors)]
    return AttackShard(
        spec=payload.model,
        weights=weights,
        images=np.stack([np.stack([pixels[i] for i in row]) for row in rows]),
        labels=np.array([[labels[i] for i in row] for row in rows], dtype=np.int64),
        threat=payload.threat,
        attack=payload.attack,
        config=payload.config,
        seed=payload.seed,
        plan=plan,
        device=device or payload.device,
        threads=useful_threads(payload.model.architecture, threads),
        checkpoint=checkpoint,
        checkpoint_number=checkpoint_number,
        checkpoint_seconds=checkpoint_seconds,
        previews=plan.role == "attack",
    )


WORK = {
    "attack": compute.attack,
    "score": compute_scores.score,
    "sets": compute_scores.score_sets,
    "train": compute_train.train,
}


def run_shard(data: bytes, emit: Emit, cancelled: Callable[[], bool]) -> None:
    """Do what the shard says; the last event is a result or `failed`, never an exception that a shard can cause."""
    try:
        header, arrays = unpack(data)
        WORK[header["type"]](header, arrays, emit, cancelled)
    except (AttackCancelled, TrainingCancelled):
        emit(failed("cancelled", "It was stopped."))
    except OtherDevice as error:
        emit(failed("device", str(error)))
    except UserError as error:
        emit(failed("error", str(error)))
    except MemoryError:
        emit(failed("memory", "It needs more memory than there is."))
    except (RuntimeError, ValueError, ArithmeticError, LookupError, TypeError, OSError) as error:
        reason = "memory" if compute.is_out_of_memory(error) else "error"
        emit(failed(reason, f"{type(error).__name__}: {error}"[:1000]))

"""What a worker does with a shard: bytes in, events out. Imports torch only when a shard runs."""

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

import core
from core.errors import UserError
from core.jobs.events import Event, failed
from core.jobs.packing import blob, pack, unpack
from core.jobs.payloads import AttackJob
from core.jobs.plan import ShardPlan, plan_attack
from core.jobs.progress import WorkerProgress
from core.leakage.threat import ThreatModel
from core.models.spec import ModelSpec

if TYPE_CHECKING:
    import torch

Emit = Callable[[Event], None]


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
    """Pairs to be scored. originals, reconstructions: (N, H, W, 3) uint8; labels: (N,) true labels."""

    originals: np.ndarray
    reconstructions: np.ndarray
    labels: np.ndarray
    metrics: tuple[str, ...]  # empty: all that are available
    spec: ModelSpec  # the victim, for the diagnostics
    weights: bytes | None
    device: str = "cpu"
    threads: int = 1

    def to_bytes(self) -> bytes:
        """For the way to the worker."""
        header = {
            "type": "score",
            "spec": self.spec.to_json(),
            "metrics": list(self.metrics),
            "device": self.device,
            "threads": self.threads,
        }
        arrays = {"originals": self.originals, "reconstructions": self.reconstructions, "labels": self.labels}
        if self.weights is not None:
            arrays["weights"] = blob(self.weights)
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
        threads=threads,
        checkpoint=checkpoint,
        checkpoint_number=checkpoint_number,
        checkpoint_seconds=checkpoint_seconds,
        previews=plan.role == "attack",
    )


def run_shard(data: bytes, emit: Emit, cancelled: Callable[[], bool]) -> None:
    """Do what the shard says; the last event is a result or `failed`, never an exception that a shard can cause."""
    from core.attacks.base import AttackCancelled

    try:
        header, arrays = unpack(data)
        work = _attack if header["type"] == "attack" else _score
        work(header, arrays, emit, cancelled)
    except AttackCancelled:
        emit(failed("cancelled", "It was stopped."))
    except UserError as error:
        emit(failed("error", str(error)))
    except MemoryError:
        emit(failed("memory", "It needs more memory than there is."))
    except (RuntimeError, ValueError, ArithmeticError, LookupError, TypeError, OSError) as error:
        reason = "memory" if _is_out_of_memory(error) else "error"
        emit(failed(reason, f"{type(error).__name__}: {error}"[:1000]))


def _attack(header: dict[str, Any], arrays: dict[str, np.ndarray], emit: Emit, stop: Callable[[], bool]) -> None:
    import torch

    from core.attacks import ATTACKS, config_from_dict
    from core.leakage.controls import mismatched, prior_alone
    from core.leakage.victim import observe
    from core.registry import look_up

    device = _prepare_torch(header)
    spec = ModelSpec.from_json(header["spec"])
    plan = ShardPlan.from_json(header["role"], header["plan"])
    model = _model(spec, arrays).to(device)
    images = torch.from_numpy(arrays["images"]).to(device).permute(0, 1, 4, 2, 3).float() / 255.0
    labels = torch.from_numpy(arrays["labels"]).to(device)
    observation, facts = observe(model, spec, images, labels, ThreatModel(**header["threat"]))
    count = len(plan.targets)
    emit(
        Event(
            "facts",
            {"warnings": list(facts.warnings[:count])},
            {"gradient_norm": facts.gradient_norm[:count], "loss": facts.loss[:count]},
        )
    )
    config = config_from_dict(header["attack"], header["config"])
    if plan.role == "mismatched":
        observation = mismatched(
            observation.select(range(count)), observation.select(range(count, count + len(plan.donors)))
        )
    elif plan.role == "prior":
        config = prior_alone(config)
    progress = WorkerProgress(
        emit,
        stop,
        checkpoint=arrays["checkpoint"].tobytes() if "checkpoint" in arrays else None,
        checkpoint_number=header["checkpoint_number"],
        checkpoint_seconds=header["checkpoint_seconds"],
        previews=header["previews"],
    )
    attack = look_up(ATTACKS, header["attack"], "attack")
    done = attack.reconstruct(observation, config, seed=header["seed"], progress=progress, targets=plan.targets)
    emit(
        Event(
            "reconstructions",
            {
                "status": list(done.status),
                "seconds": done.seconds,
                "record": {**done.record, **_record(device, header["threads"])},
            },
            {
                "images": done.images,
                "losses": np.asarray(done.losses, dtype=np.float64),
                "chosen": np.asarray(done.chosen, dtype=np.int64),
                "labels": np.asarray(done.labels, dtype=np.int64),
                "iterations": np.asarray(done.iterations, dtype=np.int64),
            },
        )
    )


def _score(header: dict[str, Any], arrays: dict[str, np.ndarray], emit: Emit, stop: Callable[[], bool]) -> None:
    from core.attacks.base import AttackCancelled
    from core.metrics.base import Context
    from core.metrics.registry import METRICS, availability, weights_hash
    from core.metrics.scoring import score_pairs
    from core.settings import load_settings

    device = _prepare_torch(header)
    spec = ModelSpec.from_json(header["spec"])
    context = Context(victim=_victim(spec, arrays, device), labels=arrays["labels"], channels=spec.channels)
    settings = load_settings()  # the worker's own: weights are looked for where the worker runs
    names = tuple(header["metrics"]) or tuple(METRICS)
    missing = availability(settings, context)
    beat = time.monotonic()

    def heard(_done: int, _total: int) -> None:
        nonlocal beat
        if stop():
            raise AttackCancelled
        if time.monotonic() - beat > 1.0:
            beat = time.monotonic()
            emit(Event("progress", {"step": len(found), "total": len(names), "curve": False}))

    found: dict[str, list[list[Any]]] = {}
    for name in names:
        emit(Event("progress", {"step": len(found), "total": len(names), "curve": False}))
        scored = score_pairs(
            arrays["originals"],
            arrays["reconstructions"],
            (name,),
            settings,
            context=context,
            device=str(device),
            progress=heard,
        )
        found[name] = [[score.value, score.reason] for score in scored[name]]
    values = {
        "scores": found,
        "versions": {name: METRICS[name].version for name in names},
        "weights": {name: weights_hash(name, settings) if not missing[name] else "" for name in names},
        "record": _record(device, header["threads"]),
    }
    emit(Event("scores", values))


def _model(spec: ModelSpec, arrays: dict[str, np.ndarray]) -> "torch.nn.Module":
    from core.models.build import build_model, load_weights

    weights = load_weights(arrays["weights"].tobytes()) if "weights" in arrays else None
    return build_model(spec, weights)


def _victim(
    spec: ModelSpec, arrays: dict[str, np.ndarray], device: "torch.device"
) -> Callable[["torch.Tensor"], "torch.Tensor"]:
    """Images in [0, 1] -> logits."""
    import torch

    model = _model(spec, arrays).to(device)
    shape = (1, spec.channels, 1, 1)
    mean = torch.tensor(spec.mean, device=device).reshape(shape)
    std = torch.tensor(spec.std, device=device).reshape(shape)

    def predict(images: "torch.Tensor") -> "torch.Tensor":
        logits: torch.Tensor = model((images.to(device) - mean) / std)
        return logits

    return predict


def _prepare_torch(header: dict[str, Any]) -> "torch.device":
    """Threads as the shard says, whoever set what before: the number of threads decides the order of sums."""
    import torch

    torch.set_num_threads(int(header["threads"]))
    name = header["device"]
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"The device {name} was asked for, but this machine shows no GPU to torch; choose cpu or auto.")
    return torch.device(name)


def _record(device: "torch.device", threads: int) -> dict[str, Any]:
    import torch

    gpu = device.type == "cuda"
    return {
        "semsight": core.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if gpu else platform.processor() or platform.machine(),
        "threads": threads,
    }


def _is_out_of_memory(error: Exception) -> bool:
    import torch

    words = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
    return isinstance(error, torch.OutOfMemoryError) or any(word in str(error) for word in words)

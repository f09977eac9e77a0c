"""The computing of an attack's shard: updates, attacks and controls. torch is imported only when one runs."""

import platform
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

import core
from core.attacks import ATTACKS, config_from_dict
from core.attacks.base import Attack, Reconstructions
from core.errors import UserError
from core.jobs.events import Event
from core.jobs.plan import ShardPlan
from core.jobs.progress import WorkerProgress
from core.leakage.controls import easy_case, favourable, mismatched, prior_alone
from core.leakage.threat import ThreatModel
from core.models.spec import ModelSpec
from core.registry import look_up

if TYPE_CHECKING:
    import torch

    from core.leakage.observation import Observation

Emit = Callable[[Event], None]


def attack(header: dict[str, Any], arrays: dict[str, np.ndarray], emit: Emit, stop: Callable[[], bool]) -> None:
    """Make the updates, run the attack or the control on them, and emit what comes of it."""
    import torch

    device = prepare_torch(header)
    spec = ModelSpec.from_json(header["spec"])
    plan = ShardPlan.from_json(header["role"], header["plan"])
    model = build_victim(spec, arrays).to(device)
    config = config_from_dict(header["attack"], header["config"])
    attack = look_up(ATTACKS, header["attack"], "attack")
    spec, model = _sent(attack, spec, model, config, header["seed"])
    images = torch.from_numpy(arrays["images"]).to(device).permute(0, 1, 4, 2, 3).float() / 255.0
    labels = torch.from_numpy(arrays["labels"]).to(device)
    threat = ThreatModel.from_dict(header["threat"])
    if plan.role == "easy":
        threat = easy_case(threat, attack.updates) or threat
        images, labels, config = images[:, :1], labels[:, :1], favourable(config)
    count = len(plan.targets)
    if threat.update == "none":
        observation, facts = _model_alone(model, spec, labels, threat, count)
    else:
        positions = [*plan.targets, *plan.donors]
        observation, facts = _updates(model, spec, images, labels, threat, header["seed"], positions, count)
    emit(facts)
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
    done = attack.reconstruct(observation, config, seed=header["seed"], progress=progress, targets=plan.targets)
    emit(_made(done, run_record(device, header["threads"])))


def _made(done: Reconstructions, record: dict[str, Any]) -> Event:
    """The shard's last event."""
    return Event(
        "reconstructions",
        {"status": list(done.status), "seconds": done.seconds, "record": {**done.record, **record}},
        {
            "images": done.images,
            "losses": np.asarray(done.losses, dtype=np.float64),
            "chosen": np.asarray(done.chosen, dtype=np.int64),
            "labels": np.asarray(done.labels, dtype=np.int64),
            "iterations": np.asarray(done.iterations, dtype=np.int64),
        },
    )


def _updates(
    model: "torch.nn.Module",
    spec: ModelSpec,
    images: "torch.Tensor",
    labels: "torch.Tensor",
    threat: ThreatModel,
    seed: int,
    positions: list[int],
    count: int,
) -> tuple["Observation", Event]:
    """The clients' updates of targets and donors, and what there is to tell of the first `count`, the targets."""
    from core.leakage.victim import observe

    observation, facts = observe(model, spec, images, labels, threat, seed=seed, positions=positions)
    told = {"gradient_norm": facts.gradient_norm[:count], "loss": facts.loss[:count]}
    return observation, Event("facts", {"warnings": list(facts.warnings[:count])}, told)


def _model_alone(
    model: "torch.nn.Module", spec: ModelSpec, labels: "torch.Tensor", threat: ThreatModel, count: int
) -> tuple["Observation", Event]:
    """No update: the model, and the classes of the originals. There is no gradient, and so no norm and no warning."""
    from core.leakage.victim import observe_nothing

    nothing = np.full(count, np.nan)  # stored as no value
    told = {"gradient_norm": nothing, "loss": nothing}
    return observe_nothing(model, spec, labels, threat), Event("facts", {"warnings": [""] * count}, told)


def build_victim(spec: ModelSpec, arrays: dict[str, np.ndarray]) -> "torch.nn.Module":
    """The model of a shard: its weights where it brings them, else those that the spec draws."""
    from core.models.build import build_model, load_weights

    weights = load_weights(arrays["weights"].tobytes()) if "weights" in arrays else None
    return build_model(spec, weights)


def _sent(
    attack: Attack, spec: ModelSpec, model: "torch.nn.Module", config: Any, seed: int
) -> tuple[ModelSpec, "torch.nn.Module"]:
    """What a malicious server sends in place of the model; the model that is stored stays the honest one."""
    from core.models.build import build_model

    device = next(model.parameters()).device
    if attack.prepare is not None:
        spec, weights = attack.prepare(spec, model.state_dict(), config, seed)
        model = build_model(spec, weights).to(device)
    return spec, model


def prepare_torch(header: dict[str, Any]) -> "torch.device":
    """Threads as the shard says, whoever set what before: the number of threads decides the order of sums."""
    import torch

    from core.attacks import precision

    torch.set_num_threads(int(header["threads"]))
    precision.exact_by_default()  # the victim's update and the scores; an attack chooses for itself
    name = header["device"]
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"The device {name} was asked for, but this machine shows no GPU to torch; choose cpu or auto.")
    return torch.device(name)


def run_record(device: "torch.device", threads: int) -> dict[str, Any]:
    """Versions, device and threads: what a job's record says of a shard."""
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


def is_out_of_memory(error: Exception) -> bool:
    """Whether torch, CUDA or the system had no memory left."""
    from core.attacks import memory

    return memory.is_out_of_memory(error)

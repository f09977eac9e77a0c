"""What every gradient attack shares: problems, starts, the matching term, checkpoints, and the way back to images.

A problem is one (update, restart). P = N·R problems run as one leading axis, ordered update by update; each has its own
start, drawn from (seed, the update's position in the job, restart) alone, so that it does not depend on the shard.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from core.attacks.base import AttackCancelled, Progress
from core.attacks.gradients import Field, gradient_field
from core.attacks.passes import Objective, Passes
from core.attacks.speed import most_at_once
from core.errors import UserError
from core.leakage.defences.adapt import Adaptation, adapted
from core.leakage.observation import Observation
from core.leakage.victim import normalise
from core.leakage.wire import OtherVersion, pack, unpack
from core.models.build import build_model

CHECKPOINT_VERSION = 2  # rises whenever an attack's state or `identity` changes
Cost = Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor]


@dataclass(frozen=True)
class Problems:
    """The P = N·R problems of one observation and how their gradients are computed.

    owner (P,) names each problem's update.
    """

    observation: Observation
    restarts: int
    field: Field
    owner: Tensor
    passes: Passes
    adaptation: Adaptation | None = None  # what an attacker who is told of defences changes in its match
    copies: int = 1  # images that are searched for each private one

    @property
    def count(self) -> int:
        """P."""
        return len(self.owner)

    @property
    def image_shape(self) -> tuple[int, int, int, int]:
        """(B, C, H, W), with `copies` · batch size for B."""
        spec = self.observation.spec
        return (self.observation.batch_size * self.copies, spec.channels, spec.height, spec.width)

    def matching(self, cost: Cost, images: Tensor, probabilities: Tensor, rows: Tensor) -> Tensor:
        """cost(gradient of these images, observed gradient) (Q,); images (Q, B, C, H, W) normalised, rows (Q,).

        probabilities (Q, B, K) are of the labels; both sides are adapted to the defences that the attacker is told of.
        """
        place = _range_of(self.owner[rows])
        observed = [self.observation.gradients[name][place] for name in self.field.names]
        if self.adaptation is None:
            return cost(self.field.evaluate(images, probabilities)[0], observed)
        gradients, _ = self.field.evaluate(images, self.adaptation.targets(probabilities))
        return cost(*self.adaptation.compare(gradients, observed))

    def evaluate(
        self, objective: Objective, points: Tensor, rows: Tensor, *, fixed: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Costs (Q,) of objective(points, rows) and their gradients, in passes that fit: `core.attacks.passes`.

        fixed: the objective depends on nothing else that changes during the run.
        """
        return self.passes.evaluate(objective, points, rows, fixed=fixed)

    def normalised(self, images: Tensor) -> Tensor:
        """From [0, 1] to what the model takes."""
        return normalise(images, self.observation.spec)


def _range_of(owner: Tensor) -> Tensor | slice:
    """The rows `owner` (Q,), as a slice where they follow one another: then the observed gradients need no copy.

    Only where the values are at hand: a GPU would have to wait for them, and a traced step is used for other rows too.
    """
    if owner.device.type != "cpu" or get_proxy_mode() is not None or not len(owner):
        return owner
    first = int(owner[0])
    in_order = torch.equal(owner, torch.arange(first, first + len(owner)))
    return slice(first, first + len(owner)) if in_order else owner


def set_up(
    observation: Observation,
    restarts: int,
    *,
    precision: str = "auto",
    steps: int = 0,
    make_field: Callable[..., Field] = gradient_field,
    copies: int = 1,
) -> Problems:
    """Rebuild the model from the observation and lay out its problems; raise UserError when they do not fit.

    steps: evaluations that the run will ask for; a long run on a GPU is recorded and replayed (0: not known, never).
    make_field: what gives the update of made-up images, with the arguments of `gradient_field`.
    """
    model = build_model(observation.spec, observation.weights).to(observation.device)
    spec = observation.spec
    shape = (observation.batch_size, spec.channels, spec.height, spec.width)
    names = list(observation.gradients)
    if set(names) != {name for name, _ in model.named_parameters()}:
        raise UserError("The update's gradients are not those of the model's parameters; observe it anew.")
    field = make_field(model, names, observation.batchnorm, shape, spec.num_classes)
    owner = torch.arange(observation.count, device=observation.device).repeat_interleave(restarts)
    size = sum(parameter.numel() for parameter in model.parameters())
    at_once = most_at_once(size, observation.device.type)
    passes = Passes(observation.device, at_once // (observation.batch_size * copies), precision, steps)
    return Problems(observation, restarts, field, owner, passes, adapted(observation), copies)


def draw(kind: str, seed: int, targets: Sequence[int], restarts: int, size: int) -> Tensor:
    """(P, size) float32 `normal` N(0, 1) or `uniform` U(0, 1) numbers on the CPU, the same on every machine."""
    rows = []
    for target in targets:
        for restart in range(restarts):
            source = np.random.default_rng(np.random.SeedSequence([seed, target, restart]))
            rows.append(source.standard_normal(size) if kind == "normal" else source.random(size))
    return torch.from_numpy(np.stack(rows).astype(np.float32))


def global_targets(observation: Observation, targets: Sequence[int] | None) -> tuple[int, ...]:
    """Positions of the observation's updates in their job; by default 0 … N−1."""
    if targets is None:
        return tuple(range(observation.count))
    if len(targets) != observation.count or any(target < 0 for target in targets):
        raise UserError(f"Expected the positions of {observation.count} updates, got {len(targets)} of them.")
    return tuple(int(target) for target in targets)


def one_hot(labels: Tensor, classes: int, like: Tensor) -> Tensor:
    """(…,) int64 -> (…, K) in the dtype of `like`."""
    return torch.nn.functional.one_hot(labels, classes).to(like)


def to_pixels(images: Tensor) -> np.ndarray:
    """(…, C, H, W) on the [0, 1] scale -> (…, H, W, C) uint8: clamped and rounded; not finite becomes 0."""
    image = (images.nan_to_num(0.0, 0.0, 0.0).clamp(0, 1) * 255).round().to(torch.uint8)
    pixels: np.ndarray = image.movedim(-3, -1).contiguous().cpu().numpy()
    return pixels


class Quiet:
    """A Progress that hears nothing and asks for nothing."""

    def resume(self) -> bytes | None:
        """Nothing to go on from."""
        return None

    def cancelled(self) -> bool:
        """Never."""
        return False

    def step(self, done: int, total: int, losses: Tensor) -> None:
        """Not kept."""

    def preview_due(self, done: int, total: int) -> bool:
        """Never."""
        return False

    def preview(self, done: int, images: np.ndarray) -> None:
        """Not kept."""

    def checkpoint_due(self) -> bool:
        """Never."""
        return False

    def checkpoint(self, done: int, state: bytes) -> None:
        """Not kept."""


class Reporter:
    """Between an attack's loop and its Progress: cancel, loss, frames and checkpoints, once an iteration.

    record: what the run's record is to say of how it was resumed.
    """

    def __init__(self, progress: Progress | None, name: str, identity: str) -> None:
        self.progress: Progress = progress or Quiet()
        self.name, self.identity = name, identity
        self.record: dict[str, str] = {}

    def resume(self) -> tuple[int, dict[str, Tensor]] | None:
        """Iterations done and the loop's state, or None to start; UserError when it is of another run.

        A checkpoint of another version cannot be read or judged: the run starts anew, and `record` says so.
        """
        data = self.progress.resume()
        if data is None:
            return None
        try:
            header, state = unpack(data, "checkpoint", CHECKPOINT_VERSION)
        except OtherVersion as error:
            found = f"the checkpoint was of version {error.version}, not {CHECKPOINT_VERSION}"
            self.record["resumed"] = f"from the start: {found}"
            return None
        if header.get("identity") != self.identity:
            raise UserError("This checkpoint is of another attack, seed or update; start the run anew.")
        return int(header["done"]), state

    def check_cancelled(self) -> None:
        """Raise AttackCancelled when asked to stop."""
        if self.progress.cancelled():
            raise AttackCancelled

    def after(
        self,
        done: int,
        total: int,
        losses: Tensor,
        frame: Callable[[], np.ndarray],
        state: Callable[[], Mapping[str, Tensor]],
    ) -> None:
        """Tell what one iteration brought; frame and state are made only when they are wanted."""
        self.progress.step(done, total, losses)
        if self.progress.preview_due(done, total):
            self.progress.preview(done, frame())
        if self.progress.checkpoint_due():
            header = {"identity": self.identity, "done": done}
            self.progress.checkpoint(done, pack("checkpoint", CHECKPOINT_VERSION, header, state()))
        self.check_cancelled()


def identity(name: str, observation: Observation, config: Any, seed: int, targets: Sequence[int]) -> str:
    """sha256 of what was asked for; a checkpoint carries it, and belongs to its update by the shard that keeps it.

    The values of gradients and weights are left out: whoever resumes has computed or drawn them anew, and on another
    CPU, GPU or torch their last bits differ. The spec names the weights by hash or seed.
    """
    asked = {
        "attack": name,
        "config": asdict(config),  # with the number of restarts
        "seed": seed,
        "targets": list(targets),
        "spec": asdict(observation.spec),
        "batch_size": observation.batch_size,
        "batchnorm": observation.batchnorm,
        "reduction": observation.reduction,
        "update": observation.update,
        "clients": observation.clients,
        "local": None if observation.local is None else asdict(observation.local),
        "running_statistics": observation.running_statistics,
        "statistics": list(observation.statistics),
        "defences": [asdict(one) for one in observation.defences],
        "parameters": [[key, list(tensor.shape)] for key, tensor in observation.gradients.items()],
        "labels": None if observation.labels is None else observation.labels.tolist(),
    }
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def record_of(problems: Problems, **more: Any) -> dict[str, Any]:
    """How it was run, for the record of the run."""
    device = problems.observation.device
    return {
        "gradients": problems.field.path,
        **problems.passes.record(),
        "device": str(device),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        **more,
    }

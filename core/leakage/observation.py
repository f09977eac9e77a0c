"""What an attacker holds: an Observation carries what the threat model grants, and nothing else."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import torch

from core.errors import UserError
from core.leakage.threat import MAX_BATCH, ChosenDefence
from core.leakage.wire import pack, unpack
from core.models.spec import ModelSpec

VERSION = 2


@dataclass(frozen=True)
class LocalTraining:
    """What is known of a FedAvg client: SGD over its images in an order that nobody is told."""

    epochs: int
    batch: int  # images of one local step
    lr: float
    steps: int  # of one client: epochs × steps an epoch


@dataclass(frozen=True)
class Observation:
    """N independent shared updates of one model (leading axis N), as one attacker sees them.

    weights: the model's state dict as the server sent it. gradients: parameter name -> (N, *parameter shape), of the
    cross-entropy averaged over the update's images; for FedAvg the weight difference (sent − returned) divided by
    learning rate × local steps, which is the mean gradient along the clients' way; empty when update is `none`.
    labels: (N, B) int64 if granted, else None; sorted for FedAvg, so that they do not tell the order of the steps. For
    a model-only attack, the classes wanted. statistics: "LAYER.mean" and "LAYER.var" (biased) -> (N, channels) of the
    private batch in train mode, averaged over clients, if granted. defences: those that the attacker is told of.
    """

    spec: ModelSpec
    weights: dict[str, torch.Tensor]
    gradients: dict[str, torch.Tensor]
    batch_size: int
    batchnorm: Literal["eval", "train"]
    labels: torch.Tensor | None
    reduction: Literal["mean"] = "mean"
    update: Literal["gradients", "weights", "none"] = "gradients"
    clients: int = 1
    local: LocalTraining | None = None  # FedAvg only
    running_statistics: bool = True
    statistics: dict[str, torch.Tensor] = field(default_factory=dict)
    defences: tuple[ChosenDefence, ...] = ()

    @property
    def count(self) -> int:
        """N, the number of independent updates."""
        if self.labels is not None:
            return self.labels.shape[0]
        return next(iter(self.gradients.values())).shape[0]

    @property
    def device(self) -> torch.device:
        """Where the tensors lie, and so where an attack on it runs."""
        return next(iter(self.weights.values())).device

    def to(self, device: torch.device | str) -> "Observation":
        """The same observation with its tensors on `device`."""
        return replace(
            self,
            weights={name: tensor.to(device) for name, tensor in self.weights.items()},
            gradients={name: tensor.to(device) for name, tensor in self.gradients.items()},
            statistics={name: tensor.to(device) for name, tensor in self.statistics.items()},
            labels=None if self.labels is None else self.labels.to(device),
        )

    def select(self, indices: Sequence[int]) -> "Observation":
        """The updates at `indices`, in that order."""
        rows = torch.tensor(list(indices), dtype=torch.int64, device=self.device)
        return replace(
            self,
            gradients={name: tensor[rows] for name, tensor in self.gradients.items()},
            statistics={name: tensor[rows] for name, tensor in self.statistics.items()},
            labels=None if self.labels is None else self.labels[rows],
        )

    def to_bytes(self) -> bytes:
        """For the way to another process; the same observation gives the same bytes."""
        header = {
            **{name: getattr(self, name) for name in _PLAIN},
            "spec": asdict(self.spec),
            "local": None if self.local is None else asdict(self.local),
            "defences": [asdict(one) for one in self.defences],
            "statistics": list(self.statistics),
            "parameters": list(self.gradients),  # their order decides the order of sums, and so the last bits
            "state": list(self.weights),
        }
        tensors = {f"weights/{name}": tensor for name, tensor in self.weights.items()}
        tensors |= {f"gradients/{name}": tensor for name, tensor in self.gradients.items()}
        tensors |= {f"statistics/{name}": tensor for name, tensor in self.statistics.items()}
        if self.labels is not None:
            tensors["labels"] = self.labels
        return pack("observation", VERSION, header, tensors)

    @staticmethod
    def from_bytes(data: bytes) -> "Observation":
        """Rebuild on the CPU what `to_bytes` wrote; raise UserError for anything else."""
        header, tensors = unpack(data, "observation", VERSION)
        try:
            observation = Observation(
                **{name: header[name] for name in _PLAIN},
                spec=ModelSpec.from_json(json.dumps(header["spec"])),
                weights=_group(tensors, "weights/", header["state"]),
                gradients=_group(tensors, "gradients/", header["parameters"]),
                statistics=_group(tensors, "statistics/", header["statistics"]),
                labels=tensors.get("labels"),
                local=None if header["local"] is None else LocalTraining(**header["local"]),
                defences=tuple(ChosenDefence(one["name"], dict(one["settings"])) for one in header["defences"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UserError("This observation does not say what model and update it is of; make it anew.") from error
        _check(observation)
        return observation


_PLAIN = ("batch_size", "batchnorm", "reduction", "update", "clients", "running_statistics")


def _group(tensors: dict[str, torch.Tensor], prefix: str, names: list[str]) -> dict[str, torch.Tensor]:
    """The tensors under `prefix` in the order of `names`, in memory of their own; KeyError when one is missing."""
    return {name: tensors[prefix + name].clone() for name in names}


def _check(observation: Observation) -> None:
    size, clients = observation.batch_size, observation.clients
    if not _whole(size) or not 1 <= size <= MAX_BATCH:
        raise UserError(f"An observation has a batch size of 1 to {MAX_BATCH}, not {str(size)[:40]!r}.")
    if not _whole(clients) or clients < 1 or size % clients:
        raise UserError(f"An observation's {size} images cannot come from {str(clients)[:40]!r} clients.")
    if observation.batchnorm not in ("eval", "train") or observation.reduction != "mean":
        raise UserError("This observation names a BatchNorm mode or a loss reduction that no attack here knows.")
    if observation.update not in ("gradients", "weights", "none") or (
        (observation.update == "weights") != (observation.local is not None)
    ):
        raise UserError("This observation names a kind of update that no attack here knows.")
    if not isinstance(observation.running_statistics, bool):
        raise UserError("This observation does not say whether the model's running statistics were granted.")
    if observation.local is not None:
        _check_local(observation.local, size // clients)
    _check_tensors(observation)
    _check_labels(observation)


def _check_local(local: LocalTraining, images: int) -> None:
    whole = _whole(local.epochs) and _whole(local.batch) and _whole(local.steps)
    if not whole or not isinstance(local.lr, float) or not 0 < local.lr < math.inf:
        raise UserError("This observation does not say how its FedAvg clients trained.")
    if not 1 <= local.batch <= images or local.steps != local.epochs * -(-images // local.batch) or local.epochs < 1:
        raise UserError(f"A FedAvg client of {images} images cannot have trained as this observation says.")


def _check_tensors(observation: Observation) -> None:
    gradients = observation.gradients
    if (observation.update == "none") != (not gradients) or any(
        tensor.ndim == 0 or not tensor.is_floating_point() for tensor in gradients.values()
    ):
        raise UserError("This observation holds no gradients, so there is nothing to attack.")
    if any(tensor.ndim != 2 or not tensor.is_floating_point() for tensor in observation.statistics.values()):
        raise UserError("The batch statistics of this observation are not one row of numbers an update.")
    leading = {tensor.shape[0] for tensor in (*gradients.values(), *observation.statistics.values())}
    if len(leading | ({observation.count} if observation.labels is not None else set())) > 1:
        raise UserError("The gradients of this observation are of different numbers of updates.")
    for name, tensor in gradients.items():
        weight = observation.weights.get(name)
        if weight is None or weight.shape != tensor.shape[1:] or weight.dtype != tensor.dtype:
            raise UserError(f"The gradient of {name[:60]!r} does not fit the weight of that name.")


def _check_labels(observation: Observation) -> None:
    labels, size = observation.labels, observation.batch_size
    if labels is None:
        if observation.update == "none":
            raise UserError("A model-only attack needs the classes that it is to make images of.")
        return
    if labels.dtype != torch.int64 or labels.ndim != 2 or labels.shape[1] != size:
        raise UserError(f"Expected labels of the shape ({observation.count}, {size}), got {tuple(labels.shape)}.")
    if int(labels.min()) < 0 or int(labels.max()) >= observation.spec.num_classes:
        raise UserError(f"A label lies outside of the {observation.spec.num_classes} classes of the model.")


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)

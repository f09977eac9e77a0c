"""What an attacker holds: an Observation carries what the threat model grants, and nothing else."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

import torch

from core.errors import UserError
from core.leakage.wire import pack, unpack
from core.models.spec import ModelSpec

VERSION = 1
MAX_BATCH = 8


@dataclass(frozen=True)
class Observation:
    """N independent shared updates of one model (leading axis N), as one attacker sees them.

    weights: the model's state dict. gradients: parameter name -> (N, *parameter shape), of the cross-entropy
    averaged over the update's images. labels: (N, B) int64 if granted, else None.
    """

    spec: ModelSpec
    weights: dict[str, torch.Tensor]
    gradients: dict[str, torch.Tensor]
    batch_size: int
    batchnorm: Literal["eval", "train"]
    labels: torch.Tensor | None
    reduction: Literal["mean"] = "mean"

    @property
    def count(self) -> int:
        """N, the number of independent updates."""
        return next(iter(self.gradients.values())).shape[0]

    @property
    def device(self) -> torch.device:
        """Where the tensors lie, and so where an attack on it runs."""
        return next(iter(self.gradients.values())).device

    def to(self, device: torch.device | str) -> "Observation":
        """The same observation with its tensors on `device`."""
        return replace(
            self,
            weights={name: tensor.to(device) for name, tensor in self.weights.items()},
            gradients={name: tensor.to(device) for name, tensor in self.gradients.items()},
            labels=None if self.labels is None else self.labels.to(device),
        )

    def select(self, indices: Sequence[int]) -> "Observation":
        """The updates at `indices`, in that order."""
        rows = torch.tensor(list(indices), dtype=torch.int64, device=self.device)
        return replace(
            self,
            gradients={name: tensor[rows] for name, tensor in self.gradients.items()},
            labels=None if self.labels is None else self.labels[rows],
        )

    def to_bytes(self) -> bytes:
        """For the way to another process; the same observation gives the same bytes."""
        header = {
            "spec": asdict(self.spec),
            "batch_size": self.batch_size,
            "batchnorm": self.batchnorm,
            "reduction": self.reduction,
            "parameters": list(self.gradients),  # their order decides the order of sums, and so the last bits
            "state": list(self.weights),
        }
        tensors = {f"weights/{name}": tensor for name, tensor in self.weights.items()}
        tensors |= {f"gradients/{name}": tensor for name, tensor in self.gradients.items()}
        if self.labels is not None:
            tensors["labels"] = self.labels
        return pack("observation", VERSION, header, tensors)

    @staticmethod
    def from_bytes(data: bytes) -> "Observation":
        """Rebuild on the CPU what `to_bytes` wrote; raise UserError for anything else."""
        header, tensors = unpack(data, "observation", VERSION)
        try:
            spec = ModelSpec.from_json(json.dumps(header["spec"]))
            batch_size, batchnorm, reduction = header["batch_size"], header["batchnorm"], header["reduction"]
            gradients = _group(tensors, "gradients/", header["parameters"])
            weights = _group(tensors, "weights/", header["state"])
        except (KeyError, TypeError, ValueError) as error:
            raise UserError("This observation does not say what model and update it is of; make it anew.") from error
        observation = Observation(
            spec=spec,
            weights=weights,
            gradients=gradients,
            batch_size=batch_size,
            batchnorm=batchnorm,
            labels=tensors.get("labels"),
            reduction=reduction,
        )
        _check(observation)
        return observation


def _group(tensors: dict[str, torch.Tensor], prefix: str, names: list[str]) -> dict[str, torch.Tensor]:
    """The tensors under `prefix` in the order of `names`, in memory of their own; KeyError when one is missing."""
    return {name: tensors[prefix + name].clone() for name in names}


def _check(observation: Observation) -> None:
    size, gradients, labels = observation.batch_size, observation.gradients, observation.labels
    if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= MAX_BATCH:
        raise UserError(f"An observation has a batch size of 1 to {MAX_BATCH}, not {str(size)[:40]!r}.")
    if observation.batchnorm not in ("eval", "train") or observation.reduction != "mean":
        raise UserError("This observation names a BatchNorm mode or a loss reduction that no attack here knows.")
    if not gradients or any(tensor.ndim == 0 or not tensor.is_floating_point() for tensor in gradients.values()):
        raise UserError("This observation holds no gradients, so there is nothing to attack.")
    if len({tensor.shape[0] for tensor in gradients.values()}) != 1:
        raise UserError("The gradients of this observation are of different numbers of updates.")
    for name, tensor in gradients.items():
        weight = observation.weights.get(name)
        if weight is None or weight.shape != tensor.shape[1:] or weight.dtype != tensor.dtype:
            raise UserError(f"The gradient of {name[:60]!r} does not fit the weight of that name.")
    if labels is not None:
        if labels.dtype != torch.int64 or labels.shape != (observation.count, size):
            raise UserError(f"Expected labels of the shape ({observation.count}, {size}), got {tuple(labels.shape)}.")
        if int(labels.min()) < 0 or int(labels.max()) >= observation.spec.num_classes:
            raise UserError(f"A label lies outside of the {observation.spec.num_classes} classes of the model.")

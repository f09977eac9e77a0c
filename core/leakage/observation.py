"""What an attacker holds: an Observation carries what the threat model grants, and nothing else."""

from dataclasses import dataclass
from typing import Literal

import torch

from core.models.spec import ModelSpec


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

"""Labels read off the update itself, for threat models that do not grant them."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from core.errors import UserError
from core.leakage.observation import Observation


def recover_labels(observation: Observation, rule: Literal["auto", "row sums"] = "auto") -> Tensor:
    """(N, B) int64, the classes of each update sorted by number: which image has which class is not known.

    `row sums`: iDLG (arXiv 2001.02610) for one image, Wainakh's greedy form for a batch; both need last features that
    are not negative. `auto`: the last layer's bias gradient where it has one (exact for one image), else row sums.
    """
    bias, weight = last_layer(observation)
    if rule == "auto" and bias is not None:
        return from_bias(bias, observation.batch_size)
    return from_row_sums(weight, observation.batch_size)


def last_layer(observation: Observation) -> tuple[Tensor | None, Tensor]:
    """Gradients of the classifier's bias (N, K), if any, and weight (N, K, features). Raises UserError without one."""
    classes = observation.spec.num_classes
    for name in reversed(observation.gradients):
        weight = observation.gradients[name]
        if weight.ndim == 3 and weight.shape[1] == classes and name.endswith("weight"):
            return observation.gradients.get(name.removesuffix("weight") + "bias"), weight
    raise UserError(
        f"The labels cannot be inferred: the model has no last linear layer with {classes} rows; choose labels: known."
    )


def from_bias(gradient: Tensor, batch_size: int) -> Tensor:
    """(N, K) -> (N, B). The gradient is the mean probability of each class minus its share of the batch, so the most
    negative class is picked, 1/B given back to it, and so on: what is left at the end are probabilities, not negative.
    """
    refund = gradient.new_full((len(gradient),), 1 / batch_size)
    return _greedy(gradient, refund, batch_size, proven=torch.zeros_like(gradient, dtype=torch.bool))


def from_row_sums(gradient: Tensor, batch_size: int) -> Tensor:
    """(N, K, features) -> (N, B) by the sums over features, which have the sign of the bias gradient when features are
    not negative: a negative row proves that its class is in the update. One image: the most negative row. A batch
    (Wainakh et al., arXiv 2105.09369): first every negative row once, at most B; then greedily the most negative of
    what is left. Each pick takes off the impact of one image, Σ of the negative sums × (1 + 1/K) / B.
    """
    sums = gradient.sum(-1)
    if batch_size == 1:
        return sums.argmin(1, keepdim=True)
    impact = sums.clamp(max=0).sum(1) * (1 + 1 / sums.shape[1]) / batch_size
    return _greedy(sums, -impact, batch_size, proven=sums < 0)


def _greedy(sums: Tensor, refund: Tensor, batch_size: int, proven: Tensor) -> Tensor:
    """(N, K) sums and bool, refund (N,) -> (N, B) sorted: the classes `proven` once each, then the most negative."""
    left, waiting, picked = sums.clone(), proven.clone(), []
    rows = torch.arange(len(sums), device=sums.device)
    for _ in range(batch_size):
        barred = waiting.any(1, keepdim=True) & ~waiting
        choice = left.masked_fill(barred, torch.inf).argmin(1)
        left[rows, choice] += refund
        waiting[rows, choice] = False
        picked.append(choice)
    return torch.stack(picked, dim=1).sort(dim=1).values

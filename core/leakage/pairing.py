"""Which original a reconstruction is compared with. Batches come back unordered: one assignment for each update."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.optimize import linear_sum_assignment

from core.errors import UserError

COSTS = ("mse",)


@dataclass(frozen=True)
class Pairing:
    """permutation (N, R, B): place b of restart r of update n is compared with original permutation[n, r, b] of that
    update. costs (N, R, B): of the pairs that were made, lower = more alike. method: `given` when there was no choice.
    """

    permutation: np.ndarray
    costs: np.ndarray
    method: Literal["given", "assignment"]
    cost_name: str  # "" when given


def pair_batches(originals: np.ndarray, reconstructions: np.ndarray, cost: str = "mse") -> Pairing:
    """Pair each update's reconstructions with its originals so that the summed cost is least.

    originals: (N, B, H, W, C) uint8. reconstructions: (N, R, B, H, W, C) uint8; every restart is paired by itself.
    cost `mse`: mean squared difference of values in [0, 1]. Raises UserError for other shapes or costs.
    """
    if cost not in COSTS:
        raise UserError(f"Pairings are made by one of {', '.join(COSTS)}, not by {cost[:40]!r}.")
    n, b, *image = originals.shape
    r = reconstructions.shape[1] if reconstructions.ndim > 1 else 0
    if originals.ndim != 5 or reconstructions.shape != (n, r, b, *image):
        raise UserError(
            f"Expected originals (N, B, H, W, C) and reconstructions (N, R, B, H, W, C) of the same images, "
            f"got {originals.shape} and {reconstructions.shape}."
        )
    permutation = np.zeros((n, r, b), dtype=np.int64)
    costs = np.zeros((n, r, b))
    for update in range(n):
        for restart in range(r):
            table = _mse_table(reconstructions[update, restart], originals[update])
            places, chosen = linear_sum_assignment(table)  # places come back as 0 … B-1
            permutation[update, restart] = chosen
            costs[update, restart] = table[places, chosen]
    if b == 1:
        return Pairing(permutation, costs, "given", "")
    return Pairing(permutation, costs, "assignment", cost)


def _mse_table(reconstructions: np.ndarray, originals: np.ndarray) -> np.ndarray:
    """(B, …) and (B, …) uint8 -> (B, B) mean squared differences on the [0, 1] scale, rows are reconstructions."""
    ours = reconstructions.reshape(len(reconstructions), 1, -1).astype(np.float64)
    theirs = originals.reshape(1, len(originals), -1).astype(np.float64)
    table: np.ndarray = ((ours - theirs) ** 2).mean(axis=-1) / 255.0**2
    return table

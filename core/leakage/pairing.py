"""Which original a reconstruction is compared with. Batches come back unordered: one assignment for each update.

What an attack on the model alone makes is of a class, not of one original: it goes to the nearest one of that class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.optimize import linear_sum_assignment

from core.errors import UserError

COSTS = ("mse",)
NEAREST: Literal["nearest"] = "nearest"  # the method of pair_nearest, as it is stored


@dataclass(frozen=True)
class Pairing:
    """permutation (N, R, B): place b of restart r of update n is compared with original permutation[n, r, b] of that
    update. costs (N, R, B): of the pairs that were made, lower = more alike. method: `given` when there was no choice.
    With `nearest`, permutation holds places in the job's originals, and several images may share one.
    """

    permutation: np.ndarray
    costs: np.ndarray
    method: Literal["given", "assignment", "nearest"]
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


def pair_nearest(
    originals: Sequence[np.ndarray],
    labels: Sequence[int],
    reconstructions: np.ndarray,
    classes: np.ndarray,
    cost: str = "mse",
) -> Pairing:
    """Pair each reconstruction with the original of its class that is most alike; of equals, with the first.

    originals: all of the job, M times (H, W, C) uint8, with their labels (M,). reconstructions: (N, R, B, H, W, C)
    uint8. classes (N, B): of what each was meant to show. cost `mse`: mean squared difference of values in [0, 1].
    Raises UserError for other shapes or costs, and for a class without an original.
    """
    if cost not in COSTS:
        raise UserError(f"Pairings are made by one of {', '.join(COSTS)}, not by {cost[:40]!r}.")
    n, r, b = reconstructions.shape[:3]
    if len(originals) != len(labels) or classes.shape != (n, b):
        raise UserError(
            f"Expected one label an original and classes of the shape ({n}, {b}), got {len(labels)} for "
            f"{len(originals)} and {classes.shape}."
        )
    permutation = np.zeros((n, r, b), dtype=np.int64)
    costs = np.zeros((n, r, b))
    for wanted in np.unique(classes):
        places = [place for place, label in enumerate(labels) if label == wanted]
        if not places:
            raise UserError(f"No original is of class {wanted}, so nothing of that class can be paired.")
        own = np.stack([originals[place] for place in places])
        if own.shape[1:] != reconstructions.shape[3:]:
            raise UserError(f"Originals of {own.shape[1:]} and reconstructions of {reconstructions.shape[3:]} differ.")
        for update, slot in np.argwhere(classes == wanted):
            for restart in range(r):
                table = _mse_table(reconstructions[update, restart, slot][None], own)[0]
                best = int(table.argmin())
                permutation[update, restart, slot] = places[best]
                costs[update, restart, slot] = table[best]
    return Pairing(permutation, costs, NEAREST, cost)


def _mse_table(reconstructions: np.ndarray, originals: np.ndarray) -> np.ndarray:
    """(B, …) and (M, …) uint8 -> (B, M) mean squared differences on the [0, 1] scale, rows are reconstructions."""
    ours = reconstructions.reshape(len(reconstructions), 1, -1).astype(np.float64)
    theirs = originals.reshape(1, len(originals), -1).astype(np.float64)
    table: np.ndarray = ((ours - theirs) ** 2).mean(axis=-1) / 255.0**2
    return table

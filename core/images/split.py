"""Draws that depend on a seed and a picture's name alone: the held-out part, and the order of a sample."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray


def ranks(names: Sequence[str], seed: int, purpose: str) -> NDArray[np.uint64]:
    """(N,) 64-bit numbers, one a name; another purpose or seed gives unrelated ones, another set of names the same."""
    start = f"{purpose}\n{seed}\n".encode()
    digests = b"".join(hashlib.blake2b(start + name.encode(), digest_size=8).digest() for name in names)
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def held_out(names: Sequence[str], labels: Sequence[int], *, share: float, seed: int) -> NDArray[np.bool_]:
    """(N,) True for the pictures that are held out: of each class the `share` with the lowest ranks, rounded.

    A class keeps at least one picture to train with; one of two or more pictures holds out at least one, unless the
    share is 0. What other classes hold does not move a class's split.
    """
    wanted = np.asarray(labels, dtype=np.int64)
    result = np.zeros(len(wanted), dtype=bool)
    drawn = ranks(names, seed, "held out")
    order = np.lexsort((drawn, wanted))  # by class, then by rank
    bounds = [0, *(np.flatnonzero(np.diff(wanted[order])) + 1).tolist(), len(order)]
    for start, end in pairwise(bounds):
        size = end - start
        count = min(max(int(share * size + 0.5), int(share > 0)), size - 1)
        result[order[start : start + count]] = True
    return result

"""Statistics of two sets of features: Fréchet and kernel distance, precision, recall, density and coverage.

Pure functions of float64 arrays, originals (N, D) and reconstructions (M, D); numpy and scipy only. `beat` is called
between blocks of work, so that long ones can say that they live, and be stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
from scipy.linalg import qr, svdvals
from scipy.spatial.distance import cdist

Array = npt.NDArray[np.float64]
Beat = Callable[[], None]
BLOCK = 512  # rows of a matrix of distances or of a kernel that is held at once
NEIGHBOUR_STATISTICS = ("precision", "recall", "density", "coverage")


def nothing() -> None:
    """The beat of those who do not listen."""


def statistics(
    originals: Array, reconstructions: Array, names: Sequence[str], *, k: int = 5, beat: Beat = nothing
) -> dict[str, float]:
    """The named statistics: fid, kid, precision, recall, density, coverage. The last four share their distances.

    originals, reconstructions: (N, D) and (M, D). ValueError: too few rows, other shapes, or a number that is not
    finite.
    """
    found: dict[str, float] = {}
    for name in names:
        if name in NEIGHBOUR_STATISTICS and name not in found:
            found |= neighbours(originals, reconstructions, k=k, beat=beat)
        elif name == "fid":
            found[name] = frechet_distance(originals, reconstructions, beat=beat)
        elif name == "kid":
            found[name] = kernel_distance(originals, reconstructions, beat=beat)
    return {name: found[name] for name in names}


def frechet_distance(originals: Array, reconstructions: Array, *, beat: Beat = nothing) -> float:
    """|μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2 (Σ₁ Σ₂)^½) ≥ 0 of two normal distributions (Heusel et al. 2017); 0 for equal sets.

    Covariances are the unbiased ones (N − 1), as in the original code. With centred sets X/√(N−1) and Y/√(M−1) the
    trace of the root is the sum of the singular values of X Yᵀ, which stays exact where covariances are singular,
    and is small where there are fewer pictures than dimensions.
    """
    _check(originals, reconstructions, 2)
    difference = originals.mean(0) - reconstructions.mean(0)
    roots = [(one - one.mean(0)) / np.sqrt(len(one) - 1) for one in (originals, reconstructions)]
    traces = sum(float(np.square(root).sum()) for root in roots)
    beat()
    x, y = (_triangle(root) for root in roots)
    beat()
    value = float(difference @ difference) + traces - 2 * float(svdvals(x @ y.T).sum())
    return max(0.0, value)


def kernel_distance(originals: Array, reconstructions: Array, *, beat: Beat = nothing) -> float:
    """Unbiased squared maximum mean discrepancy with the kernel (x·y / D + 1)³ (Bińkowski et al. 2018).

    Its expectation is 0 for two sets of one distribution, so that a value may be below 0. All pictures are used at
    once, in place of the mean over random subsets that some libraries report.
    """
    _check(originals, reconstructions, 2)
    sums = []
    for first, second in ((originals, originals), (reconstructions, reconstructions), (originals, reconstructions)):
        total = 0.0
        for rows in _blocks(len(first)):
            kernel = (first[rows] @ second.T / first.shape[1] + 1) ** 3
            total += float(kernel.sum())
            beat()
        if first is second:
            total -= float(((np.square(first).sum(1) / first.shape[1] + 1) ** 3).sum())
        sums.append(total)
    n, m = len(originals), len(reconstructions)
    return sums[0] / (n * (n - 1)) + sums[1] / (m * (m - 1)) - 2 * sums[2] / (n * m)


def neighbours(originals: Array, reconstructions: Array, *, k: int = 5, beat: Beat = nothing) -> dict[str, float]:
    """precision, recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020) with k neighbours.

    A ball around a picture reaches to its k-th nearest other one of its own set, its edge included. precision, recall
    and coverage are in [0, 1], density is at least 0; higher means that the sets are more alike. Needs more than k
    pictures in each set.
    """
    _check(originals, reconstructions, k + 1)
    reach = _radii(originals, k, beat)
    own_reach = _radii(reconstructions, k, beat)
    inside = np.zeros(len(reconstructions))  # of how many originals' balls each reconstruction is
    recalled = covered = 0
    for rows in _blocks(len(originals)):
        distances = cdist(originals[rows], reconstructions)
        within = distances <= reach[rows, None]
        inside += within.sum(0)
        covered += int(within.any(1).sum())
        recalled += int((distances <= own_reach).any(1).sum())
        beat()
    return {
        "precision": float((inside > 0).mean()),
        "recall": recalled / len(originals),
        "density": float(inside.mean() / k),
        "coverage": covered / len(originals),
    }


def _radii(points: Array, k: int, beat: Beat) -> Array:
    """(N,) the distance from each point to its k-th nearest other one."""
    found = np.empty(len(points))
    for rows in _blocks(len(points)):
        # the point itself is at distance 0 and comes first: the k-th other one is at place k
        found[rows] = np.asarray(np.partition(cdist(points[rows], points), k, axis=1)[:, k], dtype=np.float64)
        beat()
    return found


def _blocks(count: int) -> Iterator[slice]:
    return (slice(start, min(start + BLOCK, count)) for start in range(0, count, BLOCK))


def _triangle(root: Array) -> Array:
    """A matrix with the same rootᵀ root and at most D rows."""
    if len(root) <= root.shape[1]:
        return root
    (upper,) = qr(root, mode="r", check_finite=False)
    return np.asarray(upper[: root.shape[1]], dtype=np.float64)


def _check(originals: Array, reconstructions: Array, least: int) -> None:
    for features in (originals, reconstructions):
        if features.ndim != 2 or features.dtype != np.float64 or features.shape[1:] != originals.shape[1:]:
            raise ValueError(f"Expected float64 features (N, D) twice, got {features.dtype} {features.shape}.")
        if len(features) < least:
            raise ValueError(f"Needs at least {least} pictures in each set, got {len(features)}.")
        if not np.isfinite(features).all():
            raise ValueError("A feature is NaN or infinite.")

"""All that a training draws by chance, from the seed and a counter alone: nothing of it needs to be saved. No torch.

DP-SGD gives its secret key as the seed of `poisson` and of the noise.

Each purpose has random numbers of its own, so that turning one thing on changes nothing else.
"""

from __future__ import annotations

import numpy as np

# Places in the seed sequence; their order must never change, or old checkpoints go on with other numbers.
PURPOSES = ("order", "crop", "policy", "mixup", "noise", "poisson")


def generator(seed: int, purpose: str, counter: int) -> np.random.Generator:
    """Random numbers of one purpose at one epoch or step."""
    return np.random.default_rng([seed, PURPOSES.index(purpose), counter])


def torch_seed(seed: int, purpose: str, counter: int) -> int:
    """A seed in [0, 2^63) for a torch generator, likewise."""
    sequence = np.random.SeedSequence([seed, PURPOSES.index(purpose), counter])
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))


def order(seed: int, epoch: int, count: int) -> np.ndarray:
    """(count,) int64: the images of an epoch (from 0), each once."""
    return generator(seed, "order", epoch).permutation(count)


def poisson(seed: int, step: int, count: int, rate: float) -> np.ndarray:
    """Places of the images of a step, each taken with probability `rate`; at times none."""
    return np.flatnonzero(generator(seed, "poisson", step).random(count) < rate)


def crops(seed: int, step: int, count: int, pads: tuple[int, int]) -> np.ndarray:
    """(count, 3) int64: rows from the top in 0 … 2·pad, columns from the left likewise, and 1 where mirrored."""
    draw = generator(seed, "crop", step)
    down = draw.integers(0, 2 * pads[0], size=count, endpoint=True)
    right = draw.integers(0, 2 * pads[1], size=count, endpoint=True)
    return np.stack([down, right, draw.integers(0, 2, size=count)], axis=1)


def policy_draws(seed: int, step: int, count: int, policies: int, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """(count,) which of the policies, and (count, longest) signs 1 or -1 of its transformations."""
    draw = generator(seed, "policy", step)
    which = draw.integers(0, policies, size=count)
    return which, np.where(draw.random((count, longest)) < 0.5, 1, -1)


def mixup_draws(seed: int, step: int, count: int, alpha: float) -> tuple[float, np.ndarray]:
    """One λ ~ Beta(α, α) for the batch, and (count,) each image's partner."""
    draw = generator(seed, "mixup", step)
    return float(draw.beta(alpha, alpha)), draw.permutation(count)

"""First images, and noise along the way: both depend on (seed, update, restart) alone, never on the shard."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from core.attacks import engine
from core.attacks.recipe import Recipe

NOISE = 0x4C414E47  # keeps the noise's numbers apart from the start's


def first_images(problems: engine.Problems, recipe: Recipe, seed: int, positions: Sequence[int]) -> Tensor:
    """(P, B, C, H, W) in normalised space on the observation's device."""
    shape = problems.image_shape
    batch, channels, height, width = shape
    device = problems.observation.device
    if recipe.start == "grey":
        grey = problems.normalised(torch.full(shape, 0.5))
        return grey.expand(problems.count, *shape).clone().to(device)
    if recipe.start == "tiles":
        side = recipe.tile or max(1, min(height, width) // 2)
        numbers = engine.draw("normal", seed, positions, recipe.restarts, batch * channels * side * side)
        tiles = numbers.reshape(-1, batch, channels, side, side)
        repeated = tiles.tile(1, 1, 1, -(-height // side), -(-width // side))
        return repeated[..., :height, :width].contiguous().to(device)
    numbers = engine.draw(recipe.start, seed, positions, recipe.restarts, int(np.prod(shape)))
    return numbers.reshape(-1, *shape).to(device)


def noise_keys(seed: int, positions: Sequence[int], restarts: int) -> Tensor:
    """(P,) int64, one for each problem, to make its noise from."""
    sources = [np.random.SeedSequence([seed, one, restart, NOISE]) for one in positions for restart in range(restarts)]
    words = np.array([source.generate_state(1, np.uint64)[0] for source in sources], dtype=np.uint64)
    return torch.from_numpy(words.astype(np.int64))


def noise(keys: Tensor, step: int, shape: Sequence[int]) -> Tensor:
    """(P, *shape) float32 N(0, 1) numbers of (key, step, place) alone, made on the keys' device.

    A counter through the finaliser of SplitMix64 (Steele, Lea and Flood 2014), then Box and Muller's transform. The
    same bits everywhere up to the rounding of log, sqrt and cos.
    """
    size = int(np.prod(shape))
    places = torch.arange(size, device=keys.device) + step * size
    bits = _mix(_mix(keys)[:, None] + (places + 1) * _signed(0x9E3779B97F4A7C15))
    high = ((bits >> 40) & 0xFFFFFF).float()
    low = ((bits >> 16) & 0xFFFFFF).float()
    radius = (-2 * ((high + 0.5) / 2**24).log()).sqrt()
    return (radius * (2 * torch.pi * (low / 2**24)).cos()).reshape(-1, *shape)


def _mix(bits: Tensor) -> Tensor:
    bits = (bits ^ _shifted(bits, 30)) * _signed(0xBF58476D1CE4E5B9)
    bits = (bits ^ _shifted(bits, 27)) * _signed(0x94D049BB133111EB)
    return bits ^ _shifted(bits, 31)


def _shifted(bits: Tensor, by: int) -> Tensor:
    """A shift to the right that fills with zeros; torch's own fills with the sign."""
    return (bits >> by) & ((1 << (64 - by)) - 1)


def _signed(word: int) -> int:
    """A 64-bit word as torch's int64 holds it."""
    return word - (1 << 64) if word >= 1 << 63 else word

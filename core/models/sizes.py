"""How many numbers a model of ours has, without building it. Imports no torch: pages compare it with the images."""

import math
from itertools import pairwise

from core.models.catalogue import arguments_of
from core.models.spec import ModelSpec


def parameter_count(spec: ModelSpec) -> int | None:
    """Parameters of an own convolutional or fully connected architecture; None for any other."""
    name = spec.architecture.removesuffix("-gn")
    classes = spec.num_classes
    if name == "lenet":
        spots = math.ceil(spec.height / 4) * math.ceil(spec.width / 4)
        return _layer(spec.channels * 25, 12) + 2 * _layer(12 * 25, 12) + _layer(12 * spots, classes)
    if name == "mlp":
        sizes = [spec.channels * spec.height * spec.width, *arguments_of(spec)["hidden"], classes]
        return sum(_layer(before, after) for before, after in pairwise(sizes))
    if name == "convnet":
        base = int(arguments_of(spec)["base"])
        sizes = [spec.channels, base, 2 * base, 2 * base, *[4 * base] * 5]
        body: int = sum(_layer(9 * before, after) + 2 * after for before, after in pairwise(sizes))
        return body + _layer(4 * base * (spec.height // 9) * (spec.width // 9), classes)
    if name == "resnet20-4":
        return _resnet20(spec.channels, arguments_of(spec)["base"], classes)
    return None


def _layer(before: int, after: int) -> int:
    """Weights and biases."""
    return before * after + after


def _resnet20(channels: int, base: int, classes: int) -> int:
    """Convolutions have no bias here; each is followed by a norm with two numbers a channel."""
    total, before = 9 * channels * base + 2 * base, base
    for after in (base, 2 * base, 4 * base):
        for _ in range(3):
            total += 9 * before * after + 9 * after * after + 4 * after
            if before != after:
                total += before * after + 2 * after
            before = after
    return total + _layer(4 * base, classes)

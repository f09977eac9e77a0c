"""How many numbers a model has, without building it. Imports no torch: pages compare it with the images.

Own architectures are counted by their layers; torchvision's by assets/weights/parameters.json, which
`python -m benchmarks.pretrained_table` measures on the meta device.
"""

import json
import math
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

from core.models.catalogue import CATALOGUE, arguments_of
from core.models.sizes_cifar import CIFAR_COUNTS
from core.models.spec import ModelSpec

TABLE = Path(__file__).resolve().parents[2] / "assets" / "weights" / "parameters.json"


def parameter_count(spec: ModelSpec) -> int | None:
    """Trained numbers of the model; None for an architecture that the catalogue does not have (an imprint)."""
    if spec.architecture not in CATALOGUE:
        return None
    if not CATALOGUE[spec.architecture].own:
        return _measured(spec)
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
    if name == "vit-tiny":
        return _transformer(spec)
    return CIFAR_COUNTS[name](spec)


@lru_cache(maxsize=1)
def _table() -> dict[str, dict[str, int]]:
    table: dict[str, dict[str, int]] = json.loads(TABLE.read_text(encoding="utf-8"))
    return table


def _measured(spec: ModelSpec) -> int:
    """A line in the classes, the channels and, for a ViT, the patches of its image."""
    row = _table()[spec.architecture]
    total = row["constant"] + row["classes"] * spec.num_classes + row["channels"] * spec.channels
    if "tokens" in row:
        total += row["tokens"] * (spec.height // row["patch"]) * (spec.width // row["patch"])
    return total


def _transformer(spec: ModelSpec) -> int:
    """Patches, class token, positions, blocks (3 + 1 + 8 products, 9 biases, 2 norms), the last norm, the head."""
    patch, width, depth = (int(arguments_of(spec)[name]) for name in ("patch", "width", "depth"))
    tokens = math.ceil(spec.height / patch) * math.ceil(spec.width / patch)
    block = 12 * width**2 + 13 * width
    stem = _layer(spec.channels * patch**2, width) + (tokens + 2) * width
    return stem + depth * block + 2 * width + _layer(width, spec.num_classes)


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

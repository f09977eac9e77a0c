"""How many numbers the architectures of core/models/cifar_stems.py have, layer by layer. Imports no torch."""

from collections.abc import Callable

from core.models.catalogue import arguments_of
from core.models.cifar_table import BLOCKS, DENSE, MOBILE, VGG16, rounded
from core.models.spec import ModelSpec


def _linear(before: int, after: int) -> int:
    return before * after + after


def _norm(channels: int) -> int:
    return 2 * channels


def _resnet(spec: ModelSpec) -> int:
    base = int(arguments_of(spec)["base"])
    wide, *depths = BLOCKS[spec.architecture.removesuffix("-gn")]
    total, before = 9 * spec.channels * base + _norm(base), base
    for stage, depth in enumerate(depths):
        inner = base << stage
        after = inner * wide
        for position in range(depth):
            if wide == 1:
                total += 9 * before * inner + 9 * inner * after + 2 * _norm(after)
            else:
                total += before * inner + 9 * inner * inner + inner * after + 2 * _norm(inner) + _norm(after)
            if position == 0 and (stage or before != after):
                total += before * after + _norm(after)
            before = after
    return total + _linear(before, spec.num_classes)


def _densenet(spec: ModelSpec) -> int:
    growth = int(arguments_of(spec)["growth"])
    before = 2 * growth
    total = 9 * spec.channels * before
    for position, depth in enumerate(DENSE):
        for _ in range(depth):
            total += _norm(before) + before * 4 * growth + _norm(4 * growth) + 9 * 4 * growth * growth
            before += growth
        if position < len(DENSE) - 1:
            total += _norm(before) + before * (before // 2)
            before //= 2
    return total + _norm(before) + _linear(before, spec.num_classes)


def _vgg(spec: ModelSpec) -> int:
    base = int(arguments_of(spec)["base"])
    total, before = 0, spec.channels
    for wide in VGG16:
        if wide:
            after = base * wide
            total += _linear(9 * before, after) + _norm(after)
            before = after
    return total + _linear(before, spec.num_classes)


def _mobilenet(spec: ModelSpec) -> int:
    share = int(arguments_of(spec)["base"]) / 32
    before, last = rounded(32 * share), rounded(1280 * max(1.0, share))
    total = 9 * spec.channels * before + _norm(before)
    for expand, channels, depth, _ in MOBILE:
        after = rounded(channels * share)
        for _ in range(depth):
            inner = before * expand
            if expand > 1:
                total += before * inner + _norm(inner)
            total += 9 * inner + _norm(inner) + inner * after + _norm(after)
            before = after
    return total + before * last + _norm(last) + _linear(last, spec.num_classes)


CIFAR_COUNTS: dict[str, Callable[[ModelSpec], int]] = {
    **dict.fromkeys(BLOCKS, _resnet),
    "densenet121-cifar": _densenet,
    "vgg16-cifar": _vgg,
    "mobilenet-v2-cifar": _mobilenet,
}

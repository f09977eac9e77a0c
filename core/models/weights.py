"""Pretrained backbones that metrics need: where they are looked for, and how they are taken in.

First SEMSIGHT_WEIGHTS/NAME.safetensors, then torch's own cache (converted once), then, only when asked, a download
with a checksum. Imports no torch: `doctor` and pages ask here what is missing.
"""

import hashlib
import json
import struct
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from core.errors import UserError
from core.registry import look_up, register
from core.settings import Settings

Shapes = dict[str, tuple[int, ...]]
HEADER_LIMIT = 1 << 20  # bytes of a safetensors header; ours have a few kilobytes


@dataclass(frozen=True)
class WeightsRecord:
    """One file of pretrained weights: its name under SEMSIGHT_WEIGHTS, what it holds and where torchvision has it."""

    name: str
    title: str
    entry: tuple[str, str]  # torchvision's class of weights and its member, which knows the address
    cache_file: str  # torchvision's file name in torch's cache
    sha256_prefix: str  # of that file, as torchvision publishes it in the name
    shapes: Shapes  # tensors of the converted file


@dataclass(frozen=True)
class FoundWeights:
    """A safetensors file whose tensors have the names and shapes of its record."""

    path: Path
    sha256: str


@dataclass(frozen=True)
class MissingWeights:
    """Why there are no weights, in one sentence that says how to get them."""

    reason: str


WEIGHTS: dict[str, WeightsRecord] = {}


def find_weights(
    name: str, settings: Settings, *, download: bool = False, url: str | None = None
) -> FoundWeights | MissingWeights:
    """Look for weights by name; fetch them only when `download` is true.

    url replaces torchvision's address (a mirror). A file of torch's cache is converted into settings.weights, which
    imports torch the first time. Raises UserError for an unknown name only.
    """
    from core.models import weights_intake

    record = look_up(WEIGHTS, name, "pretrained weights")
    path = settings.weights / f"{name}.safetensors"
    if path.is_file():
        return check_file(path, record)
    try:
        cached = settings.torch_cache / record.cache_file if settings.torch_cache else None
        if cached is not None and cached.is_file():
            weights_intake.convert(cached, path, record)
            return check_file(path, record)
        if download:
            weights_intake.download(path, record, url)
            return check_file(path, record)
    except (UserError, OSError) as error:
        return MissingWeights(f"{record.title}: {error}")
    return MissingWeights(
        f"{record.title}: there is no {name}.safetensors under SEMSIGHT_WEIGHTS and no {record.cache_file} in torch's "
        "cache; put one of them there or let SemSight download it."
    )


def check_file(path: Path, record: WeightsRecord) -> FoundWeights | MissingWeights:
    """Compare a file's header with its record, without reading a tensor."""
    try:
        if _header_shapes(path) != record.shapes:
            return MissingWeights(f"{path.name} does not hold {record.title}; replace it or remove it.")
        status = path.stat()
        return FoundWeights(path, _sha256(path, status.st_mtime_ns, status.st_size))
    except (OSError, ValueError) as error:
        return MissingWeights(f"{path.name} cannot be read ({error}); replace it or remove it.")


def _header_shapes(path: Path) -> Shapes:
    with path.open("rb") as file:
        prefix = file.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else HEADER_LIMIT + 1
        if length > HEADER_LIMIT:
            raise ValueError("it is no safetensors file")
        header = json.loads(file.read(length))
    if not isinstance(header, dict):
        raise ValueError("it is no safetensors file")
    entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
    if any(not isinstance(entry, dict) or entry.get("dtype") != "F32" for entry in entries.values()):
        raise ValueError("its tensors are not float32")
    return {name: tuple(entry.get("shape", ())) for name, entry in entries.items()}


@lru_cache(maxsize=16)
def _sha256(path: Path, modified: int, size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _convolution(name: str, after: int, before: int, size: int) -> Shapes:
    return {f"features.{name}.weight": (after, before, size, size), f"features.{name}.bias": (after,)}


def _alexnet() -> Shapes:
    rows = ((0, 64, 3, 11), (3, 192, 64, 5), (6, 384, 192, 3), (8, 256, 384, 3), (10, 256, 256, 3))
    return {key: shape for row in rows for key, shape in _convolution(str(row[0]), *row[1:]).items()}


def _vgg16() -> Shapes:
    places = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    sizes = (3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
    shapes: Shapes = {}
    for place, before, after in zip(places, sizes, sizes[1:], strict=False):
        shapes |= _convolution(str(place), after, before, 3)
    return shapes


def _squeezenet() -> Shapes:
    shapes = _convolution("0", 64, 3, 3)
    fires = (
        (3, 16, 64),
        (4, 16, 64),
        (6, 32, 128),
        (7, 32, 128),
        (9, 48, 192),
        (10, 48, 192),
        (11, 64, 256),
        (12, 64, 256),
    )
    before = 64
    for place, squeeze, expand in fires:
        shapes |= _convolution(f"{place}.squeeze", squeeze, before, 1)
        shapes |= _convolution(f"{place}.expand1x1", expand, squeeze, 1)
        shapes |= _convolution(f"{place}.expand3x3", expand, squeeze, 3)
        before = 2 * expand
    return shapes


for _record in (
    WeightsRecord(
        "alexnet-imagenet-features",
        "AlexNet's convolutions trained on ImageNet",
        ("AlexNet_Weights", "IMAGENET1K_V1"),
        "alexnet-owt-7be5be79.pth",
        "7be5be79",
        _alexnet(),
    ),
    WeightsRecord(
        "vgg16-imagenet-features",
        "VGG16's convolutions trained on ImageNet",
        ("VGG16_Weights", "IMAGENET1K_V1"),
        "vgg16-397923af.pth",
        "397923af",
        _vgg16(),
    ),
    WeightsRecord(
        "squeezenet1_1-imagenet-features",
        "SqueezeNet 1.1's convolutions trained on ImageNet",
        ("SqueezeNet1_1_Weights", "IMAGENET1K_V1"),
        "squeezenet1_1-b8a52dc0.pth",
        "b8a52dc0",
        _squeezenet(),
    ),
):
    register(WEIGHTS, _record.name, _record)

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
TABLES = Path(__file__).resolve().parents[2] / "assets" / "weights"  # names and shapes, by benchmarks.weights_shapes
HEADER_LIMIT = 1 << 20  # bytes of a safetensors header; ours have a few kilobytes


@dataclass(frozen=True)
class WeightsRecord:
    """One file of pretrained weights: its name under SEMSIGHT_WEIGHTS, what it holds and where it is published."""

    name: str
    title: str
    cache_file: str  # its name where it is published, and in torch's cache
    url: str
    sha256_prefix: str  # of the published file, as its publisher writes it in the name
    shapes: Shapes  # float32 tensors of the converted file


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

    url replaces the publisher's address (a mirror). A file of torch's cache is converted into settings.weights, which
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


def _shapes(name: str) -> Shapes:
    table: dict[str, list[int]] = json.loads((TABLES / f"{name}.json").read_text(encoding="utf-8"))
    return {key: tuple(shape) for key, shape in table.items()}


TORCHVISION = "https://download.pytorch.org/models/"
for _name, _title, _file, _folder in (
    (
        "alexnet-imagenet-features",
        "AlexNet's convolutions trained on ImageNet",
        "alexnet-owt-7be5be79.pth",
        TORCHVISION,
    ),
    ("vgg16-imagenet-features", "VGG16's convolutions trained on ImageNet", "vgg16-397923af.pth", TORCHVISION),
    (
        "squeezenet1_1-imagenet-features",
        "SqueezeNet 1.1's convolutions trained on ImageNet",
        "squeezenet1_1-b8a52dc0.pth",
        TORCHVISION,
    ),
    (  # without BatchNorm's counts of batches, which change no output and which torch fills in by itself
        "inception-fid",
        "Inception as FID was defined with (TensorFlow, 2015), converted by torch-fidelity",
        "weights-inception-2015-12-05-6726825d.pth",
        "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/",
    ),
):
    register(
        WEIGHTS,
        _name,
        WeightsRecord(
            _name, _title, _file, _folder + _file, _file.removesuffix(".pth").rpartition("-")[2], _shapes(_name)
        ),
    )

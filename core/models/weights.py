"""Pretrained backbones that metrics need: where they are looked for, and how they are taken in.

First SEMSIGHT_WEIGHTS/NAME.safetensors, then torch's own cache (converted once), then, only when asked, a download
with a checksum. The records lie in assets/weights/weights.json, the tensors' names and shapes beside it
(`python -m benchmarks.weights_shapes`). Imports no torch: `doctor` and pages ask here what is missing.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from core.errors import UserError
from core.models.intake_records import Header, Limits
from core.models.intake_safetensors import ADVICE, read_safetensors
from core.registry import look_up, register
from core.settings import Settings

Shapes = dict[str, tuple[int, ...]]
TABLES = Path(__file__).resolve().parents[2] / "assets" / "weights"
LIMITS = Limits(header_bytes=1 << 20)  # ours have a few kilobytes
# What a reader of a user's file may meet beside a UserError, however malformed the file is.
MALFORMED = (OSError, ValueError, TypeError, RecursionError, LookupError, ArithmeticError)


@dataclass(frozen=True)
class WeightsRecord:
    """One file of pretrained weights: its name under SEMSIGHT_WEIGHTS, what it holds and where it is published."""

    name: str
    title: str
    shapes: Shapes  # float32 tensors of the safetensors file under SEMSIGHT_WEIGHTS
    url: str  # of the published file
    sha256: str  # of the published file, whole or its first digits; "" where none is published: by hand only
    licence: str
    mebibytes: int  # size of the published file
    cached: bool = True  # torch keeps it in its cache, under its published name
    layout: str = (
        "state"  # of the published file: state, strict (see weights_intake), clip (OpenAI's archive), safetensors
    )

    @property
    def file(self) -> str:
        """The published file's name."""
        return self.url.rpartition("/")[2]


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
    name: str,
    settings: Settings,
    *,
    download: bool = False,
    url: str | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> FoundWeights | MissingWeights:
    """Look for weights by name; fetch them only when `download` is true, and only where a checksum is published.

    url replaces the publisher's address (a mirror). progress(bytes so far, all bytes if known) is called while
    fetching. A file of torch's cache is converted into settings.weights, which imports torch the first time. Raises
    UserError for an unknown name only.
    """
    from core.models import weights_intake

    record = look_up(WEIGHTS, name, "pretrained weights")
    path = settings.weights / f"{name}.safetensors"
    try:
        if path.is_file():
            return check_file(path, record)
        looked_at = settings.torch_cache if record.cached and record.sha256 else None
        cached = looked_at / record.file if looked_at else None
        if cached is not None and cached.is_file():
            weights_intake.convert(cached, path, record)
            return check_file(path, record)
        if download and record.sha256:
            weights_intake.download(path, record, url, progress)
            return check_file(path, record)
    except (UserError, OSError) as error:
        return MissingWeights(f"{record.title}: {error}")
    return MissingWeights(f"{record.title}: {_how_to_get(record)}")


def _how_to_get(record: WeightsRecord) -> str:
    there = f"there is no {record.name}.safetensors under SEMSIGHT_WEIGHTS"
    fetch = "let SemSight download it (python -m core doctor --download)"
    if not record.sha256:
        return f"{there}, and no checksum is published; fetch {record.url} by hand and save it there by that name."
    if record.cached:
        return f"{there} and no {record.file} in torch's cache; put one of them there or {fetch}."
    return f"{there}; put it there or {fetch}."


def check_file(path: Path, record: WeightsRecord) -> FoundWeights | MissingWeights:
    """Compare a file's header with its record and its size, without reading a tensor."""
    try:
        status = path.stat()
        if _shapes(path, status.st_mtime_ns, status.st_size) != record.shapes:
            return MissingWeights(f"{path.name} does not hold {record.title}; replace it or remove it.")
        return FoundWeights(path, file_sha256(path))
    except UserError as error:
        return MissingWeights(str(error).replace(ADVICE, "replace it or remove it"))
    except MALFORMED as error:
        return MissingWeights(f"{path.name} cannot be read ({error}); replace it or remove it.")


@lru_cache(maxsize=64)
def _shapes(path: Path, modified: int, size: int) -> Shapes:
    """Shapes of all tensors, read once for each state of the file; UserError unless it is whole and float32."""
    entries = read_header(path, LIMITS).entries
    if any(entry.dtype != "F32" for entry in entries):
        raise UserError(f"{path.name} holds tensors that are not float32; {ADVICE}.")
    return {entry.name: entry.shape for entry in entries}


def read_header(path: Path, limits: Limits) -> Header:
    """The header of a safetensors file whose tensors fill it to its last byte; UserError for any other."""
    with path.open("rb") as file:
        return read_safetensors(file, path.stat().st_size, path.name, limits)


def file_sha256(path: Path) -> str:
    """sha256 of a file, computed once for each state of it; OSError where it cannot be read."""
    status = path.stat()
    return _sha256(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=64)
def _sha256(path: Path, modified: int, size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _register() -> None:
    table = json.loads((TABLES / "weights.json").read_text(encoding="utf-8"))
    for name, fields in table.items():
        shapes = json.loads((TABLES / f"{name}.json").read_text(encoding="utf-8"))
        register(
            WEIGHTS, name, WeightsRecord(name, shapes={key: tuple(shape) for key, shape in shapes.items()}, **fields)
        )


_register()

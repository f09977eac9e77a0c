"""Uploaded weights: what comes in is examined in a confined child process, and comes out as plain safetensors.

The child may be broken by a hostile file, so that what it hands back is checked again here: a short JSON answer and
a safetensors file whose header passes the strict reader. Nothing of an upload is ever unpickled, in either process.
POSIX only (resource limits).
"""

import hashlib
import io
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.models.catalogue import check_spec
from core.models.intake_child import ANSWER, OUTPUT_ROOM, REQUEST, WEIGHTS
from core.models.intake_records import RECIPES, Layer, Limits, NeedsConversion
from core.models.intake_safetensors import read_safetensors
from core.models.spec import ModelSpec
from core.names import safe_name, safe_text

__all__ = ["Layer", "Limits", "NeedsConversion", "Understood", "take_in_weights"]

CHILD = Path(__file__).with_name("intake_child.py")
TORCH_NAMES = {"F32": "float32", "I64": "int64"}
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Understood:
    """Weights that were taken in, and what was understood of them; shown before anything runs."""

    name: str  # the file's name, made fit to be shown
    spec: ModelSpec  # as asked, with weights_sha256 and origin
    safetensors: bytes  # plain: float32 parameters and buffers, int64 counters, no metadata
    sha256: str  # of safetensors
    layers: tuple[Layer, ...]  # in the architecture's order
    parameters: int  # numbers that are trained
    buffers: int  # numbers that are not
    classes: int
    forward: str  # one sentence about the dry forward
    notes: tuple[str, ...]  # what was dropped or converted


def take_in_weights(data_path: Path, filename: str, spec: ModelSpec, *, limits: Limits | None = None) -> Understood:
    """Examine the weights in `data_path`, called `filename` by the user, against the architecture of `spec`.

    Takes .safetensors, and zip-format .pt and .pth state dicts. Blocks until the child is done (some seconds: it
    imports torch). Leaves nothing behind. Raises NeedsConversion, with the two lines that convert, for pickles,
    TorchScript, .pt2, legacy and ONNX files, and UserError with one sentence for anything else that is wrong.
    """
    limits = limits or Limits()
    name = safe_name(filename)
    check_spec(spec)
    _check_size(data_path, name, limits)
    with tempfile.TemporaryDirectory(prefix="semsight-intake-", ignore_cleanup_errors=True) as folder:
        here = Path(folder)
        question = {"name": name, "spec": spec.to_json(), "limits": asdict(limits)}
        (here / REQUEST).write_text(json.dumps(question))
        _run_child(data_path, here, name, limits)
        answer = _answer(here, name, limits)
        data = (here / WEIGHTS).read_bytes()
    return _understood(answer, data, name, spec, limits)


def _check_size(data_path: Path, name: str, limits: Limits) -> None:
    if not data_path.is_file():
        raise UserError(f"{name} is no file that can be read; upload it again.")
    size = data_path.stat().st_size
    if size < 16:
        what = "is empty" if size == 0 else f"has only {size} bytes"
        raise UserError(f"{name} {what}, where a model's weights are expected; upload it again.")
    if size > limits.file_bytes:
        raise UserError(
            f"{name} has {size:,} bytes, where at most {limits.file_bytes:,} are taken; "
            "upload the state dict alone, without the optimiser's."
        )


def _run_child(data_path: Path, folder: Path, name: str, limits: Limits) -> None:
    command = [sys.executable, "-I", "-W", "ignore", str(CHILD), str(folder)]
    environment = {
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "LANG": "C.UTF-8",
        "CUDA_VISIBLE_DEVICES": "",
        **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
    }
    errors = folder / "errors.txt"
    with data_path.open("rb") as file, errors.open("wb") as stderr:
        child = subprocess.Popen(
            command,
            stdin=file,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )
        try:
            status = child.wait(timeout=limits.seconds)
        except subprocess.TimeoutExpired:
            raise UserError(
                f"{name} took more than {limits.seconds:g} seconds to examine and was given up; "
                "upload the state dict of a smaller model, or try again when the machine is less busy."
            ) from None
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
    if status:
        logger.warning("weights intake: child ended with %s: %s", status, errors.read_bytes()[-2000:])
        raise UserError(f"{name} could not be examined: {_reason(status, limits)}; nothing of it was kept.")


def _reason(status: int, limits: Limits) -> str:
    if status == -signal.SIGXCPU:
        return f"it needed more than {limits.cpu_seconds} seconds of processor time"
    if status == -signal.SIGKILL:
        return "the process that read it was killed, for memory or processor time"
    if status < 0:
        return f"the process that read it crashed ({signal.Signals(-status).name})"
    return f"the process that read it stopped (status {status})"


def _answer(folder: Path, name: str, limits: Limits) -> dict[str, Any]:
    """The child's answer if the weights were good; else its refusal, raised."""
    broken = UserError(
        f"{name} could not be examined: the process that read it gave no answer; nothing of it was kept."
    )
    try:
        if (folder / ANSWER).stat().st_size > limits.header_bytes + OUTPUT_ROOM:
            raise broken
        answer = json.loads((folder / ANSWER).read_text())
    except (OSError, ValueError) as error:
        raise broken from error
    if not isinstance(answer, dict):
        raise broken
    if "memory" in answer:
        raise UserError(
            f"{name} needs more memory to examine than the {limits.address_bytes / 2**30:g} GiB allowed; "
            "choose a smaller input size or upload a smaller model."
        )
    if "refused" in answer:
        sentence = safe_text(str(answer["refused"]), 1000)
        if answer.get("recipe") in RECIPES:
            raise NeedsConversion(sentence, answer["recipe"])
        raise UserError(sentence)
    examined = answer.get("examined")
    if not isinstance(examined, dict) or not _is_complete(examined) or not (folder / WEIGHTS).is_file():
        raise broken
    return examined


def _is_complete(examined: dict[str, Any]) -> bool:
    lists = [examined.get(key) for key in ("order", "parameters", "notes")]
    texts = all(isinstance(value, list) and all(isinstance(item, str) for item in value) for value in lists)
    return texts and isinstance(examined.get("forward"), str)


def _understood(answer: dict[str, Any], data: bytes, name: str, spec: ModelSpec, limits: Limits) -> Understood:
    contradiction = UserError(f"{name} could not be examined: the process that read it contradicts itself.")
    allowed = replace(limits, header_bytes=limits.header_bytes + OUTPUT_ROOM)
    try:
        header = read_safetensors(io.BytesIO(data), len(data), name, allowed)
    except UserError as error:
        raise contradiction from error
    entries = {entry.name: entry for entry in header.entries}
    if set(answer["order"]) != set(entries) or any(e.dtype not in TORCH_NAMES for e in entries.values()):
        raise contradiction
    trained = set(answer["parameters"])
    layers = tuple(
        Layer(key, entries[key].shape, TORCH_NAMES[entries[key].dtype], entries[key].numbers, key in trained)
        for key in answer["order"]
    )
    sha256 = hashlib.sha256(data).hexdigest()
    return Understood(
        name=name,
        spec=replace(spec, weights_sha256=sha256, origin=f"upload {name}"),
        safetensors=data,
        sha256=sha256,
        layers=layers,
        parameters=sum(layer.numbers for layer in layers if layer.trained),
        buffers=sum(layer.numbers for layer in layers if not layer.trained),
        classes=spec.num_classes,
        forward=safe_text(answer["forward"], 300),
        notes=tuple(safe_text(note, 300) for note in answer["notes"]),
    )

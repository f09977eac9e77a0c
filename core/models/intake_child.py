"""The child process that reads uploaded weights; started by intake.py as `python -I intake_child.py FOLDER`.

The file comes as standard input, the question as FOLDER/request.json; the answer is FOLDER/answer.json and, if the
weights are taken in, FOLDER/weights.safetensors. Most refusals need the standard library only and never start torch.
"""

import json
import os
import resource
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

if __name__ == "__main__":  # -I leaves the checkout off the path
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from core.errors import UserError
from core.models.intake_compare import fit, refuse_formats
from core.models.intake_kind import HEAD_BYTES, kind_of
from core.models.intake_records import Header, Limits, NeedsConversion, Request
from core.models.intake_safetensors import read_safetensors
from core.models.intake_state import read_state_dict
from core.models.spec import ModelSpec

REQUEST, ANSWER, WEIGHTS = "request.json", "answer.json", "weights.safetensors"
OUTPUT_ROOM = 16 * 2**20  # for the answer, and a safetensors header
OPEN_FILES = 256


@dataclass(frozen=True)
class Examined:
    """The answer when the weights are good: in words and numbers, the tensors being in a file of their own."""

    order: tuple[str, ...]
    parameters: tuple[str, ...]
    forward: str
    notes: tuple[str, ...]


def read_header(file: BinaryIO, size: int, name: str, limits: Limits) -> Header:
    """Which tensors the file holds; raise UserError for all that is not taken in. Needs no torch, runs nothing."""
    file.seek(0)
    kind = kind_of(file.read(HEAD_BYTES), name)
    read = read_safetensors if kind == "safetensors" else read_state_dict
    header = read(file, size, name, limits)
    refuse_formats(header, name)
    return header


def examine(file: BinaryIO, size: int, request: Request, target: Path) -> Examined:
    """Header, comparison, tensors, dry forward, in this order; write plain safetensors to `target`."""
    header = read_header(file, size, request.name, request.limits)
    from core.models import intake_tensors as tensors  # starts torch: only for files that deserve it

    spec = ModelSpec.from_json(request.spec)
    expected, parameters = tensors.expected_tensors(spec)
    header = fit(header, expected, spec, request.name)
    weights = tensors.read_tensors(file, header, request.name)
    forward = tensors.dry_forward(spec, weights, request.name)
    tensors.write_plain(weights, target)
    return Examined(tuple(expected), tuple(name for name in expected if name in parameters), forward, header.notes)


def confine(limits: Limits, size: int) -> None:
    """Bound address space, processor time, size of written files, processes and open files of this process."""
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_AS, limits.address_bytes + 8 * size)
    _limit(resource.RLIMIT_CPU, limits.cpu_seconds, spare=5)  # SIGXCPU first, which says why; then SIGKILL
    _limit(resource.RLIMIT_FSIZE, 2 * size + OUTPUT_ROOM)  # float16 doubles
    _limit(resource.RLIMIT_NOFILE, OPEN_FILES)
    if hasattr(resource, "RLIMIT_NPROC"):
        _limit(resource.RLIMIT_NPROC, 0)  # no process and no thread beside this one; the superuser is exempt
    signal.alarm(max(1, int(limits.seconds) + 5))  # ends the child even when its parent is gone


def _limit(what: int, wanted: int, spare: int = 0) -> None:
    _, hard = resource.getrlimit(what)
    top = wanted + spare if hard == resource.RLIM_INFINITY else min(wanted + spare, hard)
    resource.setrlimit(what, (min(wanted, top), top))


def main(folder: Path) -> None:
    """Answer the request that lies in `folder` about the file on standard input."""
    values = json.loads((folder / REQUEST).read_text())
    request = Request(values["name"], values["spec"], Limits(**values["limits"]))
    size = os.fstat(0).st_size
    confine(request.limits, size)
    with open(0, "rb", closefd=False) as file:
        answer = _answer(file, size, request, folder / WEIGHTS)
    (folder / ANSWER).write_text(json.dumps(answer))


def _answer(file: BinaryIO, size: int, request: Request, target: Path) -> dict[str, Any]:
    memory = {"memory": True}
    try:
        return {"examined": vars(examine(file, size, request, target))}
    except NeedsConversion as error:
        return {"refused": error.sentence, "recipe": error.recipe}
    except UserError as error:
        return {"refused": str(error)}
    except MemoryError:
        return memory
    except RuntimeError as error:
        if "memory" in str(error):  # torch's allocator has no class of its own on the CPU
            return memory
        raise
    except ImportError as error:
        if "failed to map segment" in str(error):  # the address space ended while torch was loaded
            return memory
        raise


if __name__ == "__main__":
    main(Path(sys.argv[1]))

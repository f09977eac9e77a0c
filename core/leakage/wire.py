"""Named tensors with a JSON header as bytes, and back without trust: observations and checkpoints travel so.

The format is safetensors; the header is one entry of its metadata. Reading checks the table of tensors before any
tensor is touched: no duplicates, holes, overlaps or empty tensors, a bounded number of entries, the dtypes named here.
"""

import io
import json
from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from core.errors import UserError
from core.models.intake_records import Limits
from core.models.intake_safetensors import read_safetensors

DTYPES = frozenset({"F32", "F64", "I64", "BOOL", "U8"})
LIMITS = Limits(file_bytes=2**36)


class OtherVersion(UserError):
    """Bytes of the kind that was expected, written by another version of SemSight; `version` is what they say."""

    def __init__(self, message: str, version: object) -> None:
        super().__init__(message)
        self.version = str(version)[:40]


def pack(kind: str, version: int, header: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> bytes:
    """Bytes of tensors (any device) and a JSON-able header; the same input gives the same bytes. Empty tensors are
    left out: the reader must know their shape without them."""
    text = json.dumps({"kind": kind, "version": version, **header}, sort_keys=True, separators=(",", ":"))
    dense = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items() if tensor.numel()}
    data: bytes = save(dense, metadata={"header": text})
    return data


def unpack(data: bytes, kind: str, version: int) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Header and CPU tensors written by `pack`; UserError for anything else or another kind, its
    subclass OtherVersion for another version."""
    table = read_safetensors(io.BytesIO(data), len(data), f"This {kind}", LIMITS)
    strange = sorted({entry.dtype for entry in table.entries} - DTYPES)
    if strange:
        raise UserError(f"This {kind} holds numbers of the format {strange[0]}, which none that we write has.")
    try:
        length = int.from_bytes(data[:8], "little")
        header = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["header"])
        found = header["kind"], header["version"]
        tensors: dict[str, torch.Tensor] = load(data)
    except (KeyError, TypeError, ValueError, RecursionError, SafetensorError) as error:
        raise UserError(f"These bytes are no {kind}: expected what this version of SemSight writes.") from error
    if found != (kind, version):
        said = (
            f"Expected a {kind} of version {version}, got {str(found[0])[:40]} of version {str(found[1])[:40]}; "
            "start anew with this version of SemSight."
        )
        raise OtherVersion(said, found[1]) if found[0] == kind else UserError(said)
    return header, tensors

"""The header of a safetensors file, read with the standard library and without mercy.

Stricter than the safetensors package, which takes duplicate keys and a million empty tensors (a quarter of a
minute): no duplicates, no empty tensors, no hole, no overlap, nothing behind the last tensor.
Format: 8 bytes little-endian length, that many bytes of JSON, then the tensors.
"""

import json
from typing import Any, BinaryIO

from core.errors import UserError
from core.models.intake_records import ITEM_BYTES, MAX_RANK, MAX_SIDE, Entry, Header, Limits
from core.names import safe_text

ADVICE = "save it again with safetensors.torch.save_file"


def read_safetensors(file: BinaryIO, size: int, name: str, limits: Limits) -> Header:
    """The header of `file` (size bytes, seekable); raise UserError for anything that is not plain and whole."""
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if length > size - 8:
        raise UserError(
            f"{name} says that its header has {length:,} bytes, but only {max(size - 8, 0):,} follow: "
            f"it is cut short or no safetensors file; {ADVICE}."
        )
    if length > limits.header_bytes:
        raise UserError(
            f"{name} has a header of {length:,} bytes where at most {limits.header_bytes:,} are taken, "
            f"far more than a model's tensors need; {ADVICE}."
        )
    values = _json(file.read(length), name)
    metadata = values.pop("__metadata__", None)
    if len(values) > limits.tensors:
        raise UserError(f"{name} lists {len(values):,} tensors where at most {limits.tensors:,} are taken; {ADVICE}.")
    if not values:
        raise UserError(f"{name} holds no tensor at all; {ADVICE}.")
    entries = [_entry(key, value, 8 + length, size, name) for key, value in values.items()]
    _refuse_gaps(entries, 8 + length, size, name)
    notes = () if metadata is None else ("The metadata written in the file were dropped.",)
    return Header(tuple(entries), notes)


def _json(raw: bytes, name: str) -> dict[str, Any]:
    try:
        values = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except _Twice as error:
        raise UserError(f"{name} lists {safe_text(str(error))!r} twice in its header; {ADVICE}.") from None
    except (ValueError, RecursionError):
        raise UserError(f"{name} has a header that is not valid JSON: it is damaged; {ADVICE}.") from None
    if not isinstance(values, dict):
        raise UserError(f"{name} has a header that is no table of tensors: it is damaged; {ADVICE}.")
    return values


class _Twice(Exception):
    """A JSON key that comes twice in one object."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    for key, value in pairs:
        if key in seen:
            raise _Twice(key)
        seen[key] = value
    return seen


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


def _entry(key: str, value: Any, data: int, size: int, name: str) -> Entry:
    quoted = repr(safe_text(key))
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise UserError(f"{name} describes {quoted} by other things than dtype, shape and data_offsets; {ADVICE}.")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise UserError(f"{name} gives {quoted} the number format {safe_text(str(dtype)[:200], 30)!r}; {ADVICE}.")
    if not isinstance(shape, list) or len(shape) > MAX_RANK or not all(_whole(n) and 1 <= n < MAX_SIDE for n in shape):
        raise UserError(
            f"{name} gives {quoted} a shape that no layer has: expected at most {MAX_RANK} sides "
            f"of at least 1; {ADVICE}."
        )
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(_whole(n) and n >= 0 for n in offsets):
        raise UserError(f"{name} does not say where {quoted} lies in the file; {ADVICE}.")
    entry = Entry(key, dtype, tuple(shape), row_major(tuple(shape)), data + offsets[0])
    if offsets[1] - offsets[0] != entry.size or data + offsets[1] > size:
        raise UserError(
            f"{name} gives {quoted} the bytes {safe_text(str(offsets))}, but its shape needs {entry.size:,} bytes "
            f"within the file's {size - data:,}: it is cut short or damaged; {ADVICE}."
        )
    return entry


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _refuse_gaps(entries: list[Entry], data: int, size: int, name: str) -> None:
    end = data
    for entry in sorted(entries, key=lambda e: e.start):
        if entry.start != end:
            what = "overlap" if entry.start < end else "leave a hole"
            raise UserError(f"{name} has tensors that {what} at {safe_text(entry.name)!r}: it is damaged; {ADVICE}.")
        end += entry.size
    if end != size:
        raise UserError(f"{name} has {size - end:,} bytes behind its last tensor, where none belong; {ADVICE}.")


def row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides, in elements, of a dense row-major tensor."""
    strides: list[int] = []
    step = 1
    for side in reversed(shape):
        strides.append(step)
        step *= side
    return tuple(reversed(strides))

"""Files of weights, good and hostile, put together byte by byte so that each test says what is wrong with it."""

import io
import json
import struct
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from core.models.spec import ModelSpec

# A linear classifier is the smallest model of the catalogue: its two tensors are written by hand below.
Tensors = Mapping[str, np.ndarray]


def safetensors(header: Mapping[str, Any] | bytes, body: bytes = b"", *, length: int | None = None) -> bytes:
    """A safetensors file with this header, whatever it says; `length` lies about the header's length."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + body


def entry(shape: Iterable[int], start: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    """One tensor of a safetensors header."""
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


def good_safetensors(tensors: Tensors, metadata: Mapping[str, str] | None = None) -> bytes:
    """A valid file with these float32 or int64 arrays."""
    header: dict[str, Any] = {} if metadata is None else {"__metadata__": dict(metadata)}
    body = b""
    for key, value in tensors.items():
        code = {"float32": "F32", "int64": "I64", "float16": "F16", "float64": "F64"}[value.dtype.name]
        header[key] = entry(value.shape, len(body), len(body) + value.nbytes, code)
        body += value.tobytes()
    return safetensors(header, body)


# --- pickles, assembled by opcode (pickletools documents each) ---------------------------------------------------
def text(value: str) -> bytes:
    """BINUNICODE."""
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def number(value: int) -> bytes:
    """LONG1."""
    raw = value.to_bytes((value.bit_length() + 8) // 8, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def tuple_(*items: bytes) -> bytes:
    """MARK, items, TUPLE."""
    return b"(" + b"".join(items) + b"t"


def symbol(module: str, name: str) -> bytes:
    """GLOBAL."""
    return f"c{module}\n{name}\n".encode()


def tensor(
    key: str,
    count: int,
    shape: Iterable[int],
    strides: Iterable[int],
    *,
    offset: int = 0,
    storage: str = "FloatStorage",
    location: str = "cpu",
) -> bytes:
    """What torch.save writes for one tensor over the record data/KEY."""
    persistent = tuple_(text("storage"), symbol("torch", storage), text(key), text(location), number(count)) + b"Q"
    hooks = symbol("collections", "OrderedDict") + b")R"
    arguments = (
        persistent,
        number(offset),
        tuple_(*map(number, shape)),
        tuple_(*map(number, strides)),
        b"\x89",
        hooks,
    )
    return symbol("torch._utils", "_rebuild_tensor_v2") + tuple_(*arguments) + b"R"


def table(*pairs: tuple[bytes, bytes]) -> bytes:
    """EMPTY_DICT, MARK, pairs, SETITEMS."""
    return b"}(" + b"".join(key + value for key, value in pairs) + b"u"


def pickle(value: bytes) -> bytes:
    """PROTO 2, the value, STOP."""
    return b"\x80\x02" + value + b"."


def archive(records: Mapping[str, bytes], *, top: str = "archive/", method: int = zipfile.ZIP_STORED) -> bytes:
    """A zip file as torch.save lays it out, written by the standard library."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, data in records.items():
            file.writestr(top + name, data)
    return buffer.getvalue()


def state_records(value: bytes, storages: Mapping[str, bytes]) -> dict[str, bytes]:
    """The records of a state dict whose pickle holds `value`."""
    data = {f"data/{key}": raw for key, raw in storages.items()}
    return {"data.pkl": pickle(value), "byteorder": b"little", **data, "version": b"3\n"}


def state(value: bytes, storages: Mapping[str, bytes]) -> bytes:
    """A zip-format state dict whose pickle holds `value`."""
    return archive(state_records(value, storages))


def one_tensor(shape: Iterable[int], strides: Iterable[int], count: int = 4, **changes: Any) -> bytes:
    """A state dict with one float tensor called w over a storage of `count` zeros."""
    width = {"LongStorage": 8, "ComplexFloatStorage": 8, "ByteStorage": 1}.get(changes.get("storage", ""), 4)
    return state(table((text("w"), tensor("0", count, shape, strides, **changes))), {"0": bytes(width * count)})


def good_state(tensors: Tensors) -> bytes:
    """A valid zip-format state dict with these float32 or int64 arrays."""
    pairs, storages = [], {}
    for index, (key, value) in enumerate(tensors.items()):
        strides = [step // value.itemsize for step in value.strides]
        kind = {"float32": "FloatStorage", "int64": "LongStorage"}[value.dtype.name]
        pairs.append((text(key), tensor(str(index), value.size, value.shape, strides, storage=kind)))
        storages[str(index)] = value.tobytes()
    return state(table(*pairs), storages)


LENET = ModelSpec("lenet", 10)
# Names and shapes of LeNet as in DLG for 32×32×3 and 10 classes: REFERENCE.md's 3-12-12-12 with a 768 → 10 head.
LENET_SHAPES = {
    "body.0.weight": (12, 3, 5, 5),
    "body.0.bias": (12,),
    "body.2.weight": (12, 12, 5, 5),
    "body.2.bias": (12,),
    "body.4.weight": (12, 12, 5, 5),
    "body.4.bias": (12,),
    "head.weight": (10, 768),
    "head.bias": (10,),
}


def lenet_arrays(seed: int = 0) -> dict[str, np.ndarray]:
    """Random weights of LeNet."""
    rng = np.random.default_rng(seed)
    return {key: rng.normal(0, 0.1, shape).astype(np.float32) for key, shape in LENET_SHAPES.items()}

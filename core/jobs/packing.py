"""Shards and events as bytes: safetensors, with a JSON header in its metadata. Holds no code, needs no shared disk."""

import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save


def pack(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    """Bytes of a JSON-able header and named arrays. NaN and ±∞ in the header survive as Python's JSON writes them."""
    dense = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    return save(dense, metadata={"header": json.dumps(header)})


def unpack(data: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and arrays written by `pack`; ValueError for anything else."""
    try:
        arrays = load(data)
        (length,) = struct.unpack("<Q", data[:8])
        header = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["header"])
    except (SafetensorError, struct.error, KeyError, ValueError) as error:
        raise ValueError("These bytes are no shard and no event.") from error
    return header, arrays


def blob(data: bytes) -> np.ndarray:
    """Raw bytes as an array that `pack` takes; `.tobytes()` gives them back."""
    return np.frombuffer(data, dtype=np.uint8)

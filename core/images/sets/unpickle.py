"""Pickles of CIFAR's python archives, read with nothing but dicts, lists, texts, bytes, numbers and uint8 arrays.

An Unpickler whose find_class knows four names of numpy and one of codecs, each answered by a function of our own: no
foreign function is ever called. (The archives were written by Python 2 and numpy 1; numpy._core is numpy 2's name.)
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import UserError

NUMPY = ("numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric", "numpy._core.numeric", "numpy")


class _Dtype:
    """Stands for numpy.dtype; only uint8 can be made."""

    def __init__(self, code: object, *_: object) -> None:
        if code not in ("u1", b"u1", "uint8", "|u1"):
            raise pickle.UnpicklingError(f"an array of type {code!r}")

    def __setstate__(self, state: object) -> None:
        """Byte order and the like, which a type of one byte does not have."""


class _Array:
    """Stands for numpy.ndarray while it is unpickled."""

    def __init__(self, *_: object) -> None:
        self.value: NDArray[np.uint8] = np.zeros(0, dtype=np.uint8)

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        if not isinstance(dtype, _Dtype) or not isinstance(shape, tuple) or not isinstance(data, bytes | str):
            raise pickle.UnpicklingError("an array of another kind")
        raw = data.encode("latin-1") if isinstance(data, str) else data
        self.value = np.frombuffer(raw, dtype=np.uint8).reshape(shape, order="F" if fortran else "C")


def _reconstruct(*_: object) -> _Array:
    return _Array()


def _encode(text: object, *_: object) -> bytes:
    if not isinstance(text, str):
        raise pickle.UnpicklingError("a text of another kind")
    return text.encode("latin-1")  # Python 3's protocol 2 writes bytes so


class _Marker:
    """Stands for the class numpy.ndarray where it is only named."""


class _Strict(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module in NUMPY:
            found: dict[str, Any] = {"_reconstruct": _reconstruct, "ndarray": _Marker, "dtype": _Dtype}
            if name in found:
                return found[name]
        if (module, name) == ("_codecs", "encode"):
            return _encode
        raise pickle.UnpicklingError(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("a reference to something outside")


def strict_load(data: bytes, filename: str) -> dict[str, Any]:
    """The dict that the pickle holds, keys as text; UserError with one sentence for anything else in it."""
    try:
        loaded = _Strict(io.BytesIO(data), encoding="bytes").load()
        return {_key(key): _plain(value) for key, value in loaded.items()}
    except (
        *(pickle.UnpicklingError, ValueError, TypeError, EOFError, AttributeError, IndexError, KeyError),
        *(OverflowError, MemoryError, ImportError, UnicodeDecodeError, RecursionError),
    ) as error:
        raise UserError(
            f"{filename} holds more than plain lists and 8-bit arrays, or is damaged ({str(error)[:100]}); it was not "
            "read, so get the binary version of the archive."
        ) from None


def _key(key: object) -> str:
    if isinstance(key, bytes):
        return key.decode("ascii")
    if isinstance(key, str):
        return key
    raise pickle.UnpicklingError("a key that is no text")


def _plain(value: object) -> Any:
    """The value with arrays in place of their stand-ins; UnpicklingError for any other kind."""
    if isinstance(value, _Array):
        return value.value
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if value is None or isinstance(value, int | str | bytes):
        return value
    raise pickle.UnpicklingError(f"a {type(value).__name__}")

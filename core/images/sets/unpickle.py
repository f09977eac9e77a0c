"""Pickles of CIFAR's python archives, read with nothing but dicts, lists, texts, bytes, numbers and uint8 arrays.

An Unpickler that knows only the opcodes that such values need, and whose find_class knows three names of numpy and one
of codecs, each answered by something of our own: no foreign function is ever called. It is pickle's own in Python,
because the one in C makes room for as many memo entries as an opcode's number says: four bytes of a file cost gigabytes
(measured). The archives were written by Python 2 and numpy 1; numpy._core is numpy 2's name.
"""

from __future__ import annotations

import io
import pickle
import struct
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


OPCODES = (
    *(pickle.PROTO, pickle.STOP, pickle.MARK, pickle.GLOBAL, pickle.REDUCE),
    *(pickle.NONE, pickle.NEWTRUE, pickle.NEWFALSE, pickle.INT, pickle.LONG, pickle.LONG1),
    *(pickle.BININT, pickle.BININT1, pickle.BININT2, pickle.BINBYTES, pickle.SHORT_BINBYTES),
    *(pickle.STRING, pickle.BINSTRING, pickle.SHORT_BINSTRING, pickle.UNICODE, pickle.BINUNICODE),
    *(pickle.DICT, pickle.EMPTY_DICT, pickle.SETITEM, pickle.SETITEMS),
    *(pickle.LIST, pickle.EMPTY_LIST, pickle.APPEND, pickle.APPENDS),
    *(pickle.TUPLE, pickle.EMPTY_TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3),
    *(pickle.PUT, pickle.BINPUT, pickle.LONG_BINPUT, pickle.GET, pickle.BINGET, pickle.LONG_BINGET),
)


class _Strict(pickle._Unpickler):
    dispatch = {opcode[0]: pickle._Unpickler.dispatch[opcode[0]] for opcode in OPCODES}  # noqa: RUF012 (pickle's own)
    stack: list[Any]

    def load_build(self) -> None:
        state = self.stack.pop()
        if not isinstance(self.stack[-1], _Array | _Dtype):
            raise pickle.UnpicklingError("a state of something else than an array")
        self.stack[-1].__setstate__(state)

    dispatch[pickle.BUILD[0]] = load_build  # type: ignore[assignment]

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
        *(OverflowError, MemoryError, ImportError, struct.error, UnicodeDecodeError, RecursionError),
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
    """The value with an array in place of its stand-in; UnpicklingError for any other kind, and for lists in lists."""
    if isinstance(value, _Array):
        return value.value
    if isinstance(value, list) and all(one is None or isinstance(one, int | str | bytes) for one in value):
        return value
    if value is None or isinstance(value, int | str | bytes):
        return value
    raise pickle.UnpicklingError(f"a {type(value).__name__}")

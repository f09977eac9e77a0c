"""data.pkl of a state dict, read opcode by opcode: nothing is imported, called or built.

torch.load(weights_only=True) is no full shield: it rebuilds tensors, so that a 1.5 KB file with a stride of 0
becomes 2^40 numbers, and its allowed calls are real calls. This reader knows the two dozen opcodes that
torch.save writes for dicts of tensors, keeps every global as a name, and turns the one call that matters
(_rebuild_tensor_v2) into a record of sizes and offsets that can be checked before any tensor is read.
"""

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from core.errors import UserError
from core.models.intake_records import NeedsConversion
from core.names import safe_text

STORAGES = {
    "FloatStorage": "F32",
    "DoubleStorage": "F64",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "LongStorage": "I64",
    "IntStorage": "I32",
    "ShortStorage": "I16",
    "CharStorage": "I8",
    "ByteStorage": "U8",
    "BoolStorage": "BOOL",
    "ComplexFloatStorage": "C64",
    "ComplexDoubleStorage": "C128",
}
CALLS = {
    "collections.OrderedDict": "dict",
    "torch._utils._rebuild_tensor_v2": "tensor",
    "torch._utils._rebuild_parameter": "parameter",
}
# What torch writes for tensors that are not plain, in words.
UNUSUAL = {
    "torch._utils._rebuild_meta_tensor_no_storage": "a meta tensor, which has a shape but no numbers",
    "torch._utils._rebuild_sparse_tensor": "a sparse tensor",
    "torch._utils._rebuild_sparse_csr_tensor": "a sparse tensor",
    "torch._utils._rebuild_nested_tensor": "a nested tensor",
    "torch._utils._rebuild_qtensor": "a quantised tensor",
    "torch._utils._rebuild_tensor_v3": "a tensor of a rare number format",
    "torch._utils._rebuild_wrapper_subclass": "a tensor of a class of its own",
    "torch._tensor._rebuild_from_type_v2": "a tensor of a class of its own",
    **{f"torch.Q{kind}Storage": "a quantised tensor" for kind in ("Int8", "UInt8", "Int32", "UInt4x2", "UInt2x4")},
}
MARK = object()


@dataclass(frozen=True)
class Symbol:
    """A global, by name only."""

    path: str


@dataclass(frozen=True)
class Storage:
    """A persistent id: the record data/KEY with `numbers` elements."""

    dtype: str
    key: str
    location: str
    numbers: int


@dataclass(frozen=True)
class TensorRecord:
    """What _rebuild_tensor_v2 would build, unchecked: offset and strides count elements of the storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(eq=False)
class Table:
    """A dict as the pickle fills it; keys may be anything and may come twice."""

    pairs: list[tuple[Any, Any]]


class _Malformed(Exception):
    """The opcodes do not make sense."""


def read_pickle(raw: bytes, name: str) -> Any:
    """The object in `raw` as Table, list, tuple, TensorRecord, Symbol, str, int, float, bool or None.

    Raises NeedsConversion for any global that a state dict does not need, UserError for anything else that is off.
    """
    reader = _Reader(name)
    try:
        for opcode, argument, _ in pickletools.genops(raw):
            if opcode.name == "STOP":
                return reader.pop()
            reader.take(opcode.name, argument)
    except (_Malformed, ValueError, IndexError, KeyError, OverflowError, MemoryError, DeprecationWarning) as error:
        # DeprecationWarning: pickletools warns of odd escapes in old text opcodes, and warnings may be errors.
        if isinstance(error, UserError):
            raise
    raise UserError(f"{name} holds a damaged pickle; save the state dict again with torch.save.")


class _Reader:
    """A stack machine over names and numbers."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def take(self, opcode: str, argument: Any) -> None:
        if opcode in CONSTANTS:
            self.stack.append(CONSTANTS[opcode])
        elif opcode in LITERALS:
            self.stack.append(argument)
        elif opcode in ACTIONS:
            ACTIONS[opcode](self, argument)
        else:
            raise NeedsConversion(
                f"{self.name} uses the pickle instruction {opcode}, which no state dict needs and which could run "
                "code: nothing was run; convert a model that you made or trust where you trained it:",
                "module",
            )

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is MARK:
            raise _Malformed
        return value

    def to_mark(self) -> list[Any]:
        for index in range(len(self.stack) - 1, -1, -1):
            if self.stack[index] is MARK:
                values = self.stack[index + 1 :]
                del self.stack[index:]
                return values
        raise _Malformed

    def push_tuple(self, size: int) -> None:
        if size:
            values = [self.pop() for _ in range(size)]
            self.stack.append(tuple(reversed(values)))
        else:
            self.stack.append(tuple(self.to_mark()))

    def global_(self, path: str) -> None:
        if path in UNUSUAL:
            raise UserError(
                f"{self.name} holds {UNUSUAL[path]}, where plain dense tensors are expected; "
                "save a state dict of an ordinary float32 model on the CPU."
            )
        module, _, last = path.rpartition(".")
        if path not in CALLS and not (module == "torch" and last in STORAGES):
            raise NeedsConversion(
                f"{self.name} asks Python to import {safe_text(path)!r}, which no state dict needs (a whole model "
                "saved with torch.save does, and so does code in disguise): nothing was run; convert a model that you "
                "made or trust where you trained it:",
                "module",
            )
        self.stack.append(Symbol(path))

    def stack_global(self) -> None:
        last, module = self.pop(), self.pop()
        if not isinstance(last, str) or not isinstance(module, str):
            raise _Malformed
        self.global_(f"{module}.{last}")

    def storage(self) -> None:
        value = self.pop()
        if not isinstance(value, tuple) or len(value) != 5 or value[0] != "storage":
            raise _Malformed
        _, symbol, key, location, numbers = value
        dtype = STORAGES.get(symbol.path.rpartition(".")[2]) if isinstance(symbol, Symbol) else None
        if dtype is None or not (isinstance(key, str) and isinstance(location, str) and _count(numbers)):
            raise _Malformed
        self.stack.append(Storage(dtype, key, location, numbers))

    def reduce(self) -> None:
        arguments, symbol = self.pop(), self.pop()
        call = CALLS.get(symbol.path) if isinstance(symbol, Symbol) else None
        if call == "dict" and arguments == ():
            self.stack.append(Table([]))
        elif call == "tensor" and isinstance(arguments, tuple) and len(arguments) in (6, 7):
            storage, offset, shape, strides = arguments[:4]
            if not (isinstance(storage, Storage) and _count(offset) and _counts(shape) and _counts(strides)):
                raise _Malformed
            self.stack.append(TensorRecord(storage, offset, shape, strides))
        elif call == "parameter" and isinstance(arguments, tuple) and len(arguments) == 3:
            if not isinstance(arguments[0], TensorRecord):
                raise _Malformed
            self.stack.append(arguments[0])
        else:
            raise _Malformed

    def set_items(self, values: list[Any]) -> None:
        table = self.stack[-1]
        if not isinstance(table, Table) or len(values) % 2:
            raise _Malformed
        table.pairs.extend(zip(values[::2], values[1::2], strict=True))

    def append(self, values: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            raise _Malformed
        self.stack[-1].extend(values)

    def build(self) -> None:
        # A state dict carries its _metadata (version numbers of modules) as an attribute: not needed, dropped.
        self.pop()
        if not isinstance(self.stack[-1], Table):
            raise _Malformed

    def remember(self, index: int | None) -> None:
        self.memo[len(self.memo) if index is None else index] = self.stack[-1]


CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": (), "MARK": MARK}
LITERALS = frozenset(
    ("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT")
)
ACTIONS: dict[str, Callable[[_Reader, Any], None]] = {
    "PROTO": lambda reader, argument: None,
    "FRAME": lambda reader, argument: None,
    "EMPTY_DICT": lambda reader, argument: reader.stack.append(Table([])),
    "EMPTY_LIST": lambda reader, argument: reader.stack.append([]),
    "GLOBAL": lambda reader, argument: reader.global_(argument.replace(" ", ".")),
    "STACK_GLOBAL": lambda reader, argument: reader.stack_global(),
    "TUPLE": lambda reader, argument: reader.push_tuple(0),
    "TUPLE1": lambda reader, argument: reader.push_tuple(1),
    "TUPLE2": lambda reader, argument: reader.push_tuple(2),
    "TUPLE3": lambda reader, argument: reader.push_tuple(3),
    "BINPERSID": lambda reader, argument: reader.storage(),
    "REDUCE": lambda reader, argument: reader.reduce(),
    "BUILD": lambda reader, argument: reader.build(),
    "SETITEM": lambda reader, argument: reader.set_items(list(reversed([reader.pop(), reader.pop()]))),
    "SETITEMS": lambda reader, argument: reader.set_items(reader.to_mark()),
    "APPEND": lambda reader, argument: reader.append([reader.pop()]),
    "APPENDS": lambda reader, argument: reader.append(reader.to_mark()),
    "BINPUT": lambda reader, argument: reader.remember(argument),
    "LONG_BINPUT": lambda reader, argument: reader.remember(argument),
    "MEMOIZE": lambda reader, argument: reader.remember(None),
    "BINGET": lambda reader, argument: reader.stack.append(reader.memo[argument]),
    "LONG_BINGET": lambda reader, argument: reader.stack.append(reader.memo[argument]),
}


def _count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _counts(value: object) -> bool:
    return isinstance(value, tuple) and all(_count(n) for n in value)

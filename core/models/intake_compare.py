"""Does a file fit an architecture? Names, shapes and number formats are compared before any tensor is read."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from core.errors import UserError
from core.models.intake_records import ACCEPTED, FLOATS, Entry, Expected, Header
from core.models.spec import ModelSpec
from core.names import safe_text

PREFIX = "module."  # what DataParallel puts before every name
SHOWN = 3
NAMES = {"F64": "float64", "F16": "float16", "BF16": "bfloat16", "F32": "float32", "I64": "int64", "C64": "complex64"}
NAMES |= {"C128": "complex128", "BOOL": "bool", "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8"}


def refuse_formats(header: Header, name: str) -> None:
    """Raise UserError for complex, integer, boolean or 8-bit tensors, that no architecture here has."""
    for entry in header.entries:
        if entry.dtype not in ACCEPTED:
            raise UserError(
                f"{name} holds {safe_text(entry.name)!r} in {NAMES.get(entry.dtype, entry.dtype)}, where "
                "floating-point numbers are expected; save the weights of a float32 model."
            )


def fit(header: Header, expected: Mapping[str, Expected], spec: ModelSpec, name: str) -> Header:
    """The header with names as the architecture has them; raise UserError unless all fits exactly."""
    header = _without_prefix(header, expected)
    found = {entry.name: entry for entry in header.entries}
    missing = [key for key in expected if key not in found]
    extra = [key for key in found if key not in expected]
    if missing or extra:
        parts = []
        if missing:
            parts.append(f"{_listed(missing)} {'is' if len(missing) == 1 else 'are'} missing")
        if extra:
            parts.append(f"{_listed(extra)} {'is' if len(extra) == 1 else 'are'} not expected")
        raise UserError(
            f"{name} does not fit {spec.architecture}: {', and '.join(parts)}; "
            "choose the architecture (and its arguments) that the file was made with."
        )
    for key, want in expected.items():
        _compare(found[key], want, spec, name)
    converted = sorted({NAMES[e.dtype] for e in header.entries if e.dtype in FLOATS[1:]})
    notes = (f"Numbers in {' and '.join(converted)} were converted to float32.",) if converted else ()
    return Header(tuple(found[key] for key in expected), header.notes + notes)


def _without_prefix(header: Header, expected: Mapping[str, Expected]) -> Header:
    entries = header.entries
    if not all(e.name.startswith(PREFIX) for e in entries) or all(e.name in expected for e in entries):
        return header
    bare = tuple(replace(e, name=e.name.removeprefix(PREFIX)) for e in entries)
    return Header(bare, (*header.notes, f"The prefix {PREFIX!r} of DataParallel was removed from every name."))


def _compare(entry: Entry, want: Expected, spec: ModelSpec, name: str) -> None:
    quoted = repr(safe_text(entry.name))
    if entry.shape != want.shape:
        hint = "choose the architecture, size and channels that the file was made with"
        if entry.shape[1:] == want.shape[1:] and want.shape[0] == spec.num_classes:
            hint = f"the file seems to know {entry.shape[0]} classes: set the number of classes to that"
        raise UserError(
            f"{name} does not fit {spec.architecture} with {spec.num_classes} classes: {quoted} is "
            f"{_sides(entry.shape)} in the file and {_sides(want.shape)} in the architecture; {hint}."
        )
    if entry.dtype != want.dtype and not (want.dtype == "F32" and entry.dtype in FLOATS):
        raise UserError(
            f"{name} holds {quoted} in {NAMES[entry.dtype]}, where {NAMES[want.dtype]} is expected; "
            "save the weights of a float32 model."
        )


def _sides(shape: tuple[int, ...]) -> str:
    return "×".join(str(side) for side in shape) or "a single number"


def _listed(keys: Iterable[str]) -> str:
    names = list(keys)
    shown = ", ".join(repr(safe_text(key)) for key in names[:SHOWN])
    return shown if len(names) <= SHOWN else f"{shown} and {len(names) - SHOWN} more"

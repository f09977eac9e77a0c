"""From the records of a zip and its pickle to a Header: which tensors a state dict holds, and where they lie."""

from typing import Any, BinaryIO

from core.errors import UserError
from core.models.intake_pickle import Table, TensorRecord, read_pickle
from core.models.intake_records import ITEM_BYTES, MAX_RANK, MAX_SIDE, Entry, Header, Limits, NeedsConversion
from core.models.intake_zip import Record, check_sums, read_directory, read_record, refuse_unread
from core.names import safe_text

NESTED = ("state_dict", "model_state_dict", "model")
PLAIN = frozenset(
    ("data.pkl", "version", "byteorder", ".format_version", ".storage_alignment", ".data/serialization_id")
)


def read_state_dict(file: BinaryIO, size: int, name: str, limits: Limits) -> Header:
    """The header of a zip-format .pt or .pth state dict; raise UserError for anything else, nothing being run."""
    records = read_directory(file, size, name, limits)
    _refuse_other_formats(records, name)
    if name.lower().endswith(".pt2"):
        raise UserError(f"{name} holds no exported program: give it the ending .pt if it is a state dict.")
    refuse_unread(records, name)
    top = _top(records, name)
    check_sums(file, records, name)
    pickle = records[top + "data.pkl"]
    if pickle.size > limits.header_bytes:
        raise UserError(
            f"{name} has a data.pkl of {pickle.size:,} bytes where at most {limits.header_bytes:,} are taken; "
            "upload the state dict alone."
        )
    order = records.get(top + "byteorder")
    if order is not None and read_record(file, order) != b"little":
        raise UserError(f"{name} was written on a big-endian machine; save it on a little-endian one.")
    table, notes = _state_dict(read_pickle(read_record(file, pickle), name), name)
    entries = [_entry(key, value, records, top, name) for key, value in _pairs(table, name)]
    return Header(tuple(entries), tuple(notes))


def _refuse_other_formats(records: dict[str, Record], name: str) -> None:
    inner = {label.partition("/")[2] for label in records}
    if "constants.pkl" in inner or any(label.startswith("code/") for label in inner):
        raise NeedsConversion(
            f"{name} is a TorchScript module, which is a program, where a state dict is expected: nothing was run; "
            "convert a model that you made or trust where you trained it:",
            "torchscript",
        )
    if "archive_format" in inner or any(label.startswith("models/") for label in inner):
        raise NeedsConversion(
            f"{name} is an exported program (.pt2), where a state dict is expected: nothing was run; "
            "convert a model that you made or trust where you trained it:",
            "exported",
        )


def _top(records: dict[str, Record], name: str) -> str:
    tops = {label.partition("/")[0] for label in records}
    top = next(iter(tops)) + "/" if len(tops) == 1 else ""
    if not top or top + "data.pkl" not in records:
        raise UserError(
            f"{name} is a zip file, but not one that torch.save wrote: it has no data.pkl in one folder; "
            "upload a state dict saved with torch.save, or safetensors."
        )
    for label in records:
        rest = label.removeprefix(top)
        if rest not in PLAIN and not (rest.startswith("data/") and rest[5:].isascii() and rest[5:].isdecimal()):
            raise UserError(
                f"{name} holds {safe_text(label)!r}, which a state dict saved with torch.save does not; "
                "save the state dict again."
            )
    return top


def _state_dict(value: Any, name: str) -> tuple[Table, list[str]]:
    """The table of tensors: the object itself, or one level down under a usual name."""
    if not isinstance(value, Table):
        raise UserError(f"{name} holds no state dict (a table of names and tensors); save model.state_dict().")
    if any(isinstance(item, TensorRecord) for _, item in value.pairs):
        return value, []
    for wanted in NESTED:
        inner = [item for key, item in value.pairs if isinstance(key, str) and key == wanted]
        if len(inner) == 1 and isinstance(inner[0], Table):
            others = len(value.pairs) - 1
            dropped = f"; {others} other entries were dropped" if others else ""
            return inner[0], [f"The state dict was found under {wanted!r}{dropped}."]
    raise UserError(f"{name} holds no tensors by name; save model.state_dict() with torch.save.")


def _pairs(table: Table, name: str) -> list[tuple[str, TensorRecord]]:
    pairs: list[tuple[str, TensorRecord]] = []
    seen: set[str] = set()
    for key, value in table.pairs:
        if not isinstance(key, str):
            raise UserError(
                f"{name} has a key that is no text ({type(key).__name__}), where names of tensors are expected; "
                "save model.state_dict()."
            )
        if key in seen:
            raise UserError(f"{name} lists {safe_text(key)!r} twice; save model.state_dict() again.")
        if not isinstance(value, TensorRecord):
            raise UserError(f"{name} holds no tensor under {safe_text(key)!r}; save model.state_dict() alone.")
        seen.add(key)
        pairs.append((key, value))
    if not pairs:
        raise UserError(f"{name} holds an empty state dict; save the state dict of a trained model.")
    return pairs


def _entry(key: str, value: TensorRecord, records: dict[str, Record], top: str, name: str) -> Entry:
    quoted, storage = repr(safe_text(key)), value.storage
    again = "save model.state_dict() again"
    if storage.location == "meta":
        raise UserError(f"{name} holds {quoted} as a meta tensor, which has a shape but no numbers; {again}.")
    record = records.get(f"{top}data/{storage.key}")
    if record is None or record.size != storage.numbers * ITEM_BYTES[storage.dtype]:
        raise UserError(f"{name} lacks the numbers of {quoted}, or has too many or too few of them; {again}.")
    if len(value.shape) > MAX_RANK or len(value.strides) != len(value.shape):
        raise UserError(f"{name} gives {quoted} {len(value.shape)} dimensions, where layers have few; {again}.")
    if not is_dense(value.shape, value.strides):
        raise UserError(
            f"{name} holds {quoted} as a view (strides {safe_text(str(value.strides[:MAX_RANK]))}), not as a dense "
            f"tensor; call .contiguous() and {again}."
        )
    if not all(1 <= side < MAX_SIDE for side in value.shape):
        raise UserError(f"{name} gives {quoted} a shape that no layer has; {again}.")
    start = record.start + value.offset * ITEM_BYTES[storage.dtype]
    entry = Entry(key, storage.dtype, value.shape, value.strides, start)
    if value.offset + entry.numbers > storage.numbers:
        raise UserError(f"{name} has too few numbers for the shape of {quoted}; {again}.")
    return entry


def is_dense(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """True when each number of the storage is used once, in any order of the dimensions (as in channels_last)."""
    step = 1
    for stride, side in sorted((stride, side) for stride, side in zip(strides, shape, strict=True) if side > 1):
        if stride != step:
            return False
        step *= side
    return True

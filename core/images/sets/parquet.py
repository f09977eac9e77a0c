"""Parquet files of images as Hugging Face's datasets write them: a file, or a folder of shards.

A column holds the pictures, as a struct of bytes and path or as plain bytes; another one whole numbers or texts as
labels. The names of the classes stand in the schema's metadata under `huggingface`. Only row groups with wanted
rows are read.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import UserError
from core.images.allowed import check_allowed
from core.images.dataset import PARTS, TEST, TRAIN
from core.images.folder import natural_key
from core.images.sets.base import Index, Opened, decode
from core.images.sets.cache import READ_WHOLE, cached_index, file_checks
from core.names import safe_name, safe_text
from core.settings import Settings

IMAGES = ("image", "img", "picture", "pixels")
LABELS = ("label", "labels", "fine_label", "class", "target")
HELD_OUT = ("test", "val", "valid", "validation")
MAX_ROWS = 5_000_000
MAX_CLASSES = 100_000
BATCH = 1024  # rows whose pictures are in memory at once while they are indexed


def open_parquet(name: str, path: Path, settings: Settings) -> Opened:
    """Open `parquet:PATH`. The index takes the labels, and a checksum of each picture's bytes. Raises UserError.

    Shards called train-… and test-… (or val…) make the split; other names make none.
    """
    shards = _shards(path)
    for shard in shards:  # each may be a link
        check_allowed(shard, settings)
    index, _ = cached_index(settings, "parquet", shards, lambda draft: _build(path, shards))
    column = index.facts["column"]
    starts = np.cumsum([0, *index.facts["rows"]])

    def read(places: Sequence[int]) -> Iterable[np.ndarray]:
        data: dict[int, bytes] = {}
        shard_of = np.searchsorted(starts, np.asarray(places), side="right") - 1
        for shard in sorted(set(shard_of.tolist())):
            wanted = [place for place, one in zip(places, shard_of, strict=True) if one == shard]
            offset = int(starts[shard])
            found = _cells(shards[shard], column, [place - offset for place in wanted])
            data |= {offset + row: cell for row, cell in found}
        for place in places:
            if not data[place]:
                raise UserError(f"Row {place + 1:,} of {path.name} holds no picture's bytes; store the pictures in it.")
            yield decode(data[place], index.names[place])

    return Opened(name, path.name, index, read)


def _shards(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError(f"There is no Parquet file or folder at {safe_text(str(path), 200)!r}; check the path.")
    found = [one for one in path.rglob("*.parquet") if one.is_file() and not one.name.startswith(".")]
    if not found:
        raise UserError(
            f"The folder {path.name!r} holds no file that ends with .parquet; give the folder of the shards."
        )
    return sorted(found, key=lambda one: natural_key(str(one.relative_to(path))))


def _open(shard: Path) -> Any:
    import pyarrow
    import pyarrow.parquet as parquet

    try:
        return parquet.ParquetFile(shard)
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{shard.name} is not a whole Parquet file ({str(error)[:100]}); get it again.") from error


def _build(path: Path, shards: Sequence[Path]) -> Index:
    labels: list[Any] = []
    rows: list[int] = []
    checks: list[int] = []
    whole = sum(shard.stat().st_size for shard in shards) <= READ_WHOLE
    parts: list[str | None] = []
    known: tuple[str, ...] | None = None
    images = ""
    for shard in shards:
        file = _open(shard)
        images, column = _columns(file.schema_arrow, shard)
        known = known or _class_names(file.schema_arrow, column)
        with _arrow(shard):
            values = file.read(columns=[column]).column(column).to_pylist()
        rows.append(len(values))
        checks += _checks(file, images, shard) if whole else file_checks([shard]) * len(values)
        labels += values
        parts += [_part(shard, path)] * len(values)
        if len(labels) > MAX_ROWS:
            raise UserError(f"{path.name} has more than {MAX_ROWS:,} rows; give fewer shards.")
    numbers, classes = _numbered(labels, known, path)
    if len(classes) < 2:
        raise UserError(
            f"{path.name} has one class ({classes[0] if classes else 'none'}); a data set has at least two."
        )
    split = None if None in parts or len(set(parts)) < 2 else [PARTS.index(part) for part in parts if part]
    width = len(str(max(len(labels) - 1, 1)))
    start = safe_name(path.stem, 60)
    names = [f"{start}-{row:0{width}d}" for row in range(len(labels))]
    return Index(classes, names, numbers, split, checks=checks, facts={"column": images, "rows": rows})


def _checks(file: Any, column: str, shard: Path) -> Iterator[int]:
    """CRC-32 of the bytes of each picture, read a batch at a time."""
    with _arrow(shard):
        for batch in file.iter_batches(BATCH, columns=[column]):
            cells = batch.column(0)
            for one in cells if cells.type.num_fields == 0 else cells.field("bytes"):
                yield zlib.crc32(one.as_buffer() or b"")


def _part(shard: Path, path: Path) -> str | None:
    """By the shard's name, or the folder's that it lies in."""
    inside = shard.relative_to(path).parts if shard != path else (shard.name,)
    words = {part.casefold().replace("_", "-").partition("-")[0].partition(".")[0] for part in inside}
    if words & set(HELD_OUT):
        return TEST
    return TRAIN if "train" in words else None


def _columns(schema: Any, shard: Path) -> tuple[str, str]:
    """Names of the columns of pictures and of labels; UserError where one is missing."""
    import pyarrow

    def bytes_of(kind: Any) -> bool:
        if pyarrow.types.is_struct(kind):
            return kind.get_field_index("bytes") >= 0 and bytes_of(kind.field("bytes").type)
        return bool(pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind))

    held = [field.name for field in schema if bytes_of(field.type)]
    image = next((name for name in (*IMAGES, *held) if name in held), None)
    label = next((name for name in LABELS if name in schema.names), None)
    for what, found, wanted in (("pictures", image, "image"), ("labels", label, "label")):
        if found is None:
            raise UserError(
                f"{shard.name} has no column of {what} (it has {safe_text(', '.join(schema.names))}); call it {wanted}."
            )
    return str(image), str(label)


def _class_names(schema: Any, column: str) -> tuple[str, ...] | None:
    try:
        info = json.loads((schema.metadata or {})[b"huggingface"])
        names = info["info"]["features"][column]["names"]
    except (KeyError, ValueError, TypeError):
        return None
    if isinstance(names, dict):  # an older form: number -> name
        names = [names[key] for key in sorted(names, key=int)]
    return tuple(safe_text(str(one)) for one in names) if isinstance(names, list) and names else None


def _numbered(labels: Sequence[Any], known: tuple[str, ...] | None, path: Path) -> tuple[list[int], tuple[str, ...]]:
    """Labels as places in the classes. Texts are sorted; numbers without names are their own names."""
    bad = next((row for row, one in enumerate(labels) if not isinstance(one, int | str) or isinstance(one, bool)), None)
    if bad is not None:
        raise UserError(
            f"Row {bad + 1:,} of {path.name} has the label {labels[bad]!r}, not a number or a text; mend it."
        )
    if known is not None and all(isinstance(one, int) for one in labels):
        wrong = next((one for one in labels if not 0 <= one < len(known)), None)
        if wrong is not None:
            raise UserError(f"{path.name} has the label {wrong}, but names {len(known)} classes; mend one of them.")
        return list(labels), known
    texts = [str(one) for one in labels]
    classes = tuple(sorted(set(texts), key=lambda one: (natural_key(one), one)))
    if len(classes) > MAX_CLASSES:
        raise UserError(f"{path.name} has {len(classes):,} different labels; its column of labels is something else.")
    place = {one: number for number, one in enumerate(classes)}
    return [place[one] for one in texts], tuple(safe_text(one) for one in classes)


def _cells(shard: Path, column: str, rows: Sequence[int]) -> Iterator[tuple[int, bytes]]:
    """(row, its picture's bytes), from the row groups that hold wanted rows alone."""
    file = _open(shard)
    sizes = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
    starts = np.cumsum([0, *sizes])
    group_of = np.searchsorted(starts, np.asarray(rows), side="right") - 1
    for group in sorted(set(group_of.tolist())):
        start = int(starts[group])
        inside = sorted({row - start for row, one in zip(rows, group_of, strict=True) if one == group})
        with _arrow(shard):
            cells = file.read_row_group(group, columns=[column]).column(column).take(inside).to_pylist()
        for row, cell in zip(inside, cells, strict=True):
            yield start + row, (cell or {}).get("bytes") or b"" if not isinstance(cell, bytes) else cell


def _arrow(shard: Path) -> Any:
    """Arrow's errors as one sentence."""
    import contextlib

    import pyarrow

    @contextlib.contextmanager
    def guard() -> Iterator[None]:
        try:
            yield
        except (pyarrow.ArrowException, OSError) as error:
            raise UserError(f"{shard.name} is damaged ({str(error)[:100]}); get it again.") from error

    return guard()

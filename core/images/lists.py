"""Lists of pictures that can be shared: a CSV with the data set in its first lines, then one name a row.

    # SemSight list of images
    # data set: cifar100
    # fingerprint: 3f…
    # part: test
    # split: 0, 0.2
    name
    test-00017

The split (its seed, and the share that is held out) stands there where the publisher makes none. Names are as
core.images.dataset.Entry has them; the fingerprint makes sure that they mean the same pictures elsewhere.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from core.errors import UserError
from core.images.dataset import PARTS, DataChoice, DataSet
from core.images.drawing import check_same, choose, in_part
from core.names import safe_text

FIRST = "# SemSight list of images"
MAX_BYTES = 64 * 2**20
MAX_NAMES = 1_000_000


def write_list(dataset: DataSet, choice: DataChoice) -> str:
    """The list's text, for a file `*.csv`: the names that the choice takes, in its order. Raises UserError."""
    places = choose(dataset, choice)
    part = "as listed" if choice.names else choice.part
    out = io.StringIO()
    name = dataset.name if "\n" not in dataset.name else safe_text(dataset.name, 500)
    out.write(f"{FIRST}\n# data set: {name}\n# fingerprint: {dataset.fingerprint}\n# part: {part}\n")
    if not choice.names and not dataset.published_split:
        out.write(f"# split: {choice.split_seed}, {choice.held_out}\n")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["name"])
    writer.writerows([dataset.entries[place].name] for place in places)
    return out.getvalue()


def read_list(source: bytes | str | Path, dataset: DataSet) -> DataChoice:
    """The choice that a list (its bytes, its text, or its file's path) stands for, checked against the data set.

    Raises UserError for something else than a list, one of another data set or of other contents, a name that the data
    set does not have, a name that comes twice, and images that are not of the part that the list says.
    """
    head, names = _parse(_text(source))
    mark, listed = head.get("fingerprint", ""), head.get("data set")
    if mark != dataset.fingerprint:
        if listed is not None and _other(listed, dataset.name, marked=bool(mark)):
            raise UserError(f"The list is of the data set {safe_text(listed)}, not of {dataset.title}; open that one.")
        check_same(dataset, mark)
    choice = DataChoice(dataset.name, names=names, fingerprint=dataset.fingerprint)
    if "split" in head and not dataset.published_split:
        choice = _with_split(choice, head["split"])
    places = choose(dataset, choice)
    part = head.get("part", "")
    if part not in PARTS or not (dataset.published_split or "split" in head):
        return choice  # without the split, what is held out is not known
    choice = replace(choice, part=part)
    other = int((~in_part(dataset, choice)[list(places)]).sum())
    if other:
        raise UserError(
            f"The list says that its images are of the {part} part, but {other:,} of {len(places):,} are not; take its "
            "line # part away, or those images."
        )
    return choice


def _with_split(choice: DataChoice, text: str) -> DataChoice:
    seed, _, share = text.partition(",")
    try:
        return replace(choice, split_seed=int(seed), held_out=float(share))
    except ValueError:
        raise UserError(
            f"The list's line # split says {safe_text(text, 40)!r}, where a seed and a share belong, such as 0, 0.2."
        ) from None


def _other(listed: str, opened: str, *, marked: bool) -> bool:
    """Whether a header names another data set. Without a fingerprint, what stands behind a colon may differ."""
    return listed != opened if marked else listed.partition(":")[0] != opened.partition(":")[0]


def _text(source: bytes | str | Path) -> str:
    if isinstance(source, Path):
        if not source.is_file():
            raise UserError(f"There is no list of images at {safe_text(str(source), 200)!r}; give the path of a file.")
        with source.open("rb") as file:
            source = file.read(MAX_BYTES + 1)
    if isinstance(source, str):
        return source
    if len(source) > MAX_BYTES:
        raise UserError(f"The list of images has more than {MAX_BYTES >> 20} MiB; split it.")
    try:
        return source.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError("The list of images is not UTF-8 text; save it as CSV in UTF-8.") from error


def _parse(text: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """What the lines with # say, and the names of the column `name`, or of the only column."""
    lines = text.splitlines()
    head: dict[str, str] = {}
    rows: list[str] = []
    for line in lines:
        key, colon, value = line[1:].partition(":")
        if line.startswith("#") and not rows:
            if colon:
                head[key.strip()] = value.strip()
        elif line.strip():
            rows.append(line)
    try:
        table = list(csv.reader(rows, strict=True))
    except csv.Error as error:
        raise UserError(f"The list of images is no CSV file ({error}); write one name a line.") from error
    names = _column(table)
    if not names:
        raise UserError("The list of images names none; write one name a line.")
    if len(names) > MAX_NAMES:
        raise UserError(f"The list names more than {MAX_NAMES:,} images; split it.")
    return head, tuple(names)


def _column(table: Sequence[Sequence[str]]) -> list[str]:
    if not table:
        return []
    if "name" in table[0]:
        place = table[0].index("name")
        rows = table[1:]
    else:
        place, rows = 0, table
        if len(table[0]) > 1:
            raise UserError("The list of images has several columns, but none is called name; call the column so.")
    if any(len(row) <= place for row in rows):
        raise UserError("A row of the list of images has too few columns; write one name a line.")
    return [row[place].strip() for row in rows]

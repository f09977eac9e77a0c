"""Labels from a CSV file with the columns name and label."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from core.errors import UserError
from core.images.picture import Picture
from core.models.spec import ModelSpec


def label_by_table(pictures: Sequence[Picture], path: Path, spec: ModelSpec) -> list[Picture]:
    """Give every picture the label that the table has for its name (with or without the file's extension).

    A label is a class number from 0, or one of the model's class names. Raises UserError for a picture without a
    row, two rows that disagree, and a label that the model does not have.
    """
    from core.tables import read_table

    if not path.is_file():
        raise UserError(f"There is no table of labels at {str(path)[:200]!r}; give the path of a CSV file.")
    frame = read_table(path, required=("name", "label"), name=path.name)
    table: dict[str, int] = {}
    for name, text in zip(frame["name"], frame["label"], strict=True):
        label = _label(str(text).strip(), spec, str(name))
        if table.setdefault(_stem(str(name)), label) != label:
            raise UserError(f"The table of labels names {str(name)[:80]!r} twice with different labels; keep one row.")
    missing = [picture.name for picture in pictures if picture.name not in table]
    if missing:
        raise UserError(
            f"The table of labels has no row for {len(missing)} of {len(pictures)} images ({missing[0][:80]}, …); "
            "add them."
        )
    return [replace(picture, label=table[picture.name]) for picture in pictures]


def _label(text: str, spec: ModelSpec, name: str) -> int:
    if text in spec.class_names:
        return spec.class_names.index(text)
    if text.isascii() and text.isdecimal() and int(text[:9]) < spec.num_classes and len(text) < 10:
        return int(text)
    raise UserError(
        f"The label of {name[:80]!r} is {text[:80]!r}; expected a class number from 0 to {spec.num_classes - 1} "
        "or one of the model's class names."
    )


def _stem(name: str) -> str:
    stem, dot, suffix = name.strip().rpartition(".")
    return stem if dot and suffix.lower() in ("png", "jpg", "jpeg", "webp") else name.strip()

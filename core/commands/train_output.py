"""What `python -m core train` says while it runs, and the table that it writes."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from core.models.training.progress import EpochRow

COLUMNS = tuple(field.name for field in fields(EpochRow))


def epoch_line(row: Mapping[str, Any], epochs: int) -> str:
    """One epoch on one line."""
    parts = [f"epoch {row['epoch']}/{epochs}", f"loss {row['train_loss']:.3f}"]
    if _is_number(row["train_accuracy"]):
        parts.append(f"accuracy {row['train_accuracy']:.1%}")
    if _is_number(row["held_out_accuracy"]):
        parts.append(f"held out {row['held_out_accuracy']:.1%}")
    parts.append(f"gradient norm {row['gradient_norm']:.3g}")
    if row.get("epsilon") is not None:
        parts.append(f"ε {row['epsilon']:.3g}")
    return " · ".join([*parts, f"{row['images_per_second']:,.0f} images/s"])


def curve_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """CSV of the epochs, in order; what has no value is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in sorted(rows, key=lambda one: int(one["epoch"])):
        writer.writerow(["" if row[name] is None or row[name] != row[name] else row[name] for name in COLUMNS])
    return text.getvalue()


def read_curve(text: str) -> list[dict[str, Any]]:
    """The rows that `curve_table` wrote."""
    found = []
    for line in csv.DictReader(io.StringIO(text)):
        row: dict[str, Any] = {name: float(line[name]) if line[name] else math.nan for name in COLUMNS}
        row["epoch"] = int(row["epoch"])
        row["epsilon"] = float(line["epsilon"]) if line["epsilon"] else None
        found.append(row)
    return found


def _is_number(value: Any) -> bool:
    return value is not None and math.isfinite(value)

"""What `python -m core train` says while it runs, and the table that it writes."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from core.models.training.progress import EpochRow
from core.models.training.recipe import Recipe

COLUMNS = tuple(field.name for field in fields(EpochRow))


def epoch_line(row: Mapping[str, Any], recipe: Recipe) -> str:
    """One epoch on one line."""
    private = row.get("epsilon") is not None
    parts = [f"epoch {row['epoch']}/{recipe.epochs}", f"loss {row['train_loss']:.3f}"]
    if _is_number(row["train_accuracy"]):
        parts.append(f"accuracy {row['train_accuracy']:.1%}")
    if _is_number(row["held_out_accuracy"]):
        parts.append(f"held out {row['held_out_accuracy']:.1%}")
    parts.append(f"{'clean ' if private else ''}gradient norm {row['gradient_norm']:.3g}")
    if private:
        parts.append(f"ε {row['epsilon']:.3g} at δ {recipe.dp_delta:g}")
    return " · ".join([*parts, f"{row['images_per_second']:,.0f} images/s"])


def privacy_lines(row: Mapping[str, Any], recipe: Recipe, rate: float | None) -> list[str]:
    """What a private training guarantees at this epoch; no line for another. rate: share of the images a step draws."""
    if row.get("epsilon") is None:
        return []
    drawn = "" if rate is None else f"q {rate:.3g}, "
    return [
        f"privacy: ε {row['epsilon']:.3g} at δ {recipe.dp_delta:g} ({drawn}one image added or removed)",
        "clean gradient norm: of the mean gradient before clipping and noise",
    ]


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

"""Training curves: loss, accuracy, gradient norm and learning rate by epoch, each in a small chart of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from core.models.training.privacy import CURVE_NOTE
from core.models.training.progress import EpochRow
from pages._shared import number, percent

HEIGHT = 220


@dataclass(frozen=True)
class Panel:
    """One chart: lines by (name, field of EpochRow), the axis' title, and how it counts."""

    title: str
    lines: tuple[tuple[str, str], ...]
    share: bool = False
    logarithmic: bool = False


LOSS = Panel(
    "Loss (cross entropy, nats)", (("training", "train_loss"), ("held out", "held_out_loss")), logarithmic=True
)
ACCURACY = Panel("Accuracy", (("training", "train_accuracy"), ("held out", "held_out_accuracy")), share=True)
NORM = Panel("Gradient norm (L2, mean of the epoch)", (("gradient", "gradient_norm"),), logarithmic=True)
RATE = Panel("Learning rate", (("learning rate", "learning_rate"),), logarithmic=True)
EPSILON = Panel("ε spent", (("ε", "epsilon"),))


def curves(rows: Sequence[EpochRow], *, early: bool = False) -> None:
    """Draw them two by two. early: accuracy and gradient norm alone, which tell first whether it learns."""
    panels = [ACCURACY, NORM] if early else [LOSS, ACCURACY, NORM, RATE]
    if not early and any(row.epsilon is not None for row in rows):
        panels.append(EPSILON)
    if any(row.epsilon is not None for row in rows):
        st.caption(CURVE_NOTE)
    with st.grid(2, min_column_width=300):
        for panel in panels:
            draw(rows, panel)


def draw(rows: Sequence[EpochRow], panel: Panel) -> None:
    """One chart; values that are not numbers (mixup's accuracy, nothing held out) leave a gap."""
    points = [
        {"epoch": row.epoch, "value": value, "of": name}
        for name, field in panel.lines
        for row in rows
        if (value := getattr(row, field)) is not None and value == value
    ]
    with st.container(gap="xxsmall"):
        st.caption(f"**{panel.title}**")
        if not points:
            st.caption("Not measured in this training.")
            return
        st.vega_lite_chart(points, spec(panel, points), height=HEIGHT, alt=words(panel, points))


def spec(panel: Panel, points: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The chart in Vega-Lite: an axis of shares from 0 to 100 %, or a logarithmic one where all values allow it."""
    axis: dict[str, Any] = {"tickCount": 5}
    scale: dict[str, Any] = {"zero": False}
    if panel.share:
        axis["format"], scale = ".0%", {"domain": [0, 1]}
    elif panel.logarithmic and all(point["value"] > 0 for point in points):
        axis["format"], scale = "~g", {"type": "log", **log_domain([point["value"] for point in points])}
    several = len({point["of"] for point in points}) > 1
    few = len({point["epoch"] for point in points}) < 2
    return {
        "mark": {"type": "line", "interpolate": "linear", "point": few},
        "encoding": {
            "x": {"field": "epoch", "type": "quantitative", "title": "epoch", "axis": {"tickMinStep": 1}},
            "y": {"field": "value", "type": "quantitative", "title": None, "scale": scale, "axis": axis},
            "color": {
                "field": "of",
                "type": "nominal",
                "sort": [name for name, _ in panel.lines],
                "legend": {"orient": "top", "title": None, "offset": 2} if several else None,
            },
            "strokeDash": {
                "field": "of",
                "type": "nominal",
                "sort": [name for name, _ in panel.lines],
                "legend": None,
                "scale": {"range": [[1, 0], [5, 3]]},
            },
            "tooltip": [
                {"field": "epoch", "type": "quantitative"},
                {"field": "of", "type": "nominal", "title": "line"},
                {"field": "value", "type": "quantitative", "format": ".1%" if panel.share else ".4~g"},
            ],
        },
    }


def log_domain(values: Sequence[float]) -> dict[str, Any]:
    """A logarithmic axis that ends a little beyond the values, not at whole decades, where curves would lie flat."""
    low, high = min(values), max(values)
    margin = max((high / low) ** 0.05, 1.05)
    return {"domain": [low / margin, high * margin], "nice": False}


def words(panel: Panel, points: Sequence[Mapping[str, Any]]) -> str:
    """The chart for who cannot see it: where each line began and where it is."""
    said = []
    for name, _ in panel.lines:
        own = [point for point in points if point["of"] == name]
        if own:
            first, last = (percent(p["value"]) if panel.share else number(p["value"]) for p in (own[0], own[-1]))
            said.append(f"{name} {first} at epoch {own[0]['epoch']}, {last} at epoch {own[-1]['epoch']}")
    return f"{panel.title}: {'; '.join(said)}"

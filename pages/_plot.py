"""Plotly in a keyed v2 component (assets/components/plot.*) that keeps its node: zoom and selection stay."""

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.components.v1 import declare_component

MOST_SELECTED = 500
_FOLDER = Path(__file__).resolve().parent.parent / "assets" / "components"
_COMPONENT = st.components.v2.component(
    "semsight_plot",
    html=(_FOLDER / "plot.html").read_text(encoding="utf-8"),
    css=(_FOLDER / "plot.css").read_text(encoding="utf-8"),
    js=(_FOLDER / "plot.js").read_text(encoding="utf-8"),
    isolate_styles=False,  # Plotly puts its rules into the document's head; a shadow root would not see them
)


@dataclass(frozen=True)
class Trace:
    """Points of one kind: equally long lists; `colour` names a CSS variable of the theme."""

    key: str  # stays the same while name and points change
    name: str
    ids: Sequence[int]
    x: Sequence[float]
    y: Sequence[float]
    colour: str
    symbol: str


@dataclass(frozen=True)
class Axis:
    """One axis. reversed puts low values right or on top; range None fits the data."""

    title: str
    reversed: bool = False
    range: tuple[float, float] | None = None
    percent: bool = False


@dataclass(frozen=True)
class PlotState:
    """What the browser says: ids selected by box, lasso or click, and ids whose picture is wanted."""

    selected: tuple[int, ...]
    asked: tuple[int, ...]


def plot_state(key: str) -> PlotState:
    """State of the plot `key` from before this run; anything but whole numbers is left out."""
    state = st.session_state.get(key) or {}
    return PlotState(_ids(state.get("selected"), MOST_SELECTED), _ids(state.get("asked"), 16))


def plot(
    traces: Sequence[Trace],
    x: Axis,
    y: Axis,
    *,
    key: str,
    alt: str,
    revision: str,
    details: Mapping[int, Mapping[str, str]] | None = None,
    facts: Mapping[str, int | str] | None = None,
    height: int = 480,
    on_selected: Callable[[], None] = lambda: None,
) -> None:
    """Draw the plot. revision: as long as it is the same, new data keeps zoom and selection.

    details: {id: {"image": data URL, "text": lines}} for tooltips; bounded by the caller, which is told by
    `plot_state(key).asked` which ids are missing. facts become data-NAME attributes once the drawing stands.
    """
    data: dict[str, Any] = {
        "library": _library(),
        "traces": [vars(trace) for trace in traces],
        "xaxis": vars(x),
        "yaxis": vars(y),
        "alt": alt,
        "revision": revision,
        "details": {str(one): dict(detail) for one, detail in (details or {}).items()},
        "facts": {name: str(value) for name, value in (facts or {}).items()},
        "height": height,
        "mostSelected": MOST_SELECTED,
    }
    _COMPONENT(key=key, data=data, on_selected_change=on_selected, on_asked_change=lambda: None)


def _library() -> str:
    """Address of plotly.js, served from the installed package: fetched once, never sent with a rerun.

    A v2 component can name files of an installed package only (1.67), and inline code travels with every rerun
    (4.8 MB); the v1 registry, which is used for nothing else here, serves a folder by plain HTTP.
    """
    spec = importlib.util.find_spec("plotly")  # importing it would take 0.1 s, for nothing
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("plotly is not installed; run pip install -r requirements.txt.")
    folder = Path(spec.origin).parent / "package_data"
    name = declare_component("plotly_js", path=folder).name
    base = str(st.get_option("server.baseUrlPath")).strip("/")
    return f"{'/' + base if base else ''}/component/{name}/plotly.min.js"


def _ids(value: Any, most: int) -> tuple[int, ...]:
    return tuple(one for one in value if isinstance(one, int))[:most] if isinstance(value, list) else ()

"""A slider between two pictures, in a keyed v2 component (assets/components/compare.*)."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import streamlit as st

_FOLDER = Path(__file__).resolve().parent.parent / "assets" / "components"
_COMPONENT = st.components.v2.component(
    "semsight_compare",
    html=(_FOLDER / "compare.html").read_text(encoding="utf-8"),
    css=(_FOLDER / "compare.css").read_text(encoding="utf-8"),
    js=(_FOLDER / "compare.js").read_text(encoding="utf-8"),
)
HINT = "Drag, or use ← → after a click."


@dataclass(frozen=True)
class Side:
    """One of the two pictures: its data URL, the word on it, and its text alternative."""

    src: str
    word: str
    alt: str


def compare(
    left: Side,
    right: Side,
    *,
    key: str,
    size: tuple[int, int],
    steps: tuple[str, ...] = (),
    on_step: Callable[[], None] = lambda: None,
) -> None:
    """Draw the slider; left of the line is `left`. size: (width, height) in pixels of the picture.

    steps: of "before" and "after", what the keys P and N may ask for; read `asked_step(key)` in on_step.
    """
    keys = {"before": "P: previous", "after": "N: next"}
    hint = " · ".join([HINT, *(keys[step] for step in steps)])
    data = {
        "left": asdict(left), "right": asdict(right), "width": size[0], "height": size[1], "steps": list(steps),
        "hint": hint,
    }  # fmt: skip
    _COMPONENT(key=key, data=data, on_step_change=on_step)


def asked_step(key: str) -> str:
    """The step that the browser has asked for: "before", "after" or ""."""
    state = st.session_state.get(key) or {}
    step = state.get("step")
    return step if step in ("before", "after") else ""

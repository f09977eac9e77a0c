"""The judge: one image at a time, answered from the keyboard, in a v2 component (assets/components/judge.*)."""

from pathlib import Path
from typing import Any

import streamlit as st

_FOLDER = Path(__file__).resolve().parent.parent / "assets" / "components"
_COMPONENT = st.components.v2.component(
    "semsight_judge",
    html=(_FOLDER / "judge.html").read_text(encoding="utf-8"),
    css=(_FOLDER / "judge.css").read_text(encoding="utf-8"),
    js=(_FOLDER / "judge.js").read_text(encoding="utf-8"),
)


def outbox(key: str) -> dict[str, Any]:
    """What the browser has sent since its last acknowledged answer: {"events": [...], "have": [item ids]}."""
    state = st.session_state.get(key) or {}
    sent = state.get("outbox")
    return sent if isinstance(sent, dict) else {}


def judge(key: str, data: dict[str, Any]) -> None:
    """Draw the judge. `data`: owner, question, choices, undoKeys, items, answered, total, acknowledged, returned,
    problem, finished; read `outbox(key)` before, for what it answered.
    """
    _COMPONENT(key=key, data=data, on_outbox_change=lambda: None)

"""The zoo: presets, uploads and trained victims as one table, each with what is known of it."""

import math
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

import streamlit as st

from core.models.catalogue import CATALOGUE
from core.report.models import PRESET, TRAINED, UPLOAD, ModelEntry
from pages import _data_choice, _shared

ORIGINS = (TRAINED, UPLOAD, PRESET)  # in the table's order
PAGE = "pages/models.py"
SHOWN = 500  # rows of the table
NAME_WIDTH = 195  # pixels; the name of a victim of a campaign is long


def table(entries: Sequence[ModelEntry]) -> None:
    """The models, trained ones first, presets last; a row's link shows the model closely."""
    entries = sorted(entries, key=lambda one: ORIGINS.index(one.source))
    offered = [kind for kind in ORIGINS if any(one.source == kind for one in entries)]
    with st.container(horizontal=True, vertical_alignment="top"):
        picked = st.pills(
            "Origin",
            offered,
            selection_mode="multi",
            key="origin",
            bind="query-params",
        )
        wanted = st.text_input("Name, architecture or data set contains", key="find", bind="query-params").strip()
    found = [one for one in entries if (not picked or one.source in picked) and _matches(one, wanted)]
    if not found:
        st.caption("No model fits; clear the filter.")
        return
    rows = [row(one) for one in found[:SHOWN]]
    config = {
        "model": st.column_config.LinkColumn("model", display_text=r"#(.*)$", width=NAME_WIDTH),
        "architecture": st.column_config.TextColumn("architecture", width=205),
        "data set": st.column_config.TextColumn("data set", width=80),
        "parameters": st.column_config.NumberColumn("parameters", format="localized"),
        "accuracy": st.column_config.NumberColumn(
            "accuracy", format="%.0f %%", help="Share of held-out images that it classifies right."
        ),
        "n": st.column_config.NumberColumn("n", width=45, help="Held-out images that the accuracy was measured on."),
        "epsilon": st.column_config.NumberColumn(
            "ε", format="%.3g", help="Spent by DP-SGD, at the δ beside it; the unit is one image, added or removed."
        ),
        "delta": st.column_config.NumberColumn("δ", format="%.3g", help="Of DP-SGD: ε is stated at this δ."),
        "classes": st.column_config.NumberColumn("classes", width=55),
        "input": st.column_config.TextColumn("input", width=68),
        "runs": st.column_config.NumberColumn("runs", width=45, help="Attacks on it in this store."),
        "made": st.column_config.DatetimeColumn("made", format="D MMM HH:mm", width=90),
    }
    if all(one["epsilon"] is None for one in rows):
        rows = [{name: value for name, value in one.items() if name not in ("epsilon", "delta")} for one in rows]
    st.dataframe(
        rows, hide_index=True, column_config=config, placeholder="–", height="content" if len(rows) < 20 else 640,
        alt=f"{len(rows)} models with their origin, size, accuracy and runs",
    )  # fmt: skip
    if len(found) > SHOWN:
        st.caption(f"The first {SHOWN} of {_shared.count(len(found))}; narrow the filter to see others.")


def _matches(one: ModelEntry, wanted: str) -> bool:
    text = f"{one.name} {one.spec.architecture} {one.architecture} {data_words(one) or ''}".casefold()
    return wanted.casefold() in text


def row(one: ModelEntry) -> dict[str, object]:
    """One model as a row; what is not known is left empty."""
    return {
        "model": link(one),
        "accuracy": None if _known(one.accuracy) is None else 100 * one.accuracy,
        "n": one.held_out,
        "epsilon": epsilon(one),
        "delta": delta(one),
        "runs": len(one.runs),
        "origin": one.source,
        "architecture": architecture_words(one),
        "data set": data_words(one),
        "input": one.input,
        "classes": one.classes,
        "parameters": one.parameters,
        "made": None if one.created is None else datetime.fromtimestamp(one.created),
    }


def data_words(one: ModelEntry) -> str | None:
    """What it was trained on; of a preset, the faces that come with SemSight, where it was trained at all."""
    if one.source == PRESET:
        return "lfw" if one.spec.weights_sha256 else None
    found = one.facts.get("dataset")
    if found is None:
        return None
    kind, _, path = str(found).partition(":")
    return f"{kind} {Path(path).name}" if kind in _data_choice.FILES else str(found)


def link(one: ModelEntry) -> str:
    """Address of the model seen closely; its name stands behind the #, where the column shows it."""
    return f"models?model={quote(handle(one))}#{quote(one.name)}"


def handle(one: ModelEntry) -> str:
    """What ?model= calls it: its number in the store, or a preset's name."""
    return one.name if one.source == PRESET or one.id is None else str(one.id)


def origin_words(one: ModelEntry) -> str:
    """Where it comes from, in a word or two; of a trained one also the epoch, where it is not the last."""
    if one.source == TRAINED:
        return "trained here" if one.final or one.epoch is None else f"trained here, epoch {one.epoch}"
    return one.source


def architecture_words(one: ModelEntry) -> str:
    """The architecture's title with the arguments that differ from its defaults."""
    known = CATALOGUE.get(one.spec.architecture)
    usual = {} if known is None else {name: argument.default for name, argument in known.arguments.items()}
    own = {name: value for name, value in one.spec.arguments.items() if usual.get(name) != value}
    return one.architecture + "".join(f", {name} {value}" for name, value in own.items())


def epsilon(one: ModelEntry) -> float | None:
    """ε that its training spent; None where it was not trained with DP-SGD."""
    found = one.facts.get("epsilon")
    return None if found is None else float(found)


def delta(one: ModelEntry) -> float | None:
    """δ at which its ε is stated; None where it was not trained with DP-SGD."""
    found = None if epsilon(one) is None else (one.facts.get("recipe") or {}).get("dp_delta")
    return None if found is None else float(found)


def _known(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value

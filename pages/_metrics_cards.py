"""The Metrics page's explanations: one metric in full, all as cards, all as a table."""

from collections.abc import Sequence
from html import escape

import pandas as pd
import streamlit as st

from core.report.guide import KINDS, Note

AVAILABLE, IN_AUDITS, MISSING = "✓ available here", "✓ available in an audit", "✕ not available here"


def facts_html(note: Note) -> str:
    """The record of one metric as a list of facts."""
    facts = {
        "More leakage" if note.arrow else "Better fit": f"{note.arrow} {note.direction}".strip(),
        "Range": note.range,
        "Kind": f"{note.kind}: {KINDS[note.kind]}",
        "At least": note.minimum or "–",
        "Input": note.input,
        "Needs": note.needs or note.condition or "nothing",
        "Computed by": f"{note.library}; version {note.version}",
        "Source": note.source,
        "Here": f"{state_words(note)} {note.remedy}".strip(),
    }
    rows = "".join(f"<dt>{escape(term)}</dt><dd>{escape(words)}</dd>" for term, words in facts.items())
    return f'<dl class="facts">{rows}</dl>'


def here_words(note: Note) -> str:
    """Whether it works here."""
    return MISSING if not note.available else IN_AUDITS if note.condition else AVAILABLE


def state_words(note: Note) -> str:
    """Whether it works here; if not, why."""
    return here_words(note) if note.available else f"{MISSING}: {note.brief}"


def title_html(note: Note) -> str:
    """Short name with direction and unit, then the title."""
    marks = " ".join(part for part in (note.arrow, note.unit) if part)
    return f'<div class="metric-title"><b>{escape(note.short)}</b> <i>{escape(marks)}</i> {escape(note.title)}</div>'


def insight_html(note: Note) -> str:
    """The two sentences."""
    return (
        f'<p class="insight"><b>Sees</b> {escape(note.sees)}</p>'
        f'<p class="insight"><b>Misses</b> {escape(note.misses)}</p>'
    )


def cards_html(notes: Sequence[Note]) -> str:
    """All metrics as cards, in one grid."""
    return f'<div class="metric-cards">{"".join(card_html(note) for note in notes)}</div>'


def card_html(note: Note) -> str:
    """One metric: the two sentences, its record in a line, whether it works here."""
    record = [
        note.range,
        f"from {note.minimum}" if note.minimum else "",
        note.input,
        f"{note.library}, version {note.version}",
    ]
    state = "" if note.available else ' class="missing"'
    return (
        f'<article data-metric="{escape(note.name)}">'
        f"<header><b>{escape(note.short)}</b> <i>{escape(note.arrow)}</i><span>{escape(note.kind)}</span></header>"
        f"{insight_html(note)}<footer><div>{escape(note.direction)} · "
        f"{escape(' · '.join(part for part in record if part))}</div>"
        f"<div{state}>{escape(state_words(note))}</div></footer></article>"
    )


def table(notes: Sequence[Note]) -> None:
    """All metrics, a row each."""
    frame = pd.DataFrame(
        {
            "metric": [note.short for note in notes],
            "more leakage": [note.arrow or "–" for note in notes],
            "range": [note.range for note in notes],
            "kind": [note.kind for note in notes],
            "smallest": [note.minimum or "–" for note in notes],
            "input": [note.input for note in notes],
            "needs": [note.needs or "–" for note in notes],
            "computed by": [note.library for note in notes],
            "version": [note.version for note in notes],
            "here": [here_words(note) for note in notes],
            "title": [note.title for note in notes],
            "source": [note.source for note in notes],
        }
    ).set_index("metric")
    st.dataframe(frame, alt="All metrics with direction, range, kind, sizes, needs, library and availability")

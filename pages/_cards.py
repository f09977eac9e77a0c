"""Cards and tables of reconstructions: original, reconstruction and difference, scores, and the answer inline."""

from collections.abc import Mapping
from html import escape

import pandas as pd
import streamlit as st

from core.errors import UserError
from core.labels.inline import answer_inline
from core.labels.protocols import PROTOCOLS
from core.metrics.registry import METRICS
from core.report.names import NEAREST, arrow, nearest_words, short_name, unit
from core.report.pictures import difference_png
from core.report.records import Card, Score
from pages import _shared
from pages._shared import number

ANSWER_WORDS = {"yes": "recognisable", "no": "not", "unsure": "unsure"}


@st.cache_data(show_spinner=False, max_entries=256)
def _difference(home: str, original: str, reconstruction: str) -> str:
    artifacts = _shared.get_store().artifacts
    return _shared.data_url(difference_png(artifacts.read_bytes(original), artifacts.read_bytes(reconstruction)))


def draw_card(card: Card, sort: str, show_scores: bool, judged: bool) -> None:
    """One card. `judged`: people judge this kind of reconstruction (not a control).

    The answer is read from the session, where the page put it: the card is a fragment and asks the store nothing.
    """
    given = st.session_state.get(answer_key(card.reconstruction))
    visible = show_scores or given is not None or not judged
    with st.container(border=True):
        st.html(_head(card, visible) + _trio(card) + (_scores(card, sort) if visible else _hidden()))
        if judged:
            st.segmented_control(
                f"Is {card.name} recognisable?",
                list(ANSWER_WORDS),
                format_func=ANSWER_WORDS.__getitem__,
                key=answer_key(card.reconstruction),
                label_visibility="collapsed",
                on_change=store_answer,
                args=(card.reconstruction,),
                width="stretch",
            )


def answer_key(reconstruction: int) -> str:
    """Where the session holds the answer of this card."""
    return f"answer_{reconstruction}"


def recall_answers(cards: tuple[Card, ...], mine: Mapping[int, str]) -> None:
    """Put the annotator's standing answers where the cards of this page look for them."""
    for card in cards:
        st.session_state[answer_key(card.reconstruction)] = mine.get(card.reconstruction)


def store_answer(reconstruction: int) -> None:
    """Callback of a card: store the answer at once, not blind (the original is in view); deselecting takes it back."""
    given = st.session_state.get(answer_key(reconstruction))
    try:
        answer_inline(_shared.get_store(), reconstruction, _shared.current_annotator(), given)
    except UserError as error:
        st.session_state[answer_key(reconstruction)] = None
        st.toast(_shared.plain(str(error)), icon=":material/error:")
        return
    st.rerun([f"card_{reconstruction}", "verdict"])


def wording() -> str:
    """The question that the cards ask."""
    return PROTOCOLS["recognisable"].wording


def table(cards: tuple[Card, ...], metrics: tuple[str, ...], hidden: set[int]) -> None:
    """The page as a table: thumbnails, scores with direction and unit.

    Scores and losses of `hidden` are left empty; a column of words says of each row what is hidden or not scored.
    """
    rows = [_row(card, metrics, card.reconstruction in hidden) for card in cards]
    config: dict[str, object] = {
        "original": st.column_config.ImageColumn("original", width="small"),
        "reconstruction": st.column_config.ImageColumn("reconstruction", width="small"),
        "loss": st.column_config.NumberColumn("loss", format="%.3g"),
    }
    for name in metrics:
        config[name] = st.column_config.NumberColumn(_shared.metric_label(name), format="%.4g", help=_explain(name))
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        column_config=config,
        row_height=52,
        placeholder="–",
        alt=f"Table of {len(rows)} reconstructions with their scores",
    )


def _row(card: Card, metrics: tuple[str, ...], hidden: bool) -> dict[str, object]:
    row: dict[str, object] = {
        "original": _shared.image_url(card.original_sha, 64) if card.original_sha else None,
        "reconstruction": _shared.image_url(card.image_sha, 64),
        "name": card.name,
        "label": card.label,
        "scores": _missing_words(card, metrics, hidden),
        "loss": None if hidden else card.loss,
    }
    empty = Score(None)
    values = {name: None if hidden else card.scores.get(name, empty).value for name in metrics}
    paired = {"pairing": nearest_words(card.pairing_cost)} if card.pairing_method == NEAREST else {}
    return row | values | {"status": card.status} | paired


def _missing_words(card: Card, metrics: tuple[str, ...], hidden: bool) -> str:
    """Why cells of a row are empty: hidden, or not scored; "" where none is."""
    if hidden:
        return "hidden until you answer"
    empty = Score(None)
    missing = [short_name(name) for name in metrics if card.scores.get(name, empty).value is None]
    return f"not scored: {', '.join(missing)}" if missing else ""


def _head(card: Card, visible: bool) -> str:
    label = card.class_name or (f"label {card.label}" if card.label is not None else "no original")
    drawn = ", drawn" if card.label_source == "drawn" else ""
    fit = f"loss {number(card.loss)}, " if visible else ""
    title = f"{fit}{card.iterations} iterations, restart {card.restart}"
    status = "" if card.status == "ok" else f'<div class="status">{escape(card.status)}</div>'
    if card.pairing_method == NEAREST:
        status += f'<div class="status">{escape(nearest_words(card.pairing_cost))}</div>'
    return (
        f'<div class="card-head"><b title="{escape(title)}">{escape(card.name)}</b>'
        f"<span>{escape(label + drawn)}</span></div>{status}"
    )


def _trio(card: Card) -> str:
    figures = []
    if card.original_sha:
        figures.append(_shared.picture(card.original_sha, f"Original {card.name}", caption="original"))
    figures.append(_shared.picture(card.image_sha, f"Reconstruction of {card.name}", caption="reconstruction"))
    if card.original_sha:
        home = str(_shared.settings().home)
        url = _difference(home, card.original_sha, card.image_sha)
        alt = f"Absolute difference of {card.name} and its reconstruction, black where equal"
        figures.append(_shared.figure(url, alt, caption="difference"))
    return f'<div class="trio">{"".join(figures)}</div>'


def _scores(card: Card, sort: str) -> str:
    if not card.scores:
        return '<div class="hidden-scores">Not scored yet.</div>'
    known = [name for name in METRICS if name in card.scores]
    known += sorted(set(card.scores) - set(known))
    rows = "".join(
        _score_row(name, value, name == sort) for name in known if (value := card.scores[name].value) is not None
    )
    return f'<table class="scores">{rows}</table>{_unscored(card, known)}'


def _score_row(name: str, value: float, sorted_by: bool) -> str:
    record = METRICS.get(name)
    kind = " ".join(
        w for w in ("sorted" if sorted_by else "", "diagnostic" if record and record.diagnostic else "") if w
    )
    label = f'<th title="{escape(_explain(name))}">{escape(short_name(name))} {arrow(name)}</th>'
    return f'<tr class="{kind}">{label}<td>{number(value)}</td><td class="unit">{escape(unit(name))}</td></tr>'


def _unscored(card: Card, known: list[str]) -> str:
    """The metrics without a value, folded away with their reasons."""
    missing = [name for name in known if card.scores[name].value is None]
    if not missing:
        return ""
    reasons = "".join(f"<li>{escape(short_name(n))}: {escape(card.scores[n].reason)}</li>" for n in missing)
    return f'<details class="unscored"><summary>{len(missing)} not scored</summary><ul>{reasons}</ul></details>'


def _hidden() -> str:
    return '<div class="hidden-scores">Scores are hidden until you answer.</div>'


def _explain(name: str) -> str:
    record = METRICS.get(name)
    if record is None:
        return "A metric that this version does not know."
    if record.diagnostic:
        return f"{record.title}: a diagnostic of the attack's fit, never leakage."
    return f"{record.title}: {record.direction} means more leakage; {record.source}"


def answered_ids(mine: Mapping[int, str], cards: tuple[Card, ...]) -> set[int]:
    """The reconstructions of this page that the annotator has answered."""
    return {card.reconstruction for card in cards if card.reconstruction in mine}

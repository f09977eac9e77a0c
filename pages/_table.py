"""A page of reconstructions as a table: thumbnails, scores with direction and unit, percentiles."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from core.errors import UserError
from core.report.names import NEAREST, arrow, nearest_words, short_name, without_loss
from core.report.records import Card, Score
from pages import _shared
from pages._cards import label_words
from pages._pictures import original_url
from pages._scores import explain

NOTHING = Score(None)


def table(cards: Sequence[Card], metrics: Sequence[str], hidden: set[int]) -> None:
    """Scores and losses of `hidden` are left empty; a column of words says of each row what is hidden or not scored."""
    config = _pictures()
    for name in metrics:
        config[name] = st.column_config.NumberColumn(_shared.metric_label(name), format="%.4g", help=explain(name))
        if arrow(name):
            config[f"{name} %"] = _percentile(short_name(name))
    rows = [_row(card, metrics, card.reconstruction in hidden) for card in cards]
    _draw(rows, config, f"Table of {len(rows)} reconstructions with their scores and percentiles")


def beside_table(cards: Sequence[Card], others: dict[int, Card], metrics: Sequence[str], hidden: set[int]) -> None:
    """Both runs in paired columns, metric by metric; rows of `hidden` keep their scores to themselves."""
    config = _pictures()
    config["other"] = st.column_config.ImageColumn("other run", width="small")
    pairs = [(card, others[card.reconstruction]) for card in cards if card.reconstruction in others]
    runs = (pairs[0][0].run, pairs[0][1].run) if pairs else (0, 0)
    for name in metrics:
        for run in runs:
            label = f"{_shared.metric_label(name)} · run {run}"
            config[f"{name} {run}"] = st.column_config.NumberColumn(label, format="%.4g", help=explain(name))
    rows = []
    for here, there in pairs:
        row = _start(here) | {"other": _thumb(there.image_sha), "name": here.name, "label": label_words(here)}
        closed = here.reconstruction in hidden
        row["scores"] = "hidden until you answer both" if closed else ""
        for name in metrics:
            for run, card in zip(runs, (here, there), strict=True):
                row[f"{name} {run}"] = None if closed else card.scores.get(name, NOTHING).value
        rows.append(row)
    _draw(rows, config, f"Table of {len(rows)} originals with the scores of runs {runs[0]} and {runs[1]}")


def _draw(rows: list[dict[str, object]], config: dict[str, object], alt: str) -> None:
    if not any(row["scores"] for row in rows):  # nothing is hidden or unscored, so there is nothing to say of it
        rows = [{name: value for name, value in row.items() if name != "scores"} for row in rows]
    st.dataframe(
        pd.DataFrame(rows), hide_index=True, column_config=config, row_height=52, placeholder="–", alt=alt,
        height="content",
    )  # fmt: skip


def _pictures() -> dict[str, object]:
    return {
        "original": st.column_config.ImageColumn("original", width="small", pinned=True),
        "reconstruction": st.column_config.ImageColumn("reconstruction", width=110, pinned=True),
        "loss": st.column_config.NumberColumn("loss", format="%.3g"),
    }


def _percentile(title: str) -> object:
    return st.column_config.ProgressColumn(
        "percentile", min_value=0, max_value=100, format="%d", width="small",
        help=f"Percentile of {title} in this run: 100 leaks most, ties count half.",
    )  # fmt: skip


def _thumb(sha: str) -> str | None:
    try:
        return _shared.image_url(sha, 64)
    except UserError:
        return None


def _start(card: Card) -> dict[str, object]:
    try:
        original = original_url(card, 64)
    except UserError:
        original = None
    return {"original": original, "reconstruction": _thumb(card.image_sha)}


def _row(card: Card, metrics: Sequence[str], hidden: bool) -> dict[str, object]:
    row = _start(card) | {
        "name": card.name,
        "label": label_words(card),
        "scores": _missing_words(card, metrics, hidden),
        "loss": None if hidden else card.loss,
    }
    for name in metrics:
        score = NOTHING if hidden else card.scores.get(name, NOTHING)
        row[name] = score.value
        if arrow(name):
            row[f"{name} %"] = None if score.percentile is None else round(score.percentile)
    paired = {"pairing": nearest_words(card.pairing_cost)} if card.pairing_method == NEAREST else {}
    return row | {"status": without_loss(card.status) if hidden else card.status} | paired


def _missing_words(card: Card, metrics: Sequence[str], hidden: bool) -> str:
    """Why cells of a row are empty: hidden, or not scored; "" where none is."""
    if hidden:
        return "hidden until you answer"
    missing = [short_name(name) for name in metrics if card.scores.get(name, NOTHING).value is None]
    return f"not scored: {', '.join(missing)}" if missing else ""

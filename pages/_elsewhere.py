"""The part of the Correlations page that shows tables made elsewhere, in the published human-study layout."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from core.errors import UserError
from core.labels.imports import import_table, imported, read_imported
from core.metrics.registry import directions
from core.report.elsewhere import MEANING, metric_table, people_table, settings_words
from core.statistics.human_table import correlate_table
from core.storage.store import Store
from pages._links import or_usual
from pages._shared import query_number, user_errors

RESAMPLES = 1000  # as `python -m core correlate`


@st.cache_data(show_spinner="Computing …", max_entries=16)
def cached_table(_store: Store, url: str, table_id: int, resamples: int) -> dict[str, Any]:
    """The figures of one imported table; tables never change, so their id is the key."""
    return correlate_table(read_imported(_store, table_id)[1], resamples=resamples, directions=directions())


def made_elsewhere(store: Store) -> None:
    """Upload, list and show tables. They are never merged with the store's own results."""
    st.subheader("A table made elsewhere", anchor=False)
    st.caption(
        "A CSV in the published human-study layout: config, image_id, true_class, annotator_1 …, then scores under "
        "their publisher's names. It is kept apart: none of its rows enters the plot above."
    )
    with user_errors():
        file = st.file_uploader("Human-study table (CSV)", type=[".csv"], key="table_file", max_upload_size=64)
        if file is not None and st.session_state.get("table_taken") != file.file_id:
            st.session_state["table"] = import_table(store, file.name, file.getvalue(), directions=directions())
            st.session_state["table_taken"] = file.file_id
        tables = {table.id: table for table in imported(store)}
    asked = or_usual(lambda: _asked(tables), 0)
    if not tables:
        return
    with user_errors():
        st.session_state.setdefault("table", asked)
        names = {0: "none"} | {one.id: f"{one.id}: {one.name} ({one.rows} rows)" for one in tables.values()}
        with st.container(horizontal=True, vertical_alignment="bottom"):
            picked = st.selectbox("Table", list(names), key="table", format_func=lambda one: names[one])
            resampled = st.toggle(
                "with intervals (takes some seconds)",
                help=f"Two-way bootstrap over originals and annotators, {RESAMPLES} resamples, as on the command line.",
            )
        keep_link(table=str(picked or ""))
        if picked:
            show_table(cached_table(store, store.settings.database_url, picked, RESAMPLES if resampled else 0))


def _asked(tables: Mapping[int, Any]) -> int:
    """The table that the link names, 0 for none; UserError for one that is not there."""
    asked = query_number("table")
    if asked is not None and asked not in tables:
        raise UserError(f"There is no imported table {asked}; pick one from the list or upload it again.")
    return asked or 0


def show_table(result: Mapping[str, Any]) -> None:
    """Every figure of `python -m core correlate` for this table."""
    for table, alt in (
        (metric_table(result), "Correlation of each metric with what people recognised"),
        (people_table(result), "Agreement between annotators, and the human reference"),
    ):
        right = {name: st.column_config.TextColumn(alignment="right") for name in table.columns}
        st.dataframe(table, column_config=right, alt=alt, width="content")
    st.caption(
        f"n = {result['n']}, unscored {result['unscored']}. {MEANING} Scores are oriented: higher means more leakage."
    )
    st.caption(settings_words(result))


def keep_link(**values: str) -> None:
    """Make the address reopen this view; an empty value takes its name out."""
    for name, value in values.items():
        if value:
            st.query_params[name] = value
        elif name in st.query_params:
            del st.query_params[name]

"""A run's scores in one row a metric, and the figures over all its pictures at once."""

from collections.abc import Sequence
from html import escape

import streamlit as st

from core.report.beside import Sharing, differences, duels
from core.report.columns import run_table
from core.report.groups import DIAGNOSTICS, group, in_order
from core.report.names import arrow, short_name, unit
from core.report.present import present_mark
from core.report.records import Query
from core.report.runs import changes, run
from core.report.sets import SetScore, set_scores
from core.report.summary import MetricSummary, run_summary
from pages import _shared
from pages._scores import HIDDEN, duels_html, explain
from pages._shared import count, number

MOST_DIFFERENCES = 6
COUNTERS = ("scores", "reconstructions")
HEADLINE = ("psnr", "ssim", "lpips_alex", "classifier_probability")


@st.cache_data(show_spinner=False, max_entries=64)
def _rows(where: str, run: int, role: str, reference: str, counters: tuple[int, ...]) -> tuple[MetricSummary, ...]:
    return run_summary(run_table(_shared.get_store(), run, role, reference))


@st.cache_data(show_spinner=False, max_entries=64)
def _sets(where: str, run: int, reference: str, counters: tuple[int, ...]) -> tuple[SetScore, ...]:
    return set_scores(_shared.get_store(), run, reference)


def _where() -> tuple[str, tuple[int, ...]]:
    """What the figures depend on: the store with the metrics as they are now, and its counters."""
    store = _shared.get_store()
    where = f"{store.settings.home} {store.settings.database_url} {present_mark(store.settings)}"
    return where, changes(store, COUNTERS)


def summary_panel(query: Query, shown: Sequence[str], least: int = 0) -> None:
    """The run in one row a metric, those of `shown` first; the set metrics beside them.

    least: figures over fewer scores are hidden, see `Look.least`.
    """
    where, counters = _where()
    rows = {row.metric: row for row in _rows(where, query.run, query.role, query.reference, counters)}
    sets = _sets(where, query.run, query.reference, counters) if query.role == "attack" else ()
    sets = tuple(one for one in sets if one.n >= least or one.value is None)
    names = [name for name in in_order(rows) if rows[name].n]
    if not names and not sets:
        return
    first = [name for name in names if name in shown] or names
    rest = [name for name in names if name not in first]
    title = "Scores of the run" if query.role == "attack" else f"Scores of the control: {query.role}"
    top = [rows[name] for name in first]
    with st.expander(f"**{title}**{_headline(top, least)}", icon=":material/table_chart:"):
        html = _table(top, least) if first else ""
        if rest:
            words = f"{len(rest)} more metric{'' if len(rest) == 1 else 's'}"
            folded = _table([rows[name] for name in rest], least)
            html += f'<details class="more"><summary>{words}</summary>{folded}</details>'
        st.html(html + sets_html(sets))


def _headline(rows: Sequence[MetricSummary], least: int = 0) -> str:
    """The medians that are read first, in a line; "" where there is none."""
    told = [
        f"{short_name(row.metric)} {arrow(row.metric)} {number(row.median)}{' ' + unit(row.metric)}".rstrip()
        for row in rows
        if row.metric in HEADLINE and row.median is not None and row.n >= least
    ]
    return _shared.plain(f" · median {' · '.join(told)}") if told else ""


def _table(rows: Sequence[MetricSummary], least: int = 0) -> str:
    head = (
        '<tr class="head"><th>metric, ↑ ↓ more leakage</th><td>median</td><td>mean without ∞</td>'
        "<td>PSNR of mean MSE</td><td>n</td><td>infinite</td><td>unscored</td></tr>"
    )
    body = "".join(_row(row, least) for row in rows)
    return f'<div class="wide"><table class="scores summary">{head}{body}</table></div>'


def _row(row: MetricSummary, least: int = 0) -> str:
    """One metric. Where cards hide their scores, no figure is over fewer than `least` of them."""
    suffix = f" {unit(row.metric)}" if unit(row.metric) else ""
    kind = "diagnostic" if group(row.metric) == DIAGNOSTICS else ""
    few, few_finite = row.n < least, 0 < row.n - row.infinite < least
    cells = (
        HIDDEN if few else f"{number(row.median)}{suffix}",
        HIDDEN if few or few_finite else f"{number(row.mean)}{suffix if row.mean is not None else ''}",
        "" if row.of_mean_error is None else HIDDEN if few or few_finite else f"{number(row.of_mean_error)}{suffix}",
        count(row.n),
        HIDDEN if few else count(row.infinite),
        count(row.unscored),
    )
    return (
        f'<tr class="{kind}"><th title="{escape(explain(row.metric))}">{escape(short_name(row.metric))} '
        f"{arrow(row.metric)}{' (diagnostic)' if kind else ''}</th>"
        + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        + "</tr>"
    )


def sets_html(found: Sequence[SetScore]) -> str:
    """Set metrics: one figure over all pictures of the run, or of its setting; those without one are folded away."""
    valued = [one for one in found if one.value is not None]
    head = '<tr class="head"><th>over all pictures at once</th><td>value</td><td>n</td><td class="left">over</td></tr>'
    rows = "".join(_set(one) for one in valued)
    table = f'<div class="wide"><table class="scores summary">{head}{rows}</table></div>' if valued else ""
    return table + _warnings(valued) + _without(found)


def _warnings(valued: Sequence[SetScore]) -> str:
    """Each warning once, with the metrics that it is about."""
    warned: dict[str, dict[str, None]] = {}
    for one in valued:
        if one.warning:
            warned.setdefault(one.warning, {})[short_name(one.metric)] = None
    return "".join(
        f'<div class="status">⚠ {escape(", ".join(names))}: {escape(text)}</div>' for text, names in warned.items()
    )


def _without(found: Sequence[SetScore]) -> str:
    """The set metrics without a value, each reason once."""
    reasons: dict[str, dict[str, None]] = {}
    for one in found:
        if one.value is None:
            reasons.setdefault(one.reason, {})[short_name(one.metric)] = None
    if not reasons:
        return ""
    count_of = len({name for names in reasons.values() for name in names})
    lines = "".join(f"<li>{escape(', '.join(names))}: {escape(reason)}</li>" for reason, names in reasons.items())
    words = f"{count_of} set metric{'' if count_of == 1 else 's'} not scored"
    return f'<details class="unscored"><summary>{words}</summary><ul>{lines}</ul></details>'


def _set(one: SetScore) -> str:
    mark = "↑" if one.direction == "higher" else "↓"
    over = "this run" if one.scope == "run" else f"its setting, {len(one.runs)} runs"
    warned = " ⚠" if one.warning else ""
    title = f"{one.title}: {one.direction} means more leakage; asks for {one.minimum_sample} pictures or more"
    return (
        f'<tr><th title="{escape(title)}">{escape(short_name(one.metric))} {mark}{warned}</th>'
        f'<td>{number(one.value)}</td><td>{count(one.n)}</td><td class="left">{escape(over)}</td></tr>'
    )


# --- two runs ---------------------------------------------------------------------------------------------
def duel_panel(query: Query, other: Sharing, least: int = 0) -> None:
    """The run against the one beside it, over the originals that both attacked; `least` as for `summary_panel`."""
    store = _shared.get_store()
    here = run_table(store, query.run, query.role, query.reference)
    there = run_table(store, other.run, query.role, query.reference)
    with st.container(border=True, key="duels"):
        st.markdown(f"**Run {query.run} against run {other.run}**, over the {count(other.common)} originals of both")
        differ = differences(run(store, query.run).payload, run(store, other.run).payload)
        told = "; ".join(differ[:MOST_DIFFERENCES]) or "nothing: the same was asked for twice"
        st.caption(_shared.plain(f"Run {query.run} / run {other.run} differ in {told}."))
        found = duels(here, there)
        if not found:
            st.caption("Nothing here is scored yet.")
            return
        st.html(duels_html(found, query.run, other.run, least))

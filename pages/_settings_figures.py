"""Beside the table of settings: how each measure's ranking agrees with people's, and settings as points."""

from html import escape

import streamlit as st

from core.errors import UserError
from core.report.frames import spread_out
from core.report.groups import two_measures
from core.report.settings_records import PEOPLE, SHARE, SettingColumn, SettingRow, SettingsTable, value_of
from core.statistics.few import RankTest
from pages._elsewhere import keep_link
from pages._plot import Axis, Trace, plot
from pages._shared import LABEL_PAGE, image_url, metric_label, number, percent, plain

PLOT = "settings_plot"


def label(column: SettingColumn) -> str:
    """A column's short name with direction and unit."""
    if column.kind == "metric":
        return metric_label(column.name)
    if column.kind == "people":
        return column.title
    return f"{column.title} {'↑' if column.direction == 'higher' else '↓'}"


# --- agreement --------------------------------------------------------------------------------------------
def agreement_panel(table: SettingsTable) -> None:
    """Each measure's Kendall τ-b and Spearman ρ with people's ranking, best first."""
    st.subheader("Which measure ranks the settings as people do?", anchor=False)
    st.caption(plain(table.agreement_words))
    if not table.agreement:
        st.page_link(LABEL_PAGE, label="Label some", icon=":material/keyboard:")
        return
    st.html(agreement_html(table))
    methods = sorted({test.method for one in table.agreement for test in (one.tau, one.rho) if test.method})
    st.caption(
        f"+1: the same order of leakage, −1: the opposite. p: two-sided, by permutation ({'; '.join(methods)}). "
        "The line spans the values when one setting is left out at a time. Measures are not independent of each other, "
        "and with many of them some p is small by chance."
    )


def agreement_html(table: SettingsTable) -> str:
    """A row a measure: τ-b drawn on a line from −1 to 1, and the numbers."""
    order = sorted(
        table.agreement, key=lambda one: -2.0 if one.tau.estimate is None else one.tau.estimate, reverse=True
    )
    rows = []
    for one in order:
        name = f'<th scope="row">{escape(label(table.column(one.column)))}</th>'
        if one.tau.estimate is None:
            rows.append(
                f'<tr>{name}<td colspan="6" class="left">{escape(one.tau.reason)}</td><td>{one.tau.n}</td></tr>'
            )
            continue
        cells = (
            f'<td class="line">{_line(one.tau)}</td><td>{_signed(one.tau.estimate)}</td><td>{number(one.tau.p, 2)}</td>'
        )
        cells += f"<td>{_span(one.tau)}</td><td>{_signed(one.rho.estimate)}</td><td>{number(one.rho.p, 2)}</td>"
        rows.append(f"<tr>{name}{cells}<td>{one.tau.n}</td></tr>")
    head = (
        '<tr class="head"><th>measure</th><td class="line"><span>−1</span><span>0</span><span>+1</span></td>'
        "<td>Kendall τ-b</td><td>p</td><td>one left out</td><td>Spearman ρ</td><td>p</td><td>settings</td></tr>"
    )
    return f'<div class="wide"><table class="scores summary agreement">{head}{"".join(rows)}</table></div>'


def _line(test: RankTest) -> str:
    """A dot at the estimate on a line from −1 to 1, with the range of one setting left out."""
    at = 50 * (1 + (test.estimate or 0.0))
    low, high = (50 * (1 + (at_ if at_ is not None else 0.0)) for at_ in (test.low, test.high))
    bar = "" if test.low is None else f'<i style="left:{low:.1f}%;width:{max(0.0, high - low):.1f}%"></i>'
    return f'<div class="forest" aria-hidden="true"><u></u>{bar}<b style="left:{at:.1f}%"></b></div>'


def _span(test: RankTest) -> str:
    return "–" if test.low is None else f"{_signed(test.low)} to {_signed(test.high)}"


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.2f}".replace("-", "−")


# --- the plot ---------------------------------------------------------------------------------------------
def plot_panel(table: SettingsTable, least: int) -> None:
    """Settings as points: a measure against people, or against another measure where nobody has answered."""
    columns = [one for one in table.columns if one.kind != "people" and not one.diagnostic]
    rows = [row for row in table.rows if row.whole and (row.reconstructions or 0) >= least]
    if not columns or len(rows) < 2:
        return
    answered = any(value_of(row, table.column(table.against), table.statistic) is not None for row in rows)
    st.subheader(f"Settings against {'people' if answered else 'a second measure'}", anchor=False)
    by_name = {one.name: one for one in table.columns}
    names = [one.name for one in columns]
    seconds = [*(PEOPLE if answered else ()), *names]
    across, up = two_measures(one.name for one in columns if one.kind == "metric") or (names[0], names[-1])
    default = table.against if answered else up
    with st.container(horizontal=True, vertical_alignment="bottom"):
        first = _pick("Measure →", "x", names, across, by_name)
        second = _pick("against ↑", "y", seconds, default, by_name)
    keep_link(x="" if first == across else first, y="" if second == default else second)
    _draw(table, rows, by_name[first], by_name[second])


def _pick(title: str, name: str, options: list[str], default: str, columns: dict[str, SettingColumn]) -> str:
    """A list that starts from the link where that names one of its options."""
    key = f"settings_{name}"
    if st.session_state.get(key) not in options:
        wanted = st.query_params.get(name, default)
        st.session_state[key] = wanted if wanted in options else default
    return str(st.selectbox(title, options, key=key, format_func=lambda one: label(columns[one])))


def _draw(table: SettingsTable, rows: list[SettingRow], x: SettingColumn, y: SettingColumn) -> None:
    found = [(row, value_of(row, x, table.statistic), value_of(row, y, table.statistic)) for row in rows]
    points = [(row, first, second) for row, first, second in found if first is not None and second is not None]
    places, edge_x = spread_out([first for _, first, _ in points])
    heights, edge_y = spread_out([second for _, _, second in points])
    ids = [row.place for row, _, _ in points]
    plot(
        [Trace("settings", f"settings ({len(ids)})", ids, places, heights, "--st-primary-color", "circle")],
        _axis(x),
        _axis(y),
        key=PLOT,
        alt=f"Scatter plot of {len(ids)} settings: {label(x)} against {label(y)}, more leakage to the right and up. "
        + "; ".join(f"{row.title}: {_said(x, first)}, {_said(y, second)}" for row, first, second in points[:20]),
        revision=f"{x.name}|{y.name}|{table.statistic}",
        details={row.place: _detail(row, x, first, y, second) for row, first, second in points},
        height=380,
    )
    missing = len(rows) - len(points)
    told = [f"{missing} settings lack one of the two."] if missing else []
    told += ["An infinite figure stands at the plot's edge."] if edge_x or edge_y else []
    if told:
        st.caption(" ".join(told))


def _axis(column: SettingColumn) -> Axis:
    if column.kind == "people":
        named = "Share recognisable" if column.name == SHARE else column.title
        return Axis(f"{named} (more leakage →)", range=(-0.06, 1.06), percent=True)
    unit = f" / {column.unit}" if column.unit else ""
    return Axis(f"{column.title}{unit} ({column.direction} = more leakage →)", column.direction == "lower")


def _said(column: SettingColumn, value: float) -> str:
    if column.kind == "people":
        return f"{column.title} {percent(value)}"
    return f"{column.title} {number(value)} {column.unit}".rstrip()


def _detail(row: SettingRow, x: SettingColumn, first: float, y: SettingColumn, second: float) -> dict[str, str]:
    found = {"image": "", "text": "\n".join([row.title, _said(x, first), _said(y, second)])}
    if row.pictures:
        try:
            found["image"] = image_url(row.pictures[0][1], 128)
        except UserError:
            found["image"] = ""  # its file is gone; the run's page says so
    return found

"""The table of settings as HTML: dense, ranks small beside the values. All text is escaped."""

from collections.abc import Sequence
from html import escape
from urllib.parse import quote

import streamlit as st

from core.errors import UserError
from core.report.settings_records import (
    PEOPLE,
    SHARE,
    SettingColumn,
    SettingRow,
    SettingsTable,
    set_of,
    value_of,
)
from core.report.settings_words import epsilon_words
from core.report.verdict_records import Verdict
from pages._annotator import NAME_KEY
from pages._shared import image_url, metric_label, number, percent

SIDE = 32  # CSS pixels of a picture in a row
STATE_WORDS = {
    "waiting": "◌ not run yet",
    "training": "◔ its victim is being trained",
    "queued": "◌ queued",
    "running": "◔ running",
    "paused": "‖ paused",
    "scoring": "◔ being scored",
    "failed": "✕ failed",
    "cancelled": "✕ cancelled",
}
KEY = (
    "Small number: rank, 1 leaks most; equal values share a place. ↑ ↓: the end that means more leakage. "
    "<b>Recognisable</b>: of the images with at least 3 answers, those that more than half recognise. "
    "<b>Recognition rate</b>: of all answers, those that recognise. Below each its 95 % interval."
)
VERDICT_MARKS = {"leaks": "▲", "nothing shown": "▽", "inconclusive": "?", "pending": "…"}


def table_html(table: SettingsTable, shown: Sequence[SettingColumn], order: Sequence[int], least: int) -> str:
    """The table: rows in this order, these columns; figures over fewer than `least` reconstructions are hidden."""
    epsilon = any(row.victim.epsilon is not None for row in table.rows)
    head = "".join(_head(column) for column in shown)
    fixed = (
        '<th scope="col">setting</th><th scope="col" class="left">verdict</th>'
        '<th scope="col" title="Share of held-out images that the victim gets right">'
        "accuracy</th>"
    )
    told = "Spent by DP-SGD in training the victim, at this δ; it hides whether this unit was among the images"
    fixed += f'<th scope="col" title="{told}">ε</th>' if epsilon else ""
    fixed += '<th scope="col" title="Original images attacked / reconstructions">images</th>'
    body = "".join(_row(table, place, shown, epsilon, least) for place in order)
    alt = f"{len(order)} settings by {len(shown)} measures; a rank of 1 leaks most"
    return (
        '<div class="settings-hint" aria-hidden="true">Swipe the table sideways: accuracy, people and scores →</div>'
        f'<div class="wide settings-wide" tabindex="0" role="region" aria-label="{alt}"><table class="settings">'
        f"<thead><tr>{fixed}{head}</tr></thead><tbody>{body}</tbody></table></div>"
        f'<div class="settings-key">{KEY}</div>'
    )


def _head(column: SettingColumn) -> str:
    if column.kind == "people":
        what = "of images" if column.name == SHARE else "of answers"
        return f'<th scope="col">{escape(column.title)} ↑<br><small>{what}</small></th>'
    kind = " (diagnostic)" if column.diagnostic else ""
    told = f"{column.title}: version {column.version}. {column.note}".strip()
    warned = " ⚠" if column.note else ""
    scope = "<br><small>whole set</small>" if column.kind == "set" else ""
    return f'<th scope="col" title="{escape(told)}">{escape(_label(column))}{kind}{warned}{scope}</th>'


def _label(column: SettingColumn) -> str:
    if column.kind == "set":
        return f"{column.title} {'↑' if column.direction == 'higher' else '↓'}"
    return metric_label(column.name)


def _row(table: SettingsTable, place: int, shown: Sequence[SettingColumn], epsilon: bool, least: int) -> str:
    row = table.rows[place]
    accuracy = "" if row.victim.accuracy is None else percent(row.victim.accuracy, row.victim.held_out)
    held = f"{row.victim.held_out:,} held-out images" if row.victim.held_out else "number of held-out images not known"
    of = f"<small>of {row.victim.held_out:,}</small>" if accuracy and row.victim.held_out else ""
    cells = f'<td class="bare" title="{held}">{accuracy}{of}</td>'
    if epsilon:
        cells += f"<td>{_epsilon(row)}</td>"
    if not row.runs:
        asked = "" if row.originals is None else f"{row.originals:,}"
        return f'<tr class="none">{_name(row)}<td></td>{cells}<td>{asked}</td><td colspan="{len(shown)}"></td></tr>'
    cells += f"<td>{_images(row)}</td>"
    hidden = (row.reconstructions or 0) < least
    cells += "".join(_cell(table, row, column, column.ranks[place], hidden) for column in shown)
    return f"<tr>{_name(row)}{_verdict(row, hidden)}{cells}</tr>"


def _epsilon(row: SettingRow) -> str:
    spent = row.victim.epsilon
    return "" if spent is None else escape(epsilon_words(number(spent), row.victim.delta, row.victim.unit))


def _images(row: SettingRow) -> str:
    made = "" if row.reconstructions is None else f"{row.reconstructions:,}"
    asked = "" if row.originals is None else f"{row.originals:,}"
    return made if made == asked else f"{asked} / {made}"


def _name(row: SettingRow) -> str:
    """The setting: title, where it stands, links to its runs, a few pictures."""
    parts = " · ".join(f"{name}: {value}" for name, value in row.parts.items() if value)
    links = "".join(
        f' <a href="reconstructions?run={run}{_me()}" target="_self">run {run}</a>' for run in row.runs[-3:]
    )
    more = f" and {len(row.runs) - 3} more" if len(row.runs) > 3 else ""
    wrong = " wrong" if row.state in ("failed", "cancelled") else ""
    state = f'<div class="state{wrong}">{STATE_WORDS[row.state]}</div>' if row.state in STATE_WORDS else ""
    reason = f'<div class="state wrong">{escape(row.reason)}</div>' if row.reason else ""
    nearest = ' <span title="Compared with the nearest original of its class">≈</span>' if row.nearest else ""
    return (
        f'<th scope="row" title="{escape(parts)}"><div class="title">{escape(row.title)}{nearest}</div>'
        f'{state}{reason}<div class="links">{_pictures(row)}{links}{more}</div></th>'
    )


def _me() -> str:
    """Who labels, for a link that loads the page anew."""
    name = st.query_params.get(NAME_KEY, "")
    return f"&{NAME_KEY}={quote(name)}" if name else ""


def _pictures(row: SettingRow) -> str:
    found = []
    for _, sha in row.pictures:
        try:
            url = image_url(sha, 64)
        except UserError:
            continue  # its file is gone; the run's page says so
        alt = f"A reconstruction of {escape(row.title)}"
        found.append(f'<img src="{url}" alt="{alt}" width="{SIDE}" height="{SIDE}">')
    return "".join(found)


def _cell(table: SettingsTable, row: SettingRow, column: SettingColumn, rank: int | None, hidden: bool) -> str:
    value = value_of(row, column, table.statistic)
    if column.name in PEOPLE:
        return _people(row, column, rank)
    if value is None:
        reason = row.unscored.get(column.name, "")
        found = set_of(row, column.name)
        reason = reason or (found.reason if found else "") or "not scored"
        return f'<td title="{escape(reason)}">–</td>'
    if hidden:
        return '<td title="Over fewer than 3 reconstructions">hidden</td>'
    return f'<td title="{escape(_behind(row, column))}">{number(value)}{_rank(rank, table)}{_missing(row, column)}</td>'


def _behind(row: SettingRow, column: SettingColumn) -> str:
    """What stands behind a figure, for its tooltip."""
    if column.kind == "set":
        found = set_of(row, column.name)
        if found is None:
            return ""
        over = "this run" if found.scope == "run" else f"{len(found.runs)} runs of the setting"
        other = row.setting_sets.get(column.name) if found.scope == "run" else None
        also = f" Over all runs of the setting: {number(other.value)}." if other and other.value is not None else ""
        return f"Over {found.n:,} pictures of {over}.{also} {found.warning}".strip()
    one = row.metrics[column.name]
    told = f"median {number(one.median)}, mean without ∞ {number(one.mean)}"
    if one.of_mean_error is not None:
        told += f", of the mean error {number(one.of_mean_error)} {column.unit}"
    return f"{told}; {one.n:,} scored, {one.infinite:,} infinite, {one.unscored:,} unscored"


def _missing(row: SettingRow, column: SettingColumn) -> str:
    """A line under a figure that not all reconstructions stand behind."""
    one = row.metrics.get(column.name) if column.kind == "metric" else None
    if one is None:
        return ""
    told = [f"{one.infinite:,} ∞"] if one.infinite else []
    told += [f"{one.unscored:,} unscored"] if one.unscored else []
    return f"<small>{', '.join(told)}</small>" if told else ""


def _people(row: SettingRow, column: SettingColumn, rank: int | None) -> str:
    said = row.people
    estimate = None if said is None else said.share if column.name == SHARE else said.rate
    if said is None or estimate is None or estimate.estimate is None:
        few = said is not None and said.undetermined
        told = f"{said.undetermined} undetermined" if few and said else "no answer"
        return f'<td title="Undetermined: fewer than 3 answers"><small>{told}</small></td>'
    interval = f"{percent(estimate.low)[:-2]} to {percent(estimate.high)}"
    what = (
        f"{said.recognisable} of {estimate.n} images"
        if column.name == SHARE
        else f"{estimate.n:,} answer{'' if estimate.n == 1 else 's'}"
    )
    open_ = f"<small>{said.undetermined} undetermined</small>" if column.name == SHARE and said.undetermined else ""
    title = f"95 % interval {interval} ({estimate.method}); {said.unlabelled} images without an answer"
    return (
        f'<td title="{escape(title)}">{percent(estimate.estimate)}{_rank(rank, None)}'
        f"<small>{what}</small><small>{interval}</small>{open_}</td>"
    )


def _rank(rank: int | None, table: SettingsTable | None) -> str:
    """The rank, small beside the value; empty space of its width without one, so that values stay aligned."""
    return f'<sup class="rank{" first" if rank == 1 else ""}">{"" if rank is None else rank}</sup>'


def _verdict(row: SettingRow, hidden: bool) -> str:
    if row.verdict is None:
        return "<td></td>"
    found = row.verdict.verdict
    if hidden and found.basis == "threshold":
        return '<td class="left"><small>hidden</small></td>'
    notes = " ".join(found.notes)
    words = f"{VERDICT_MARKS[found.outcome]} {found.outcome}"
    kind = found.outcome.replace(" ", "-")
    return f'<td class="left" title="{escape(notes)}"><b class="outcome {kind}">{words}</b>{_on(row, found)}</td>'


def _on(row: SettingRow, found: Verdict) -> str:
    """On what the verdict rests, and the controls."""
    if found.outcome == "pending":
        return "<small>nothing scored yet</small>"
    by = str(found.threshold) if found.basis == "threshold" else "people"
    beside = "" if row.verdict is None or row.verdict.blind else ", not blind"
    nobody = ", nobody answered" if found.basis == "threshold" else ""
    failed = [one.name for one in found.controls if one.failed]
    run = [one for one in found.controls if one.count]
    hold = "1 control holds" if len(run) == 1 else f"{len(run)} controls hold"
    controls = f"control fails: {failed[0]}" if failed else hold if run else "no control run"
    told = f"{found.leaked} of {found.judged} by {by}{beside}{nobody}"
    return f"<small>{escape(told)}</small><small>{escape(controls)}</small>"

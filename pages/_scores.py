"""Scores as HTML: grouped, with direction, unit and percentile; two runs side by side. All text is escaped."""

from collections.abc import Container, Sequence
from html import escape
from itertools import groupby

from core.metrics.registry import METRICS
from core.report.beside import Duel, better
from core.report.groups import DIAGNOSTICS, group, in_order
from core.report.names import arrow, short_name, unit
from core.report.records import Card, Score
from pages._shared import number

PERCENTILES = (
    "↑ ↓ say which way is more leakage. The bar is the score's percentile in this run: 100 leaks most, ties count half."
)


HIDDEN = "hidden"  # in place of a figure that would tell a score which its card hides


def explain(name: str) -> str:
    """What a metric is, for a tooltip."""
    record = METRICS.get(name)
    if record is None:
        return "A metric that this version does not know."
    if record.diagnostic:
        return f"{record.title}: a diagnostic of the attack's fit, never leakage."
    return f"{record.title}: {record.direction} means more leakage; {record.source}"


def scores_html(
    card: Card,
    shown: Sequence[str],
    scored: Container[str],
    marked: str = "",
    versions: dict[str, str] | None = None,
) -> str:
    """The card's scores: those of `shown` at once, the rest folded away, diagnostics in a block of their own.

    scored: metrics that the run has any score of; the others are named once for the page. marked: the metric that the
    page is sorted by. versions: adds a column with each metric's version.
    """
    if not card.scores:
        return '<div class="hidden-scores">Not scored yet.</div>'
    valued = [name for name in in_order(card.scores) if card.scores[name].value is not None]
    leaking = [name for name in valued if group(name) != DIAGNOSTICS]
    first = [name for name in leaking if name in shown]
    rest = [name for name in leaking if name not in shown]
    more = ""
    if rest:
        words = f"{len(rest)} more score{'' if len(rest) == 1 else 's'}" if first else f"{len(rest)} scores"
        more = f'<details class="more"><summary>{words}</summary>{_table(card, rest, marked, versions)}</details>'
    table = _table(card, first, marked, versions) if first else ""
    return table + more + diagnostics_html(card) + unscored_html(card, scored)


def _table(card: Card, names: Sequence[str], marked: str, versions: dict[str, str] | None) -> str:
    width = 4 if versions is None else 5
    rows = []
    if versions is not None:
        rows.append(
            '<tr class="head"><th>↑ ↓ more leakage</th><td>score</td><td></td><td>percentile</td><td>version</td></tr>'
        )
    for title, members in groupby(names, group):
        rows.append(f'<tr class="group"><th colspan="{width}" scope="rowgroup">{escape(title)}</th></tr>')
        rows += [_row(name, card.scores[name], name == marked, versions) for name in members]
    return f'<table class="scores">{"".join(rows)}</table>'


def _row(name: str, score: Score, marked: bool, versions: dict[str, str] | None) -> str:
    version = "" if versions is None else f'<td class="version">{escape(versions.get(name, ""))}</td>'
    return (
        f'<tr class="{"sorted" if marked else ""}"><th title="{escape(explain(name))}">{escape(short_name(name))} '
        f'{arrow(name)}</th><td>{number(score.value)}</td><td class="unit">{escape(unit(name))}</td>'
        f"{percentile_cell(score.percentile)}{version}</tr>"
    )


def percentile_cell(percentile: float | None) -> str:
    """A bar and its number; empty where there is no percentile."""
    if percentile is None:
        return '<td class="pct"></td>'
    whole = round(percentile)
    words = f"percentile {whole} of 100 in this run, 100 leaks most"
    return (
        f'<td class="pct" title="{words}" aria-label="{words}"><span class="bar"><i style="width:{whole}%"></i></span>'
        f"<b>{whole}</b></td>"
    )


def diagnostics_html(card: Card) -> str:
    """The diagnostics in a small block of their own: as they are, without direction or percentile."""
    names = [n for n in in_order(card.scores) if group(n) == DIAGNOSTICS and card.scores[n].value is not None]
    if not names:
        return ""
    cells = "".join(
        f'<span title="{escape(explain(n))}">{escape(short_name(n))} <b>{number(card.scores[n].value)}</b></span>'
        for n in names
    )
    return f'<div class="diagnostics"><em>diagnostics, not leakage</em>{cells}</div>'


def unscored_html(card: Card, scored: Container[str]) -> str:
    """The metrics without a value here, of those that others of the run have, folded away with their reasons."""
    missing = [name for name in in_order(card.scores) if card.scores[name].value is None and name in scored]
    if not missing:
        return ""
    reasons = "".join(f"<li>{escape(short_name(n))}: {escape(card.scores[n].reason)}</li>" for n in missing)
    return f'<details class="unscored"><summary>{len(missing)} not scored</summary><ul>{reasons}</ul></details>'


# --- two runs ---------------------------------------------------------------------------------------------
def beside_html(here: Card, there: Card, shown: Sequence[str], comparable: Container[str], marked: str = "") -> str:
    """Scores of both runs, of the metrics that can be compared; the one that leaks more is marked by an arrow."""
    valued = {name for card in (here, there) for name, score in card.scores.items() if score.value is not None}
    names = [n for n in in_order(valued) if group(n) != DIAGNOSTICS and n in comparable]
    first = [name for name in names if name in shown]
    rest = [name for name in names if name not in shown]
    table = _beside_table(here, there, first, marked)
    if rest:
        words = f"{len(rest)} more score{'' if len(rest) == 1 else 's'}"
        table += f'<details class="more"><summary>{words}</summary>{_beside_table(here, there, rest, marked)}</details>'
    return table


def _beside_table(here: Card, there: Card, names: Sequence[str], marked: str) -> str:
    head = (
        f'<tr class="head"><th>leaks more: ◀︎ ▶︎</th><td>run {here.run}</td><td></td><td class="left">run {there.run}'
        "</td></tr>"
    )
    rows = "".join(_beside_row(name, here, there, name == marked) for name in names)
    return f'<table class="scores beside">{head}{rows}</table>'


def _beside_row(name: str, here: Card, there: Card, marked: bool) -> str:
    first, second = here.scores.get(name, Score(None)), there.scores.get(name, Score(None))
    wins = better(name, first.value, second.value)
    mark = {"here": "◀︎", "there": "▶︎", "tie": "=", "": "–"}[wins]
    words = {"here": f"run {here.run} leaks more", "there": f"run {there.run} leaks more", "tie": "tie", "": "not both"}
    left = f'<td class="{"wins" if wins == "here" else ""}">{number(first.value)}</td>'
    right = f'<td class="left {"wins" if wins == "there" else ""}">{number(second.value)}</td>'
    return (
        f'<tr class="{"sorted" if marked else ""}"><th title="{escape(explain(name))}">{escape(short_name(name))} '
        f"{arrow(name)} <small>{escape(unit(name))}</small></th>{left}"
        f'<td class="mark" title="{words[wins]}" aria-label="{words[wins]}">{mark}</td>{right}</tr>'
    )


def duels_html(found: Sequence[Duel], here: int, there: int, least: int = 0) -> str:
    """One line a metric: in how many of the shared originals which run leaks more, and both medians.

    A line over fewer than `least` originals keeps its figures to itself.
    """
    order = {name: place for place, name in enumerate(in_order(duel.metric for duel in found))}
    rows = "".join(_duel(duel, least) for duel in sorted(found, key=lambda duel: order[duel.metric]))
    head = (
        f"<tr class='head'><th>metric</th><td>run {here} leaks more</td><td>run {there} leaks more</td><td>ties</td>"
        f"<td>of n</td><td>median, run {here}</td><td>median, run {there}</td></tr>"
    )
    return f'<div class="wide"><table class="scores summary">{head}{rows}</table></div>'


def _duel(duel: Duel, least: int) -> str:
    label = f'<th title="{escape(explain(duel.metric))}">{escape(short_name(duel.metric))} {arrow(duel.metric)}</th>'
    if duel.problem:
        return f'<tr>{label}<td colspan="6" class="left">not compared: {escape(duel.problem)}</td></tr>'
    if 0 < duel.n < least:
        return (
            f"<tr>{label}<td>{HIDDEN}</td><td>{HIDDEN}</td><td>{HIDDEN}</td><td>{duel.n}</td><td>{HIDDEN}</td>"
            f"<td>{HIDDEN}</td></tr>"
        )
    left, right = duel.here > duel.there, duel.there > duel.here
    suffix = f" {escape(unit(duel.metric))}" if unit(duel.metric) else ""
    return (
        f'<tr>{label}<td class="{"wins" if left else ""}">{"◀︎ " if left else ""}{duel.here}</td>'
        f'<td class="{"wins" if right else ""}">{duel.there}{" ▶︎" if right else ""}</td><td>{duel.ties}</td>'
        f"<td>{duel.n}</td><td>{number(duel.median_here)}{suffix}</td><td>{number(duel.median_there)}{suffix}</td></tr>"
    )

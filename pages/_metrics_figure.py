"""The Metrics page's figure: pictures × metrics, each cell a score and its rank of leakage; one metric's departures."""

from collections.abc import Sequence
from html import escape
from itertools import groupby

import streamlit as st

from core.metrics.registry import METRICS
from core.report.examples import SIDE, Example
from core.report.names import arrow, short_name, unit
from core.report.ranks import Cell, Departure, RankTable
from core.storage.artifacts import encode_png
from pages._shared import data_url, figure, number


@st.cache_data(show_spinner=False, max_entries=128)
def picture_url(name: str, key: str, _example: Example) -> str:
    """Data URL of one version of a bundled picture; the pictures of a version of SemSight never change."""
    return data_url(encode_png(_example.pixels))


def matrix(
    original: str, name: str, examples: Sequence[Example], table: RankTable, waiting: Sequence[str], chosen: str
) -> str:
    """The whole figure, in a box of its own that scrolls. original: data URL; waiting: metrics not scored yet."""
    rows = [row(metric, cells, examples, metric == chosen) for metric, cells in table.rows.items()]
    rows += [pending_row(metric, len(examples)) for metric in waiting]
    label = f"{len(examples)} versions of {name} and the rank that each metric gives them; 1 = says that most leaks"
    head = groups(examples) + heads(original, name, examples)
    return (
        f'<div class="ranks-box" role="region" tabindex="0" aria-label="{escape(label)}"><table class="ranks">'
        f"<thead>{head}</thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def groups(examples: Sequence[Example]) -> str:
    """The line over the pictures: how much a person sees of the original."""
    cells = "".join(
        f'<th scope="colgroup" colspan="{len(list(members))}">{escape(seen)}</th>'
        for seen, members in groupby(examples, lambda one: one.seen)
    )
    return f'<tr class="seen"><th>a person sees →</th>{cells}</tr>'


def first_of_group(examples: Sequence[Example], index: int) -> str:
    """The class of a cell that begins a group, else ""."""
    return " class=first" if index == 0 or examples[index].seen != examples[index - 1].seen else ""


def heads(original: str, name: str, examples: Sequence[Example]) -> str:
    """The original, then every version with its title."""
    first = figure(original, f"Original: {name}, {SIDE} by {SIDE} pixels", caption="original")
    cells = "".join(
        f'<th scope="col"{first_of_group(examples, index)} title="{escape(one.detail)}">'
        f"{figure(picture_url(name, one.key, one), f'{one.title}: {one.detail}', caption=one.title)}</th>"
        for index, one in enumerate(examples)
    )
    return f'<tr class="heads"><th class="original">{first}</th>{cells}</tr>'


def row(metric: str, cells: Sequence[Cell], examples: Sequence[Example], chosen: bool) -> str:
    """One metric's scores and ranks."""
    inside = "".join(cell_html(metric, cell, one.title) for cell, one in zip(cells, examples, strict=True))
    return f'<tr{" class=chosen" if chosen else ""} data-metric="{escape(metric)}">{row_head(metric)}{inside}</tr>'


def row_head(metric: str) -> str:
    """Short name, direction, unit."""
    words = " ".join(part for part in (arrow(metric), unit(metric)) if part)
    title = f"{METRICS[metric].title}: {METRICS[metric].direction} means more leakage"
    return f'<th scope="row" title="{escape(title)}">{escape(short_name(metric))} <span>{escape(words)}</span></th>'


def cell_html(metric: str, cell: Cell, title: str) -> str:
    """Rank and score; the shade says the rank again."""
    if cell.rank is None:
        return f'<td class="none" title="{escape(cell.reason)}">–</td>'
    value = " ".join(part for part in (number(cell.value), unit(metric)) if part)
    words = f"{short_name(metric)} of {title}: {value}, rank {cell.rank}"
    return (
        f'<td style="--lead:{100 * cell.lead:.0f}%" title="{escape(words)}">'
        f"<b>{cell.rank}</b><span>{number(cell.value)}</span></td>"
    )


def pending_row(metric: str, columns: int) -> str:
    """A metric whose scores are being computed."""
    return f'<tr class="pending">{row_head(metric)}{"<td>…</td>" * columns}</tr>'


def departures_html(name: str, examples: Sequence[Example], found: Sequence[Departure]) -> str:
    """The pictures on which the chosen metric departs most from the others, with the words."""
    items = "".join(
        f"<li>{figure(picture_url(name, examples[one.index].key, examples[one.index]), examples[one.index].detail, 72)}"
        f"<span>{escape(one.words)}</span></li>"
        for one in found
    )
    return f'<ul class="departures">{items}</ul>'

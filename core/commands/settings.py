"""`python -m core settings`: the table of settings on a terminal, or as CSV."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from core.commands.output import replacing

if TYPE_CHECKING:
    from core.report.settings_records import SettingColumn, SettingRow, SettingsTable

HELP = "Rank every setting of the store, or of a campaign, by what people recognise and by every score."
EXAMPLES = """Each figure is followed by its rank in brackets: 1 leaks most.

examples:
  python -m core settings
  python -m core settings --campaign 12 --csv settings.csv
  python -m core settings --metrics psnr,ssim,lpips_alex --statistic median
"""
WIDEST = 44  # characters of a setting's title


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to `parser`."""
    parser.add_argument("--campaign", type=int, metavar="ID", help="only this campaign's settings, in its plan's order")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write every figure to FILE too")
    parser.add_argument("--metrics", metavar="NAMES", help="columns, separated by commas; default: a few")
    parser.add_argument("--statistic", choices=("mean", "median"), default="mean", help="what ranks a setting")
    references = "compare with the attacked pixels, or with the picture before a defence on the input"
    parser.add_argument("--reference", choices=("attacked", "source"), default="attacked", help=references)
    parser.add_argument("--with-seen", action="store_true", help="count answers given beside the original too")


def run(arguments: argparse.Namespace) -> int:
    """Print the table; UserError for a campaign or a metric that there is not."""
    from core.report.settings_table import frame, settings_table
    from core.settings import load_settings
    from core.storage.store import open_store
    from core.tables import write_csv

    table = settings_table(
        open_store(load_settings()),
        campaign=arguments.campaign,
        reference=arguments.reference,
        blind_only=not arguments.with_seen,
        statistic=arguments.statistic,
    )
    columns = chosen_columns(table, arguments.metrics)
    if not table.rows:
        print("No setting has been attacked yet: start one on the Audit page, or a campaign.")
    else:
        print("\n".join(lines(table, columns)))
    if arguments.csv is not None:
        with replacing(arguments.csv) as file:
            file.write(write_csv(frame(table)))
        print(f"Wrote {len(table.rows)} settings to {arguments.csv}.", file=sys.stderr)
    return 0


def chosen_columns(table: "SettingsTable", names: str | None = None) -> "list[SettingColumn]":
    """People, and the columns asked for; a few where none are."""
    from core.metrics.registry import METRICS
    from core.metrics.sets import SET_METRICS
    from core.registry import look_up
    from core.report.groups import first_shown
    from core.report.settings_records import FEW_SCORES, PEOPLE

    by_name = {column.name: column for column in table.columns}
    if names is None:
        wanted = [*first_shown(table.metric_names, FEW_SCORES), *(name for name in ("fid", "kid") if name in by_name)]
    else:
        wanted = [name.strip() for name in names.split(",") if name.strip()]
    if not table.rows:  # nothing is scored yet, but a wrong name is one all the same
        for name in wanted:
            look_up({**METRICS, **SET_METRICS}, name, "metric")
        return []
    return [*(by_name[name] for name in PEOPLE), *(look_up(by_name, name, "score in this table") for name in wanted)]


def lines(table: "SettingsTable", columns: "Sequence[SettingColumn]") -> list[str]:
    """The table as text: aligned columns, the agreement with people, and the cautions."""
    marks = [f"{column.title} {'↑' if column.direction == 'higher' else '↓'}" for column in columns]
    head = ["setting", "state", "accuracy", "images", *marks, "verdict"]
    body = [_cells(table, place, columns) for place in range(len(table.rows))]
    widths = [max(len(row[i]) for row in [head, *body]) for i in range(len(head))]
    told = ["  ".join(_align(cell, widths[i], i, len(head)) for i, cell in enumerate(row)) for row in [head, *body]]
    told += ["", f"Rank in brackets: 1 leaks most. Scores: {table.statistic}.", *table.notes]
    told += [f"{row.title}: {row.reason}" for row in table.rows if row.reason]
    told += ["", f"Agreement with people: {table.agreement_words}"]
    for one in table.agreement:
        if one.tau.estimate is not None and one.rho.estimate is not None:
            title = table.column(one.column).title
            told.append(
                f"  {title:<24} τ-b {one.tau.estimate:+.2f} (p {one.tau.p:.2g})   "
                f"ρ {one.rho.estimate:+.2f} (p {one.rho.p:.2g})   n {one.tau.n}"
            )
    return [line.rstrip() for line in told]


def _align(cell: str, width: int, place: int, size: int) -> str:
    return cell.ljust(width) if place in (0, 1, size - 1) else cell.rjust(width)


def _cells(table: "SettingsTable", place: int, columns: "Sequence[SettingColumn]") -> list[str]:
    row = table.rows[place]
    from core.report.shares import percent

    accuracy = "" if row.victim.accuracy is None else percent(row.victim.accuracy, row.victim.held_out)
    images = "" if row.reconstructions is None else f"{row.reconstructions:,}"
    figures = [_figure(table, row, column, column.ranks[place]) for column in columns]
    title = row.title[:WIDEST] + (" ≈" if row.nearest else "")
    return [title, row.state, accuracy, images, *figures, _verdict(row)]


def _figure(table: "SettingsTable", row: "SettingRow", column: "SettingColumn", rank: int | None) -> str:
    from core.report.settings_records import value_of
    from core.report.shares import percent

    value = value_of(row, column, table.statistic)
    if value is None:
        return ""
    shown = percent(value) if column.kind == "people" else f"{value:.4g} {column.unit}".rstrip()
    return shown if rank is None else f"{shown} ({rank})"


def _verdict(row: "SettingRow") -> str:
    if row.verdict is None:
        return ""
    found = row.verdict.verdict
    by = str(found.threshold) if found.basis == "threshold" else "people"
    return found.outcome if found.outcome == "pending" else f"{found.outcome}: {found.leaked} of {found.judged} by {by}"

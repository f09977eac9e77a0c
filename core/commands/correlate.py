"""`python -m core correlate`: which metrics agree with people, from a table of scores and answers."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from core.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

HELP = "Correlate metrics with what people recognised, from a table of scores and answers."
EXAMPLES = """The table is a CSV with the columns config, image_id, true_class, annotator_1, annotator_2, … (the class
that a person named, -1 for nothing, empty for no answer), then one column a metric. Without --out the result is
printed as JSON when standard output is not a terminal.

examples:
  python -m core correlate --table study.csv --out result.json
  python -m core correlate --table study.csv --resamples 2000 --seed 1 > result.json
  python -m core correlate --table study.csv --direction my_metric=lower --out result.json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--table", type=Path, required=True, metavar="FILE.csv", help="scores and answers")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="where the result goes")
    parser.add_argument("--resamples", type=int, default=500, metavar="N", help="for the intervals; 0: none (500)")
    parser.add_argument("--seed", type=int, default=0, help="of the resampling (0)")
    parser.add_argument(
        "--direction",
        action="append",
        default=[],
        metavar="NAME=higher|lower",
        help="for a metric that SemSight does not know: which end means more alike; may be repeated",
    )


def run(arguments: argparse.Namespace) -> int:
    """Read, correlate, write; 0 when done."""
    from core.statistics.human_table import UnknownMetricColumn, correlate_table

    try:
        result = correlate_table(
            _table(arguments.table),
            resamples=arguments.resamples,
            seed=arguments.seed,
            directions=_directions(arguments.direction),
        )
    except UnknownMetricColumn as error:
        raise UserError(f"{error} Here the direction is said with --direction NAME=higher or NAME=lower.") from None
    text = json.dumps(result, indent=2, allow_nan=False) + "\n"
    if arguments.out is not None:
        from core.commands.output import write_text

        write_text(arguments.out, text)
    for note in _notes(result):
        print(f"note: {note}", file=sys.stderr)
    if sys.stdout.isatty():
        print(short_table(result))
    elif arguments.out is None:
        print(text, end="")
    return 0


def short_table(result: dict[str, Any]) -> str:
    """The result as lines for a terminal: a row a metric, then the agreement and the human reference."""
    columns = (
        ("image_level", "spearman", "Spearman"),
        ("image_level", "kendall", "Kendall"),
        ("image_level", "auc", "AUC"),
        ("within_original", "pairwise_accuracy", "pairs"),
        ("setting_level", "spearman", "settings"),
    )
    names = list(result["image_level"])
    width = max(len(name) for name in [*names, "metric"])
    lines = ["metric".ljust(width) + "".join(f"{title:>10}" for _, _, title in columns) + "    Spearman 95 %"]
    for name in names:
        cells = "".join(f"{_figure(result[level][name][what]['estimate']):>10}" for level, what, _ in columns)
        leaf = result["image_level"][name]["spearman"]
        lines.append(f"{name:<{width}}{cells}    {_figure(leaf['low'])} … {_figure(leaf['high'])}")
    reference = result["human_reference"]
    lines += [
        "",
        f"{result['n']:,} reconstructions of {result['originals']:,} originals in {result['settings']} settings, "
        f"{result['annotators']} annotators; {result['unscored']:,} scores missing",
        f"Fleiss' kappa {_figure(result['agreement']['fleiss_kappa']['estimate'])}; "
        f"half of the annotators against the others {_figure(reference['split_half']['estimate'])}; "
        f"one against the rest {_figure(reference['one_against_rest']['estimate'])}; "
        f"alpha {_figure(reference['cronbach_alpha']['estimate'])}",
    ]
    return "\n".join(lines)


def _figure(value: float | str | None) -> str:
    if value is None:
        return "–"
    return value if isinstance(value, str) else f"{value:.4f}"


def _table(path: Path) -> "pd.DataFrame":
    from core.statistics.human_table import COLUMNS
    from core.statistics.study import MOST_ROWS
    from core.tables import read_table

    return read_table(path, required=(*COLUMNS, "annotator_1"), max_rows=MOST_ROWS, name=path.name)


def _directions(given: list[str]) -> dict[str, Literal["higher", "lower"]]:
    """The directions of our own metrics, and those that were given."""
    from core.metrics.registry import directions

    found = directions()
    for text in given:
        name, _, direction = text.rpartition("=")
        if not name or direction not in ("higher", "lower"):
            raise UserError(f"--direction must be NAME=higher or NAME=lower, not {text[:80]!r}.")
        found[name.strip()] = cast(Literal["higher", "lower"], direction)
    return found


def _notes(result: dict[str, Any]) -> list[str]:
    """What could not be worked out, each reason once."""
    notes: dict[str, None] = {}
    for level in ("image_level", "within_original", "setting_level"):
        for metric, named in result[level].items():
            for statistic, leaf in named.items():
                if leaf.get("reason"):
                    who = "" if level == "setting_level" else f" of {metric}"
                    notes[f"no {statistic}{who} at {level.replace('_', ' ')}: {leaf['reason']}."] = None
    for statistic, leaf in (result["agreement"] | result["human_reference"]).items():
        if leaf.get("reason"):
            notes[f"no {statistic.replace('_', ' ')}: {leaf['reason']}."] = None
    return list(notes)

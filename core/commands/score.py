"""`python -m core score`: score reconstructions against their originals, paired by file name."""

import argparse
import platform
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import UserError
from core.settings import Settings, load_settings

if TYPE_CHECKING:
    from core.commands.score_files import Pairing
    from core.commands.score_progress import Progress
    from core.commands.score_run import Outcome, Plan
    from core.commands.score_table import Table
    from core.metrics.sets import SetMetric

HELP = "Score reconstructions against their originals, paired by file name."
EXAMPLES = """Pairs are made by the file's path below the folder without its ending: faces/3.png and faces/3.jpg are a
pair called faces/3. PNG, JPEG and WebP are read, mixed as they come. Without --metrics all that can be computed are;
the weights of LPIPS and others are looked for under SEMSIGHT_WEIGHTS (see `python -m core doctor`).

Beside scores.csv lie scores.csv.json (what was run; in a Parquet file it is the metadata), scores.csv.reasons.csv (why
cells are empty, if any are) and, until all is done, scores.csv.partial: a run that was stopped goes on from it when the
same command is given again.

examples:
  python -m core score --originals originals --reconstructions reconstructions --out scores.csv
  python -m core score --originals a --reconstructions b --metrics mse,psnr,ssim,lpips_alex --out scores.csv
  python -m core score --originals a --reconstructions b --out scores.parquet --device cuda --progress
  python -m core score --originals a --reconstructions b --out scores.csv --restart
  python -m core score --originals a --reconstructions b --out scores.csv --sets fid,kid
"""
BATCHES = {"cpu": 64, "cuda": 512}  # pairs at once
FAULTS_SHOWN = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--originals", type=Path, required=True, metavar="FOLDER", help="images that were attacked")
    parser.add_argument(
        "--reconstructions", type=Path, required=True, metavar="FOLDER", help="what attacks made of them"
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE",
        help="FILE.csv or FILE.parquet: a row a pair, a column a metric",
    )
    parser.add_argument(
        "--metrics", metavar="NAME,NAME,…", help="which metrics, in which order (all that are available)"
    )
    parser.add_argument(
        "--sets",
        nargs="?",
        const="all",
        metavar="NAME,…",
        help="compare the two folders as sets too, by these metrics or by all: printed, and in OUT.sets.json",
    )
    parser.add_argument("--device", metavar="NAME", help="auto, cpu, cuda or cuda:1 (default: auto)")
    parser.add_argument("--batch", type=int, metavar="N", help="most pairs at once (64, on a GPU 512)")
    parser.add_argument("--progress", action="store_true", help="a line now and then where there is no terminal")
    parser.add_argument("--restart", action="store_true", help="forget what an interrupted run has scored")


def run(arguments: argparse.Namespace) -> int:
    """Pair, score, write; 0 only if every image found its partner and every metric asked for has a value everywhere."""
    from core.commands.score_files import pair_folders
    from core.commands.score_journal import Journal
    from core.commands.score_progress import Progress
    from core.commands.score_run import Outcome, Plan, score_all
    from core.commands.score_sets import set_metrics
    from core.commands.score_table import Table, check_out, companion, write_table

    settings = load_settings()
    check_out(arguments.out)
    metrics, missing = _metrics(arguments.metrics, settings)
    sets = set_metrics(arguments.sets)
    pairing = pair_folders(arguments.originals, arguments.reconstructions)
    device = _device(arguments.device or settings.device)
    batch = _batch(arguments.batch, device)
    computed = {name: _identity(name, settings, device) for name in metrics if name not in missing}
    plan = Plan(pairing, computed, settings, device, batch)
    table, outcome = Table(pairing.names, metrics), Outcome()
    for name, reason in missing.items():
        table.spoil_column(name, reason)

    with Journal(companion(arguments.out, ".partial"), restart=arguments.restart) as journal:
        progress = Progress(len(pairing.names), lines=arguments.progress)
        try:
            with progress:
                score_all(plan, journal, table, outcome, progress)
            columns = [m for m in metrics if arguments.metrics or _scored(table, m)]
            write_table(arguments.out, table, columns, _record(arguments, plan, table, outcome, missing))
            unscored, failed = _score_sets(arguments, plan, sets) if sets else ({}, {})
        except KeyboardInterrupt:
            return _stopped(progress)
        journal.remove()
    status = _report(arguments, pairing, outcome, missing | _gaps(table, computed, outcome))
    status = max(status, _say(unscored, asked=arguments.sets != "all"), _say(failed, asked=True))
    if status == 0:
        print(_success(arguments.out, table, columns))
    return status


def _success(out: Path, table: "Table", columns: "Sequence[str]") -> str:
    """One line: how much was scored, where it is, and how many cells are empty."""
    from core.commands.score_table import shown_name

    gaps = sum(int((table.column(name) != table.column(name)).sum()) for name in columns)
    pairs, metrics = _number(len(table.names), "pair"), _number(len(columns), "metric")
    line = f"{pairs} scored by {metrics}; the table is in {shown_name(str(out))}"
    return f"{line}; {_number(gaps, 'score')} unavailable." if gaps else f"{line}."


def _number(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def _stopped(progress: "Progress") -> int:
    how = "give the same command again to go on" if progress.seen else "nothing was scored yet"
    print(f"error: stopped by you after {progress.seen:,} of {progress.total:,} pairs; {how}.", file=sys.stderr)
    return 130


def _score_sets(
    arguments: argparse.Namespace, plan: "Plan", metrics: "Sequence[SetMetric]"
) -> tuple[dict[str, str], dict[str, str]]:
    """Score the folders as sets, print and write the values; names -> reason of those without one, and of failures."""
    from core.commands.score_progress import Progress
    from core.commands.score_sets import score_sets, set_lines, write_sets

    with Progress(len(plan.pairing.names), lines=arguments.progress) as progress:
        scores = score_sets(plan, metrics, progress)
    write_sets(arguments.out, scores)
    for line in set_lines(scores):
        print(line)
    names: tuple[dict[str, list[str]], dict[str, list[str]]] = ({}, {})
    for one in scores:
        if one.value is None:
            names[one.failed].setdefault(one.reason, []).append(one.metric.name)
    unscored, failed = ({", ".join(those): reason for reason, those in some.items()} for some in names)
    return unscored, failed


def _metrics(text: str | None, settings: Settings) -> tuple[list[str], dict[str, str]]:
    """The metrics asked for (without: all of pairs), each once, and why some cannot be computed here."""
    from core.metrics.registry import METRICS, availability
    from core.metrics.sets import SET_METRICS
    from core.registry import look_up

    asked = [] if text is None else list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if text is not None and not asked:
        raise UserError("--metrics names no metric; give names such as mse,psnr or leave it out.")
    for name in asked:
        if name in SET_METRICS:
            raise UserError(
                f"{name} compares the two folders as sets, not pair by pair; ask for it with --sets {name}."
            )
        look_up(METRICS, name, "metric")
    metrics = asked or [name for name, metric in METRICS.items() if not metric.diagnostic]
    reasons = availability(settings)
    return metrics, {name: reasons[name] for name in metrics if reasons[name]}


def _identity(name: str, settings: Settings, device: str) -> str:
    """What a stored value of this metric depends on beside the two files."""
    from core.metrics.registry import METRICS, library_of, weights_hash

    metric = METRICS[name]
    weights = weights_hash(name, settings)[:16] or "none"
    return f"{name} | {metric.version} | weights {weights} | {library_of(metric)} | {device.partition(':')[0]}"


def _device(name: str) -> str:
    """The device by torch's name; UserError for one that is not here."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, place = name.partition(":")
    if kind not in BATCHES or (place and not place.isdecimal()) or (kind == "cpu" and place):
        raise UserError(f"--device must be auto, cpu, cuda or cuda:1, not {name[:40]!r}.")
    if kind == "cuda" and int(place or 0) >= torch.cuda.device_count():
        raise UserError(f"There is no GPU for --device {name} here; leave it out, or give cpu.")
    return name


def _batch(asked: int | None, device: str) -> int:
    if asked is not None and asked < 1:
        raise UserError(f"--batch must be at least 1, not {asked}.")
    return asked or BATCHES[device.partition(":")[0]]


def _scored(table: "Table", metric: str) -> bool:
    values = table.column(metric)
    return bool((values == values).any())


def _gaps(table: "Table", metrics: "Sequence[str] | dict[str, str]", outcome: "Outcome") -> dict[str, str]:
    """For each metric with gaps the first reason, and for how many of the pairs that could be read."""
    faults = set(outcome.faults)
    gaps = {}
    for metric in metrics:
        values = table.column(metric)
        rows = (values != values).nonzero()[0]
        reasons = [reason for row in rows if (reason := table.reason(int(row), metric)) not in faults]
        if reasons:
            reason = outcome.failed.get(metric, reasons[0])
            gaps[metric] = f"{reason} ({len(reasons):,} of {len(table.names) - len(outcome.faults):,} pairs)"
    return gaps


def _report(arguments: argparse.Namespace, pairing: "Pairing", outcome: "Outcome", reasons: dict[str, str]) -> int:
    """Say on standard error what is missing; the exit status."""
    complaints = [*_alone(pairing), *outcome.faults[:FAULTS_SHOWN]]
    if len(outcome.faults) > FAULTS_SHOWN:
        more = len(outcome.faults) - FAULTS_SHOWN
        complaints.append(f"{more:,} more pairs could not be scored; {arguments.out.name}.reasons.csv names them all.")
    if outcome.resumed:
        print(f"note: {outcome.resumed:,} of {len(pairing.names):,} pairs had been scored before.", file=sys.stderr)
    for line in complaints:
        print(f"error: {line}", file=sys.stderr)
    failed = {name: reason for name, reason in reasons.items() if name in outcome.failed}
    rest = {name: reason for name, reason in reasons.items() if name not in outcome.failed}
    status = max(_say(failed, asked=True), _say(rest, asked=arguments.metrics is not None))
    return 1 if complaints else status


def _say(reasons: dict[str, str], *, asked: bool) -> int:
    """Name what could not be computed: an error where it was asked for by name or failed, else a note."""
    for name, reason in reasons.items():
        print(f"{'error' if asked else 'note'}: {name}: {reason}", file=sys.stderr)
    return 1 if asked and reasons else 0


def _alone(pairing: "Pairing") -> Iterator[str]:
    from core.commands.output import listed
    from core.commands.score_files import SHOWN
    from core.names import safe_text

    for where, names in pairing.alone().items():
        if names:
            yield f"only among the {where}: {listed([safe_text(name, SHOWN) for name in names])}."


def _record(
    arguments: argparse.Namespace, plan: "Plan", table: "Table", outcome: "Outcome", missing: dict[str, str]
) -> dict[str, Any]:
    """All that is needed to run it again, and to see whether the same files would be scored."""
    import importlib.metadata

    import core
    from core.commands.score_table import shown_name
    from core.metrics.registry import METRICS, library_of, weights_hash

    versions = {name: importlib.metadata.version(name) for name in ("torch", "numpy", "pillow")}
    return {
        "semsight": core.__version__,
        "command": "score",
        "originals": shown_name(str(arguments.originals)),
        "reconstructions": shown_name(str(arguments.reconstructions)),
        "device": plan.device,
        "batch": plan.batch,
        "pairs": len(table.names),
        "inputs_sha256": outcome.inputs,
        "metrics": {
            name: {
                "version": METRICS[name].version,
                "weights_hash": weights_hash(name, plan.settings),
                "library": library_of(METRICS[name]),
                "more_leakage": METRICS[name].direction,
                "scored": int((table.column(name) == table.column(name)).sum()),
            }
            for name in plan.metrics
        },
        "unavailable": missing,
        "unmatched": {where: [shown_name(n) for n in names] for where, names in plan.pairing.alone().items()},
        "faults": outcome.faults,
        "versions": {"python": platform.python_version(), **versions},
    }

"""`python -m core score`: score reconstructions against their originals, paired by file name."""

import argparse
import csv
import io
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import UserError
from core.settings import Settings, load_settings

if TYPE_CHECKING:
    import numpy as np

    from core.metrics.base import Score

HELP = "Score reconstructions against their originals, paired by file name."
EXAMPLES = """Pairs are made by the file's name without its ending; PNG, JPEG and WebP are read. The weights of LPIPS
are looked for under SEMSIGHT_WEIGHTS (see `python -m core doctor`). Without --metrics all that can be computed are.

examples:
  python -m core score --originals originals --reconstructions reconstructions --out scores.csv
  python -m core score --originals a --reconstructions b --metrics mse,psnr,ssim,lpips_alex --out scores.csv
"""
ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".svg", ".avif", ".heic")
AT_ONCE = 64  # pairs held in memory
PIXELS_AT_ONCE = 1 << 24  # of the originals held in memory, beyond the first


@dataclass
class Outcome:
    """What was found: rows (name -> metric -> score), and complaints for standard error."""

    rows: dict[str, dict[str, "Score"]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--originals", type=Path, required=True, metavar="FOLDER", help="images that were attacked")
    parser.add_argument(
        "--reconstructions", type=Path, required=True, metavar="FOLDER", help="what attacks made of them"
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE.csv", help="one row a pair, one column a metric"
    )
    parser.add_argument(
        "--metrics", metavar="NAME,NAME,…", help="which metrics, in which order (all that are available)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Pair, score, write; 0 only if every image found its partner and every metric asked for has a value everywhere."""
    from core.commands.output import listed, write_text
    from core.metrics.registry import METRICS, availability
    from core.registry import look_up

    settings = load_settings()
    asked = _names(arguments.metrics)
    for name in asked:
        look_up(METRICS, name, "metric")
    originals, reconstructions = _images(arguments.originals), _images(arguments.reconstructions)
    names = [name for name in originals if name in reconstructions]
    if not names:
        raise UserError(
            f"No image of {arguments.originals.name!r} has the name of one of {arguments.reconstructions.name!r}; "
            "give both files of a pair one name."
        )
    metrics = asked or [name for name, metric in METRICS.items() if not metric.diagnostic]
    missing = {name: reason for name, reason in availability(settings).items() if reason and name in metrics}
    wanted = [name for name in metrics if name not in missing]
    outcome = _score(names, originals, reconstructions, wanted, settings)
    reasons = missing | _reasons(outcome.rows, wanted)
    columns = [
        m for m in metrics if asked or any(m in row and row[m].value is not None for row in outcome.rows.values())
    ]
    write_text(arguments.out, _csv(names, outcome.rows, columns))

    complaints = [f"only among the {where}: {listed(alone)}." for where, alone in _alone(originals, reconstructions)]
    for line in [*complaints, *outcome.faults]:
        print(f"error: {line}", file=sys.stderr)
    for name, reason in reasons.items():
        print(f"{'error' if asked else 'note'}: {name}: {reason}", file=sys.stderr)
    return 1 if complaints or outcome.faults or (asked and reasons) else 0


def _names(text: str | None) -> list[str]:
    """The metrics asked for, each once; empty: all that are available."""
    if text is None:
        return []
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise UserError("--metrics names no metric; give names such as mse,psnr or leave it out.")
    return names


def _images(folder: Path) -> dict[str, Path]:
    """The images of a folder by the name of the file without its ending, in natural order."""
    from core.images.folder import natural_key

    if not folder.is_dir():
        raise UserError(f"{str(folder)!r} is no folder; expected a folder of images.")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir(), key=lambda p: (natural_key(p.name), p.name)):
        if path.name.startswith(".") or path.suffix.lower() not in ENDINGS or not path.is_file():
            continue
        if path.stem in found:
            raise UserError(f"{folder.name!r} holds {found[path.stem].name} and {path.name}; keep one image a name.")
        found[path.stem] = path
    if not found:
        raise UserError(f"The folder {folder.name!r} holds no PNG, JPEG or WebP image.")
    return found


def _alone(originals: dict[str, Path], reconstructions: dict[str, Path]) -> Iterator[tuple[str, list[str]]]:
    for where, these, others in (
        ("originals", originals, reconstructions),
        ("reconstructions", reconstructions, originals),
    ):
        names = [name for name in these if name not in others]
        if names:
            yield where, names


def _score(
    names: Sequence[str],
    originals: dict[str, Path],
    reconstructions: dict[str, Path],
    metrics: Sequence[str],
    settings: Settings,
) -> Outcome:
    """Score all pairs, a few at a time."""
    from tqdm import tqdm

    from core.metrics.scoring import score_pairs

    outcome = Outcome()
    with tqdm(total=len(names), unit="pair", disable=not sys.stderr.isatty()) as bar:
        for piece in _pieces(names, originals, reconstructions, outcome.faults):
            found = score_pairs([p[1] for p in piece], [p[2] for p in piece], metrics, settings)
            for place, (name, _, _) in enumerate(piece):
                outcome.rows[name] = {metric: scores[place] for metric, scores in found.items()}
            bar.update(len(piece))
    return outcome


Pair = tuple[str, "np.ndarray", "np.ndarray"]


def _pieces(
    names: Sequence[str], originals: dict[str, Path], reconstructions: dict[str, Path], faults: list[str]
) -> Iterator[list[Pair]]:
    """Decoded pairs of one size each, a few at a time; a pair that is not one becomes a sentence in `faults`."""
    piece: list[Pair] = []
    pixels = 0
    for name in names:
        try:
            original, reconstruction = _decoded(originals[name]), _decoded(reconstructions[name])
        except UserError as error:
            faults.append(str(error))
            continue
        if original.shape != reconstruction.shape:
            faults.append(f"{name}: {_sizes(original, reconstruction)}; save both in one size.")
            continue
        if piece and (len(piece) == AT_ONCE or pixels + original.size // 3 > PIXELS_AT_ONCE):
            yield piece
            piece, pixels = [], 0
        piece.append((name, original, reconstruction))
        pixels += original.size // 3
    if piece:
        yield piece


def _sizes(original: "np.ndarray", reconstruction: "np.ndarray") -> str:
    (h, w), (rh, rw) = original.shape[:2], reconstruction.shape[:2]
    return f"the original is {w}×{h} pixels and the reconstruction {rw}×{rh}"


def _decoded(path: Path) -> "np.ndarray":
    from core.images.intake import MAX_BYTES, take_in_image

    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UserError(f"{path.name} cannot be read ({error.strerror}).") from None
    return take_in_image(data, path.name).pixels


def _reasons(rows: dict[str, dict[str, "Score"]], metrics: Sequence[str]) -> dict[str, str]:
    """For each metric with gaps the first reason, and for how many pairs there is none."""
    reasons = {}
    for metric in metrics:
        gaps = [row[metric].reason for row in rows.values() if row[metric].value is None]
        if gaps:
            reasons[metric] = f"{gaps[0]} ({len(gaps):,} of {len(rows):,} pairs)"
    return reasons


def _csv(names: Sequence[str], rows: dict[str, dict[str, "Score"]], metrics: Sequence[str]) -> str:
    """One row a pair; an infinity is written inf, a missing value is empty."""
    from core.tables import safe_cell

    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["name", *metrics])
    for name in names:
        scores = (rows.get(name, {}).get(metric) for metric in metrics)
        values = ("" if score is None or score.value is None else repr(float(score.value)) for score in scores)
        writer.writerow([safe_cell(name), *values])
    return buffer.getvalue()

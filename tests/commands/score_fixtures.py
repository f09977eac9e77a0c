"""Folders of real pairs for the tests of `score`, and a process that is stopped in the middle of it."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from tests.metrics.pairs import real_pairs

ROOT = Path(__file__).resolve().parents[2]
# Runs the command, notes how many pairs each call scores, and gets the signal as the given call of `target` begins.
DRIVER = """
import importlib, os, sys
import core.metrics.scoring as scoring
from core.__main__ import main

log, signal_number, at, target, *arguments = sys.argv[1:]
score_pairs = scoring.score_pairs

def counted(originals, *more, **options):
    with open(log, "a") as file:
        print(len(originals), file=file)
    return score_pairs(originals, *more, **options)

scoring.score_pairs = counted
module, _, function = target.rpartition(".")
module = importlib.import_module(module)
real, calls = getattr(module, function), []

def stopping(*more, **options):
    calls.append(1)
    if len(calls) == int(at) + 1:
        os.kill(os.getpid(), int(signal_number))
    return real(*more, **options)

setattr(module, function, stopping)
sys.exit(main(arguments))
"""
SCORE_PAIRS = "core.metrics.scoring.score_pairs"


def write_pairs(folder: Path, count: int, size: int = 32) -> tuple[Path, Path]:
    """`count` pairs of photographs as a/N.png and b/N.png."""
    folders = (folder / "a", folder / "b")
    for where, images in zip(folders, real_pairs(size, count), strict=True):
        where.mkdir(parents=True)
        for i, image in enumerate(images):
            Image.fromarray(image).save(where / f"{i}.png")
    return folders


def arguments(folders: tuple[Path, Path], out: Path, *more: str) -> list[str]:
    """The command's arguments."""
    return ["score", "--originals", str(folders[0]), "--reconstructions", str(folders[1]), "--out", str(out), *more]


def stopped(
    log: Path, signal_number: int, at_call: int, command: Sequence[str], *, target: str = SCORE_PAIRS
) -> subprocess.CompletedProcess[str]:
    """Run the command in a process that sends itself a signal as its `at_call`-th call of `target` begins (from 0)."""
    return subprocess.run(
        [sys.executable, "-c", DRIVER, str(log), str(signal_number), str(at_call), target, *command],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def counts(log: Path) -> list[int]:
    """How many pairs each call scored."""
    return [int(line) for line in log.read_text().split()]

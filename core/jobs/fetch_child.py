"""The process that fetches one file of pretrained weights: `python -m core.jobs.fetch_child NAME`.

Where it is at is home/fetch/NAME.json: {"bytes", "total"} meanwhile, then {"done": true} or {"problem": sentence}. It
holds home/fetch/NAME.lock; who finds it held leaves at once.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.jobs.fetch import PRETRAINED_NAMES
from core.models.pretrained import find_pretrained
from core.models.weights import MissingWeights, find_weights
from core.settings import Settings, load_settings

EVERY = 0.5  # seconds between two reports


def main() -> None:
    """Fetch the file that the command line names."""
    name, settings = sys.argv[1], load_settings()
    alone(settings, name, lambda report: fetch(settings, name, report))


def alone(settings: Settings, name: str, work: Callable[[Path], None]) -> None:
    """Do the work under the name's lock, with the file to report to; nothing where another process holds it."""
    folder = settings.home / "fetch"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        os.nice(5)
        work(folder / f"{name}.json")


def fetch(settings: Settings, name: str, report: Path) -> None:
    """Find the weights in torch's cache or download them, and write how it went."""
    write(report, {"bytes": 0})
    last = 0.0

    def progress(so_far: int, total: int | None) -> None:
        nonlocal last
        if time.monotonic() - last > EVERY or so_far == total:
            last = time.monotonic()
            write(report, {"bytes": so_far, "total": total})

    try:
        if name in PRETRAINED_NAMES:
            found = find_pretrained(PRETRAINED_NAMES[name], settings, download=True, progress=progress)
        else:
            found = find_weights(name, settings, download=True, progress=progress)
        outcome = {"problem": found.reason} if isinstance(found, MissingWeights) else {"done": True}
    except UserError as error:
        outcome = {"problem": str(error)}
    except (RuntimeError, ValueError, LookupError, TypeError, OSError, MemoryError) as error:
        outcome = {"problem": f"It could not be taken in ({type(error).__name__}: {error})"[:300]}
    write(report, outcome)


def write(path: Path, values: dict[str, Any]) -> None:
    """Put a report in place whole."""
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(values))
    draft.replace(path)


if __name__ == "__main__":
    main()

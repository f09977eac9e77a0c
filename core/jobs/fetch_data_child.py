"""The process that fetches one data set: `python -m core.jobs.fetch_data_child NAME`. Reports as fetch_child does."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from core.errors import UserError
from core.images.download import download_dataset
from core.jobs.fetch_child import EVERY, alone, write
from core.jobs.fetch_data import stop_file
from core.settings import Settings, load_settings


def main() -> None:
    """Fetch the data set that the command line names."""
    name, settings = sys.argv[1], load_settings()
    alone(settings, f"data-{name}", lambda report: fetch(settings, name, report))


def fetch(settings: Settings, name: str, report: Path) -> None:
    """Download what is missing of the data set, and write how it went."""
    write(report, {"bytes": 0})
    last = 0.0

    def progress(so_far: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last > EVERY or so_far >= total:
            last = time.monotonic()
            write(report, {"bytes": so_far, "total": total})

    try:
        download_dataset(name, settings, progress=progress, stop=stop_file(settings, name).exists)
        outcome: dict[str, object] = {"done": True}
    except UserError as error:
        outcome = {"problem": str(error)}
    except OSError as error:
        outcome = {"problem": f"It could not be written ({error.strerror or error})."}
    write(report, outcome)


if __name__ == "__main__":
    main()

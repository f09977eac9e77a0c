"""Data sets fetched in the background, by a process of its own for each. No torch here.

The same way as weights (fetch.py): a page starts it, asks how far it is and may stop it; all answer at once. Where it
is at lies in home/fetch/data-NAME.json; home/fetch/data-NAME.stop asks it to stop.
"""

from __future__ import annotations

import sys
from pathlib import Path

from core.errors import UserError
from core.images.published import how_to_place, record_of
from core.jobs import fetch
from core.jobs.fetch import Fetch
from core.settings import Settings

COMMAND = (sys.executable, "-m", "core.jobs.fetch_data_child")


def start(settings: Settings, name: str) -> None:
    """Begin to fetch the data set, or go on with it, unless that is under way; its licence has been accepted.

    UserError for a name that there is not and for a set that can only be placed by hand.
    """
    record = record_of(name)
    if record.by_hand:
        raise UserError(f"{record.title} cannot be downloaded: {record.by_hand}. {how_to_place(record.name, settings)}")
    if not fetched(settings, name).running:
        stop_file(settings, record.name).unlink(missing_ok=True)
    fetch.begin(settings, f"data-{record.name}", [*COMMAND, record.name])


def fetched(settings: Settings, name: str) -> Fetch:
    """Where the data set's download is, at once; Fetch() where none runs and none failed lately."""
    return fetch.fetched(settings, f"data-{record_of(name).name}")


def cancel(settings: Settings, name: str) -> None:
    """Ask the download to stop; what has come is kept, and `start` goes on from there."""
    path = stop_file(settings, record_of(name).name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def stop_file(settings: Settings, name: str) -> Path:
    """The file whose presence asks the download to stop."""
    return settings.home / "fetch" / f"data-{name}.stop"

"""Files as they come in from a browser: on disk at once, under names of our own, gone after a day."""

import shutil
import time
from pathlib import Path
from typing import IO
from uuid import uuid4

from core.errors import UserError
from core.settings import Settings

CHUNK = 1 << 20
KEPT_SECONDS = 24 * 3600.0


def keep_upload(settings: Settings, stream: IO[bytes]) -> Path:
    """Copy `stream` to a new file under the home's uploads folder; its name owes nothing to the sender.

    Raises UserError when the disk refuses.
    """
    path = settings.uploads / f"{uuid4().hex}.upload"
    try:
        settings.uploads.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            shutil.copyfileobj(stream, file, CHUNK)
    except OSError as error:
        if path.is_file():
            path.unlink()
        raise UserError(
            f"The upload could not be stored ({error.strerror}); make room or mend the home folder."
        ) from error
    return path


def sweep_uploads(settings: Settings, now: float | None = None) -> int:
    """Delete uploads that nobody came back for within a day; return how many."""
    limit = (time.time() if now is None else now) - KEPT_SECONDS
    swept = 0
    for path in settings.uploads.glob("*.upload"):
        try:
            if path.stat().st_mtime < limit:
                path.unlink()
                swept += 1
        except FileNotFoundError:  # another process swept it between the listing and now
            continue
    return swept

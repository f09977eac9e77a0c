"""Room on the disk: asked before anything large begins, and recognised when it has run out. Imports no SQLAlchemy."""

import errno
import shutil
from pathlib import Path

from core.errors import UserError

KEPT_FREE = 256 << 20  # bytes that are left to the database and to what runs already
FULL = (errno.ENOSPC, errno.EDQUOT)


def free_bytes(folder: Path) -> int:
    """Bytes that may still be written where `folder` lies, or will lie; OSError where that cannot be told."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def enough_space(folder: Path, needed: int, what: str) -> None:
    """Raise UserError unless `needed` bytes, and a reserve for the database, fit on the disk of `folder`.

    what: what they are needed for, as the start of a sentence ("This run", "The download").
    """
    free = free_bytes(folder)
    if free < needed + KEPT_FREE:
        raise UserError(
            f"{what} needs about {size_words(needed)}, but the disk of {folder} has {size_words(free)} free, of which "
            f"{size_words(KEPT_FREE)} are kept for the database; make room (python -m core doctor shows what is used) "
            "or choose less."
        )


def out_of_space(error: BaseException) -> bool:
    """Whether an error, or what caused it, says that the disk is full: the system's own, or SQLite's."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in FULL:
            return True
        if "database or disk is full" in str(seen):
            return True
        seen = seen.__cause__
    return False


def size_words(count: float) -> str:
    """Bytes in words, such as "1.2 GiB"; three figures at most."""
    for unit, step in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= step:
            number = count / step
            return f"{number:.0f} {unit}" if number >= 100 else f"{number:.1f} {unit}"
    return f"{count:.0f} B"

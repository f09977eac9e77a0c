"""Files that commands write: whole or not at all."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from core.errors import UserError

LISTED = 10  # names in one sentence


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text under a temporary name beside `path`, then rename it; UserError if that cannot be done."""
    with replacing(path) as file:
        file.write(text.encode("utf-8"))


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write bytes to, which takes the place of `path` at the end, synced; after an error it is gone.

    Raises UserError if it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        prefix, suffix = _temporary(path)
        with tempfile.NamedTemporaryFile("wb", dir=path.parent, prefix=prefix, suffix=suffix, delete=False) as file:
            temporary = Path(file.name)
            try:
                yield file.file
                file.flush()
                os.fsync(file.fileno())
                temporary.chmod(0o666 & ~_umask())
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        sync_folder(path.parent)
    except OSError as error:
        raise UserError(f"{path.name} cannot be written ({error.strerror}); choose another place with --out.") from None


def remove_leftovers(path: Path) -> None:
    """Delete what a killed process left of its writing to `path`. Only for a caller who alone writes there."""
    prefix, suffix = _temporary(path)
    for name in os.listdir(path.parent):
        if name.startswith(prefix) and name.endswith(suffix) and len(name) == len(prefix) + 8 + len(suffix):
            (path.parent / name).unlink(missing_ok=True)


def _temporary(path: Path) -> tuple[str, str]:
    """How the names of files begin and end that are to replace `path`; between are eight characters."""
    return f".{path.name[:40]}.", ".tmp"


def sync_folder(folder: Path) -> None:
    """Make what was renamed or removed in `folder` survive a loss of power, where the system can."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def listed(names: Sequence[str]) -> str:
    """Some names for a sentence: the first ten, and how many more."""
    shown = ", ".join(names[:LISTED])
    return shown if len(names) <= LISTED else f"{shown} and {len(names) - LISTED:,} more"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask

"""Files that commands write: whole or not at all."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from core.errors import UserError

LISTED = 10  # names in one sentence


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text under a temporary name beside `path`, then rename it; UserError if that cannot be done."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", newline="", dir=path.parent, prefix=f".{path.name[:40]}.", delete=False
        ) as file:
            temporary = Path(file.name)
            file.write(text)
        try:
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UserError(f"{path.name} cannot be written ({error.strerror}); choose another place with --out.") from None


def listed(names: Sequence[str]) -> str:
    """Some names for a sentence: the first ten, and how many more."""
    shown = ", ".join(names[:LISTED])
    return shown if len(names) <= LISTED else f"{shown} and {len(names) - LISTED:,} more"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask

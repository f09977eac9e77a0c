"""The secret key that DP-SGD draws its sampling and its noise from. Imports no torch.

Whoever knows it can compute the noise and take it away, so it is no part of the recipe, is never shown, exported or
logged, and lives only as long as the training may have to be resumed.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from core.errors import UserError

BITS = 128


def draw_key() -> int:
    """A new key from the system's own source of randomness, in [0, 2^128)."""
    return secrets.randbits(BITS)


def kept_key(file: Path) -> int:
    """The key in this file, readable by its owner alone; a new one where there is none yet.

    Synced before it is used: a resumed training draws on from the same key. UserError where the file is no key.
    """
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        _write(file, draw_key())
    text = file.read_text(encoding="ascii", errors="replace").strip()
    try:
        key = int(text, 16)
    except ValueError:
        key = -1
    if not 0 <= key < 2**BITS:
        raise UserError(f"{file} is no key of a private training; delete the training's files and begin it anew.")
    return key


def _write(file: Path, key: int) -> None:
    """All or nothing, and never readable by others, not even for a moment."""
    temporary = file.with_name(f".tmp-{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as out:
            out.write(f"{key:032x}\n")
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)

"""Files named by their content: images, weights, checkpoints. Imports no SQLAlchemy."""

import hashlib
import io
import os
import re
import time
from collections.abc import Collection
from pathlib import Path
from uuid import uuid4

import numpy as np
from PIL import Image

from core.errors import UserError

SUFFIXES = (".png", ".safetensors", ".json", ".bin", ".html", ".csv")
_SHA = re.compile(r"[0-9a-f]{64}")
_TEMPORARY = ".tmp-"


class ArtifactStore:
    """A folder of immutable files, each found by the sha256 of its bytes.

    A file is written to a temporary name, synced and renamed, so a reader sees all of it or none.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def put_png(self, pixels: np.ndarray) -> str:
        """Store uint8 pixels (H, W), (H, W, 1) or (H, W, 3) as PNG; the same pixels give the same sha."""
        return self.put_bytes(encode_png(pixels), ".png")

    def put_bytes(self, data: bytes, suffix: str) -> str:
        """Store `data`; suffix is one of SUFFIXES. Returns the sha256, in hex."""
        if suffix not in SUFFIXES:
            raise ValueError(f"An artifact's suffix is one of {', '.join(SUFFIXES)}, not {suffix!r}.")
        sha = hashlib.sha256(data).hexdigest()
        existing = self._find(sha)
        if existing is not None:
            os.utime(existing)  # young again, so that `collect` spares what was just asked for
            return sha
        target = self.root / sha[:2] / (sha + suffix)
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, data)
        return sha

    def exists(self, sha: str) -> bool:
        """Whether the artifact is here; raises UserError when `sha` is no sha256."""
        return self._find(sha) is not None

    def path(self, sha: str) -> Path:
        """Where the artifact lies; raises UserError when `sha` is no sha256 or names nothing."""
        found = self._find(sha)
        if found is None:
            raise UserError(f"The store holds no file {sha}; it was removed, or belongs to another home folder.")
        return found

    def read_bytes(self, sha: str) -> bytes:
        """The artifact's bytes; raises UserError as `path` does."""
        return self.path(sha).read_bytes()

    def read_png(self, sha: str) -> np.ndarray:
        """The artifact's pixels as uint8 (H, W, 3); one channel is repeated."""
        return decode_png(self.read_bytes(sha))

    def remove(self, sha: str | None) -> None:
        """Delete what its only owner no longer needs, such as a checkpoint; nothing happens when it is absent."""
        found = self._find(sha) if sha is not None else None
        if found is not None:
            found.unlink(missing_ok=True)

    def collect(self, keep: Collection[str], older_than: float) -> list[str]:
        """Delete artifacts not in `keep` and leftovers, untouched for `older_than` seconds. Returns the shas deleted.

        The age spares files whose row is about to be written.
        """
        limit = time.time() - older_than
        deleted = []
        for file in sorted(self.root.glob("*/*")):
            sha = file.name.split(".")[0]
            if sha in keep or not file.is_file() or file.stat().st_mtime > limit:
                continue
            if _SHA.fullmatch(sha):
                deleted.append(sha)
            elif not file.name.startswith(_TEMPORARY):
                continue
            file.unlink(missing_ok=True)
        return deleted

    def _find(self, sha: str) -> Path | None:
        if not isinstance(sha, str) or not _SHA.fullmatch(sha):
            raise UserError(f"Expected the sha256 of a stored file (64 hex digits), got {str(sha)[:80]!r}.")
        for suffix in SUFFIXES:
            candidate = self.root / sha[:2] / (sha + suffix)
            if candidate.is_file():
                return candidate
        return None


def encode_png(pixels: np.ndarray) -> bytes:
    """PNG bytes of uint8 (H, W), (H, W, 1) or (H, W, 3); no metadata, so equal pixels give equal bytes."""
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (1, 3)):
        raise ValueError(f"Expected uint8 pixels (H, W, 1 or 3), got {pixels.dtype} {pixels.shape}.")
    flat = pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(flat)).save(buffer, format="PNG", optimize=False, compress_level=6)
    return buffer.getvalue()


def decode_png(data: bytes) -> np.ndarray:
    """uint8 (H, W, 3) of PNG bytes that this store wrote."""
    with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
        return np.asarray(image.convert("RGB"))


def write_atomically(target: Path, data: bytes) -> None:
    """Write beside `target`, sync, rename, sync the folder: all or nothing even if the machine stops."""
    temporary = target.parent / f"{_TEMPORARY}{uuid4().hex}"
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)

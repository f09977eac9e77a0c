"""Sources at a model's size, each resized once and kept beside the artifacts. No torch.

A source may have megapixels: to decode and resize it takes a third of a second. No row names the files that are kept,
and none is missed: what is gone or damaged is made again. So they may be deleted at any time.
"""

import logging
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from core.images.resize import to_input
from core.images.sets.cache import changed_before
from core.models.spec import ModelSpec
from core.storage.artifacts import decode_png, encode_png, write_atomically
from core.storage.store import Store

FOLDER = "unaugmented"  # in the home
KEPT_SECONDS = 30 * 24 * 3600.0  # then a file is deleted, and made again should it be wanted
UNREADABLE = (OSError, SyntaxError, ValueError)  # what a file that is gone or damaged raises; UserError is a ValueError
log = logging.getLogger("semsight.runner")
Beat = Callable[[], None]  # called between pictures; raises Interrupted


class Interrupted(Exception):
    """The runner has something else to do than this job; the pictures made so far are kept."""


def still() -> None:
    """A beat of somebody who has all the time in the world."""


def unaugmented(store: Store, sha: str, spec: ModelSpec) -> np.ndarray:
    """The picture behind an original at the model's size, as uint8 (H, W, 3): resized and cropped, nothing else.

    sha: of the picture as it came in (originals.source_sha). Raises one of UNREADABLE where there is no such picture.
    """
    try:
        kept = decode_png(_file(store, sha, spec).read_bytes())
        if kept.shape == (spec.height, spec.width, 3):
            return kept
    except UNREADABLE:
        pass  # not made yet, or damaged
    return keep_unaugmented(store, sha, store.artifacts.read_png(sha), spec)


def keep_unaugmented(store: Store, sha: str, source: np.ndarray, spec: ModelSpec) -> np.ndarray:
    """Resize a source, uint8 (H, W, 1 or 3), whose file is `sha`, and keep the result; see `unaugmented`."""
    colour = np.repeat(source, 3, axis=2) if source.shape[2] == 1 else source  # as its file is read
    pixels = to_input(colour, height=spec.height, width=spec.width, channels=spec.channels)
    file = _file(store, sha, spec)
    try:
        file.parent.mkdir(exist_ok=True)
        write_atomically(file, encode_png(pixels))
    except OSError as error:
        log.info("%s is not kept (%s)", file, error)
    return np.repeat(pixels, 3, axis=2) if spec.channels == 1 else pixels


def readable(store: Store, sha: str | None, spec: ModelSpec) -> np.ndarray | None:
    """`unaugmented`, or None where there is no source or it cannot be read any more."""
    if sha is None:
        return None
    try:
        return unaugmented(store, sha, spec)
    except UNREADABLE as error:
        log.debug("the source %s cannot be read (%s)", sha, error)
        return None


def forget_unaugmented(store: Store, older_than: float = KEPT_SECONDS) -> int:
    """Delete what was kept longer ago than so many seconds; returns how many."""
    limit = time.time() - older_than
    old = [file for file in (store.settings.home / FOLDER).glob("*.png") if changed_before(file, limit)]
    for file in old:
        file.unlink(missing_ok=True)
    return len(old)


def _file(store: Store, sha: str, spec: ModelSpec) -> Path:
    return store.settings.home / FOLDER / f"{sha}-{spec.height}x{spec.width}x{spec.channels}.png"

"""A training's images as a victim takes them, decoded once and kept in the home. No torch.

A folder `prepared/KEY` for each choice and input size: 8-bit pixels as .npy files, which are mapped into memory rather
than read. No row names them and none is missed: what is gone or damaged is made again.
"""

import hashlib
import json
import logging
import os
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import uuid4

import numpy as np

from core.errors import UserError
from core.images.dataset import DataChoice
from core.images.sampling import training_images
from core.images.sets.cache import changed_before
from core.jobs.sources import Beat
from core.models.spec import ModelSpec
from core.settings import Settings

FOLDER = "prepared"  # in the home
KEPT_SECONDS = 7 * 24 * 3600.0  # since it was last used; then it is deleted, and made again should it be wanted
ARRAYS = ("images", "labels", "held_images", "held_labels")
VERSION = 1  # of how pictures become pixels: another one makes them anew
log = logging.getLogger("semsight.runner")


@dataclass(frozen=True)
class Prepared:
    """images (N, H, W, C) uint8 and labels (N,) int64 to train on; held_images, held_labels likewise, to look at."""

    images: np.ndarray
    labels: np.ndarray
    held_images: np.ndarray
    held_labels: np.ndarray
    class_names: tuple[str, ...]


def prepared_images(settings: Settings, choice: DataChoice, spec: ModelSpec, beat: Beat) -> Prepared:
    """The images of a choice at the spec's size; decoded now where they are not kept.

    Raises UserError for a broken image, for a data set that has changed, and where the disk is full; Interrupted.
    """
    folder = settings.home / FOLDER / prepared_key(choice, spec)
    kept = _read(folder)
    if kept is None:
        found = training_images(settings, choice, spec, beat=lambda _done, _of: beat())
        made = Prepared(found.images, found.labels, found.held_images, found.held_labels, found.class_names)
        _keep(folder, made)
        kept = _read(folder) or made
    if spec.class_names and kept.class_names != spec.class_names:
        raise UserError("The classes of the data set are not those that the training was asked for; start it anew.")
    return kept


def prepared_key(choice: DataChoice, spec: ModelSpec) -> str:
    """sha256 over the choice, which names the data set's contents, and the size of the model's input."""
    asked = {"choice": asdict(choice), "size": [spec.height, spec.width, spec.channels], "version": VERSION}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def prepared_count(settings: Settings, choice: DataChoice, spec: ModelSpec) -> int | None:
    """How many images a choice trains on, where they are kept; None where they are not. Reads a header alone."""
    file = settings.home / FOLDER / prepared_key(choice, spec) / "labels.npy"
    try:
        return len(np.load(file, mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError, EOFError):
        return None  # not prepared yet, or damaged, which whoever needs the images says


def forget_prepared(settings: Settings, older_than: float = KEPT_SECONDS) -> int:
    """Delete what nobody has used for so many seconds, and what a killed runner left half-made; returns how many."""
    limit = time.time() - older_than
    old = [folder for folder in (settings.home / FOLDER).glob("*") if changed_before(folder, limit)]
    for folder in old:
        shutil.rmtree(folder, ignore_errors=True)
    return len(old)


def _keep(folder: Path, made: Prepared) -> None:
    """Write beside the folder and rename: a reader sees all of it or none."""
    temporary = folder.parent / f".tmp-{uuid4().hex}"
    try:
        temporary.mkdir(parents=True)
        for name in ARRAYS:
            np.save(temporary / f"{name}.npy", getattr(made, name), allow_pickle=False)
        (temporary / "classes.json").write_text(json.dumps(made.class_names), encoding="utf-8")
        for file in temporary.iterdir():
            with file.open("rb") as written:
                os.fsync(written.fileno())
        if folder.exists():  # damaged: it could not be read
            shutil.rmtree(folder)
        temporary.rename(folder)
    except OSError as error:
        raise UserError(
            f"The prepared images could not be stored ({error.strerror}); make room in {folder.parent} and start the "
            "training anew."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _read(folder: Path) -> Prepared | None:
    """What is kept, mapped into memory; None where nothing is, or nothing that can be read."""
    if not folder.is_dir():
        return None
    try:
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in ARRAYS}
        names = tuple(json.loads((folder / "classes.json").read_text(encoding="utf-8")))
        os.utime(folder)
    except (OSError, ValueError, EOFError) as error:
        log.info("%s is damaged and made anew (%s)", folder, error)
        return None
    return Prepared(**arrays, class_names=names)

"""What the disk is used for, by kind. One look at the folders and one query a column: fast enough for a page."""

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select

from core.storage import schema
from core.storage.space import free_bytes
from core.storage.store import Store

FRESH_SECONDS = 60.0  # an answer is given again for so long

# Kind -> (what it is, what becomes of it), in the order of the table.
KINDS: dict[str, tuple[str, str]] = {
    "originals": ("Originals and their sources", "Kept: the same picture is stored once."),
    "reconstructions": ("Reconstructions", "Kept: scores and answers belong to them."),
    "models": ("Weights of models", "Kept. Epochs that no run has used can be deleted by hand."),
    "tables": ("Imported tables", "Kept."),
    "previews": (
        "Previews of attacks",
        "All frames for 7 days after a run's end, then each image's last; above 2 GiB the oldest runs' go first.",
    ),
    "checkpoints": ("Checkpoints of what runs", "Deleted when their job ends."),
    "unnamed": ("Files that nothing names", "Deleted a day after their last use."),
    "datasets": ("Data sets", "Kept: delete them by hand."),
    "weights": ("Pretrained weights", "Kept: delete them by hand."),
    "indexes": (
        "Indexes of data sets, some with unpacked pictures",
        "Kept, one for each data set as its files are now; made again if deleted by hand.",
    ),
    "caches": ("Pictures at a model's size", "Made again when wanted; deleted when unused for long or above 4 GiB."),
    "uploads": ("Uploads on their way in", "Deleted after a day."),
    "database": ("Database", "Kept. One on a server is not counted."),
    "logs": ("Logs", "Kept."),
    "other": ("Other files of the home folder", "Kept."),
}
# A file that several kinds name counts once, for the first of these.
COLUMNS = (
    ("originals", schema.originals.c.image_sha),
    ("originals", schema.originals.c.source_sha),
    ("reconstructions", schema.reconstructions.c.image_sha),
    ("models", schema.models.c.weights_sha),
    ("tables", schema.imported_tables.c.file_sha),
    ("previews", schema.previews.c.image_sha),
    ("checkpoints", schema.shards.c.checkpoint_sha),
)
FOLDERS = {"indexes": "indexes", "unaugmented": "caches", "prepared": "caches", "uploads": "uploads", "logs": "logs"}


@dataclass(frozen=True)
class KindUse:
    """One kind of file: how many, how large, and the rule that bounds it."""

    kind: str
    title: str
    files: int
    bytes: int
    rule: str


@dataclass(frozen=True)
class Usage:
    """All kinds in the order of KINDS, those without files too; free: bytes left on the disk of the home."""

    kinds: tuple[KindUse, ...]
    free: int

    @property
    def total(self) -> int:
        """Bytes of all kinds together."""
        return sum(one.bytes for one in self.kinds)

    def of(self, kind: str) -> KindUse:
        """One kind; KeyError for an unknown one."""
        return {one.kind: one for one in self.kinds}[kind]


_kept: dict[Path, tuple[float, Usage]] = {}
_lock = threading.Lock()


def disk_usage(store: Store, fresh: float = FRESH_SECONDS) -> Usage:
    """What the home, its database, data sets and pretrained weights take; an answer up to `fresh` seconds old is given.

    Reads the size of every file but opens none. Files that vanish meanwhile are not counted.
    """
    home = store.settings.home
    with _lock:
        kept = _kept.get(home)
        if kept is None or time.monotonic() - kept[0] >= fresh:
            kept = _kept[home] = (time.monotonic(), _measure(store))
    return kept[1]


def forget_usage(store: Store) -> None:
    """Measure anew next time: something was deleted."""
    with _lock:
        _kept.pop(store.settings.home, None)


def artifact_sizes(store: Store) -> dict[str, int]:
    """Bytes of every artifact by its sha256."""
    return {os.path.basename(path).split(".")[0]: size for path, size in _walk(store.artifacts.root)}


def _measure(store: Store) -> Usage:
    settings, counted = store.settings, {kind: [0, 0] for kind in KINDS}

    def add(kind: str, size: int) -> None:
        counted[kind][0] += 1
        counted[kind][1] += size

    kinds = _named(store)
    for sha, size in artifact_sizes(store).items():
        add(kinds.get(sha, "unnamed"), size)
    apart = {store.artifacts.root, settings.datasets, settings.weights}
    for kind, folder in (("datasets", settings.datasets), ("weights", settings.weights)):
        for _, size in _walk(folder):
            add(kind, size)
    database = store.database.url.database if store.database.url.get_backend_name() == "sqlite" else None
    files = {f"{Path(database).absolute()}{ending}" for ending in ("", "-wal", "-shm")} if database else set()
    for path in files:
        if os.path.isfile(path):
            add("database", os.path.getsize(path))
    for path, size in _walk(settings.home, apart):
        if path not in files:
            add(FOLDERS.get(Path(path).relative_to(settings.home).parts[0], "other"), size)
    rows = tuple(
        KindUse(kind, title, counted[kind][0], counted[kind][1], rule) for kind, (title, rule) in KINDS.items()
    )
    return Usage(rows, free_bytes(settings.home))


def _named(store: Store) -> dict[str, str]:
    """Kind of every file that a row names."""
    found: dict[str, str] = {}
    with store.database.read() as connection:
        for kind, column in COLUMNS:
            for sha in connection.execute(select(column).where(column.is_not(None)).distinct()).scalars():
                found.setdefault(sha, kind)
    return found


def _walk(folder: Path, apart: set[Path] | frozenset[Path] = frozenset()) -> Iterator[tuple[str, int]]:
    """(path, bytes) of every file below a folder, without those below `apart`; links are not followed."""
    left = {str(path) for path in apart}
    waiting = [str(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        if entry.path not in left:
                            waiting.append(entry.path)
                        continue
                    size = _size(entry)
                    if size is not None:
                        yield entry.path, size
        except OSError:  # gone since its parent was read, or not ours to read
            continue


def _size(entry: "os.DirEntry[str]") -> int | None:
    try:
        return entry.stat(follow_symlinks=False).st_size
    except FileNotFoundError:
        return None

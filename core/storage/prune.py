"""What may be deleted by rule, and its deletion: never a file that a row still names."""

import shutil
import time
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, delete, func, select

from core.storage.database import bump
from core.storage.garbage import file_columns, only_database
from core.storage.schema import jobs, previews, shards
from core.storage.space import size_words
from core.storage.store import Store
from core.storage.usage import artifact_sizes, forget_usage

DAY = 24 * 3600.0
ENDED = ("done", "failed", "cancelled")
BATCH = 500  # names in one question to the database
CACHES = ("prepared", "unaugmented")  # folders of the home whose entries are made again when they are wanted

NAMES = {  # of the kinds of files that are deleted by rule: one, several
    "previews": ("preview", "previews"),
    "caches": ("kept picture or folder of pictures", "kept pictures or folders of pictures"),
    "checkpoints": ("checkpoint", "checkpoints"),
    "unnamed": ("file that nothing names", "files that nothing names"),
    "uploads": ("upload", "uploads"),
}


@dataclass(frozen=True)
class Rules:
    """How long what, and how much of it."""

    preview_days: float = 7.0  # after a run's end all its frames are kept for so long, then each image's last
    preview_bytes: int = 2 << 30  # all previews of ended runs; above, the oldest runs lose theirs
    cache_bytes: int = 4 << 30  # pictures at a model's size; above, those go that were unused for longest
    spare_seconds: float = 3600.0  # files that were just written or used stay whatever the rules say


@dataclass(frozen=True)
class Pruned:
    """What was deleted: (kind, files, bytes) each; empty when nothing was."""

    parts: tuple[tuple[str, int, int], ...] = ()

    @property
    def files(self) -> int:
        """All files."""
        return sum(files for _, files, _ in self.parts)

    @property
    def bytes(self) -> int:
        """All bytes."""
        return sum(size for _, _, size in self.parts)

    def words(self) -> str:
        """What was deleted, such as "12 previews (3.4 MiB), 1 upload"; "nothing" where nothing was."""
        return ", ".join(_part_words(*part) for part in self.parts) or "nothing"


def _part_words(kind: str, files: int, size: int) -> str:
    one, many = NAMES[kind]
    return f"{files:,} {one if files == 1 else many}" + (f" ({size_words(size)})" if size else "")


def prune(store: Store, rules: Rules | None = None, now: float | None = None) -> Pruned:
    """Delete previews and cached pictures by the rules. now: seconds since the epoch.

    Nothing is pruned of what several databases may name (see `core.storage.garbage`), except caches.
    """
    rules, now = rules or Rules(), time.time() if now is None else now
    parts = []
    if only_database(store):
        sizes = artifact_sizes(store)
        with store.database.write() as connection:
            gone = _thin(connection, now - rules.preview_days * DAY)
            gone |= _cap(connection, rules.preview_bytes, sizes)
            if gone:
                bump(connection, "jobs")
        parts.append(("previews", *_remove(store, gone, sizes, now - rules.spare_seconds)))
    parts.append(("caches", *_prune_caches(store.settings.home, rules, now)))
    forget_usage(store)
    return Pruned(tuple(part for part in parts if part[1]))


def _thin(connection: Connection, before: float) -> set[str]:
    """Delete all frames but each image's last, of runs that ended before; the files that their rows named."""
    newest = previews.alias("newest")
    last = (
        select(func.max(newest.c.step))
        .where(newest.c.shard_id == previews.c.shard_id, newest.c.target == previews.c.target)
        .scalar_subquery()
    )
    return _delete(connection, and_(previews.c.shard_id.in_(_ended(before)), previews.c.step < last))


def _cap(connection: Connection, limit: int, sizes: dict[str, int]) -> set[str]:
    """Delete the previews of ended runs, those that ended first first, until all together fit the limit."""
    rows = connection.execute(
        select(jobs.c.id, previews.c.image_sha)
        .join(shards, shards.c.id == previews.c.shard_id)
        .join(jobs, jobs.c.id == shards.c.job_id)
        .where(jobs.c.state.in_(ENDED))
        .order_by(jobs.c.finished, jobs.c.id)
    )
    runs: dict[int, set[str]] = {}
    for job, sha in rows:
        runs.setdefault(job, set()).add(sha)
    naming = Counter(sha for shas in runs.values() for sha in shas)  # a frame goes with the last run that shows it
    total = sum(sizes.get(sha, 0) for sha in naming)
    doomed: list[int] = []
    for job, shas in runs.items():
        if total <= limit:
            break
        doomed.append(job)
        naming.subtract(shas)
        total -= sum(sizes.get(sha, 0) for sha in shas if not naming[sha])
    gone: set[str] = set()
    for some in _batches(doomed):
        mine = select(shards.c.id).where(shards.c.job_id.in_(some))
        gone |= _delete(connection, previews.c.shard_id.in_(mine))
    return gone


def _ended(before: float) -> Select[tuple[int]]:
    """Shards of jobs that ended before."""
    over = and_(jobs.c.state.in_(ENDED), jobs.c.finished < before)
    return select(shards.c.id).join(jobs, jobs.c.id == shards.c.job_id).where(over)


def _delete(connection: Connection, which: ColumnElement[bool]) -> set[str]:
    found = set(connection.execute(select(previews.c.image_sha).where(which)).scalars())
    if found:
        connection.execute(delete(previews).where(which))
    return found


def _remove(store: Store, shas: Collection[str], sizes: dict[str, int], before: float) -> tuple[int, int]:
    """Delete the files that no row names any more and that were untouched since `before`: (files, bytes)."""
    files = size = 0
    for sha in sorted(set(shas) - still_named(store, shas)):
        if store.artifacts.exists(sha) and store.artifacts.path(sha).stat().st_mtime <= before:
            store.artifacts.remove(sha)
            files, size = files + 1, size + sizes.get(sha, 0)
    return files, size


def still_named(store: Store, shas: Collection[str]) -> set[str]:
    """Those of the files that some row names."""
    named: set[str] = set()
    with store.database.read() as connection:
        for some in _batches(sorted(shas)):
            for column in file_columns():
                named.update(connection.execute(select(column).where(column.in_(some))).scalars())
    return named


def _prune_caches(home: Path, rules: Rules, now: float) -> tuple[int, int]:
    """Delete the entries that were unused for longest until the rest fits: (entries, bytes)."""
    entries = [entry for name in CACHES for entry in _entries(home / name)]
    total, count, freed = sum(size for _, size, _ in entries), 0, 0
    for used, size, path in sorted(entries):
        if total <= rules.cache_bytes or used > now - rules.spare_seconds:
            break
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        total, count, freed = total - size, count + 1, freed + size
    return count, freed


def _entries(folder: Path) -> Iterable[tuple[float, int, Path]]:
    """(last use, bytes, path) of each file or folder in a cache."""
    for path in folder.glob("*"):
        try:
            inside = list(path.iterdir()) if path.is_dir() else [path]
            yield path.stat().st_mtime, sum(file.stat().st_size for file in inside), path
        except OSError:  # another process deleted it meanwhile
            continue


def _batches(values: list[Any]) -> list[list[Any]]:
    return [values[start : start + BATCH] for start in range(0, len(values), BATCH)]

"""Indexes in the home: what is deleted of them, and when."""

import os
import time
from pathlib import Path

import pytest

from core.images.datasets import open_dataset
from core.images.sets import cache
from core.jobs.prepared import forget_prepared
from core.settings import Settings
from tests.images.dataset_files import class_folder

DAY = 24 * 3600


def age(path: Path, days: float) -> None:
    then = time.time() - days * DAY
    os.utime(path, (then, then))


def test_unused_indexes_and_the_drafts_of_the_killed_are_deleted(settings: Settings, tmp_path: Path) -> None:
    one, two = (f"folder:{class_folder(tmp_path / name, {'a': 2, 'b': 2})}" for name in ("one", "two"))
    open_dataset(one, settings)
    (used,) = (settings.home / "indexes").iterdir()
    open_dataset(two, settings)
    (unused,) = set((settings.home / "indexes").iterdir()) - {used}
    age(used, 40)
    age(unused, 31)
    old, new = (settings.home / "indexes" / f"folder-x.{number}.part" for number in (1, 2))
    for draft, days in ((old, 1.1), (new, 0.9)):
        draft.mkdir()
        age(draft, days)
    open_dataset(one, settings)  # it is used again
    assert cache.forget_indexes(settings) == 2
    assert set((settings.home / "indexes").iterdir()) == {used, new}
    assert len(open_dataset(two, settings).entries) == 4


def test_what_goes_while_it_is_looked_at_does_not_matter(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("indexes", "prepared"):
        (settings.home / name).mkdir(parents=True)
    monkeypatch.setattr(Path, "glob", lambda folder, pattern: iter([folder / "gone"]))
    assert cache.forget_indexes(settings) == 0
    assert forget_prepared(settings) == 0

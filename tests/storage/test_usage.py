"""Disk use by kind against files whose sizes are known; each file once, whoever names it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from core.errors import UserError
from core.settings import load_settings
from core.storage import schema, space
from core.storage.store import Store, open_store
from core.storage.usage import COLUMNS, KINDS, disk_usage, forget_usage
from tests.filled_store import Filled, fill_store


@pytest.fixture
def store(home: Path) -> Iterator[Store]:
    made = open_store(load_settings())
    yield made
    made.database.dispose()


@pytest.fixture
def filled(store: Store) -> Filled:
    return fill_store(store, originals=6, runs=1)


def size_of(store: Store, shas: set[str]) -> int:
    return sum(store.artifacts.path(sha).stat().st_size for sha in shas)


def shas(store: Store, column) -> set[str]:
    with store.database.read() as connection:
        return {sha for sha in connection.execute(select(column)).scalars() if sha}


def test_every_column_that_names_a_file_has_its_kind() -> None:
    from core.storage.garbage import file_columns

    assert {column for _, column in COLUMNS} == set(file_columns())
    assert {kind for kind, _ in COLUMNS} < set(KINDS)


def test_kinds_add_up_to_what_lies_there(store: Store, filled: Filled) -> None:
    home = store.settings.home
    for name, count in (("datasets/cifar/a.bin", 1000), ("weights/w.safetensors", 200), ("unaugmented/x.png", 30),
                        ("prepared/key/images.npy", 4000), ("uploads/u.upload", 5), ("logs/runner.log", 60),
                        ("fetch/state.json", 7),
                        ("indexes/lfw-1/pictures.bin", 900)):  # fmt: skip
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(b"x" * count)
    orphan = store.artifacts.put_bytes(b"nobody's", ".bin")
    found = disk_usage(store)
    originals = shas(store, schema.originals.c.image_sha)
    made = shas(store, schema.reconstructions.c.image_sha) - originals  # the first reconstruction is its original
    assert len(made) == len(shas(store, schema.reconstructions.c.image_sha)) - 1
    assert found.of("originals").bytes == size_of(store, originals)
    assert found.of("reconstructions").bytes == size_of(store, made)
    assert (found.of("unnamed").files, found.of("unnamed").bytes) == (1, 8)
    assert store.artifacts.path(orphan).stat().st_size == 8
    by_hand = {"datasets": 1000, "weights": 200, "caches": 4030, "indexes": 900, "uploads": 5, "logs": 60}
    assert {kind: found.of(kind).bytes for kind in by_hand} == by_hand
    assert found.of("database").bytes >= (home / "semsight.db").stat().st_size
    everything = sum(path.stat().st_size for path in home.rglob("*") if path.is_file())
    assert found.total == everything
    assert found.of("other").bytes >= 7
    assert found.free > 0


def test_an_answer_is_kept_for_a_while_and_forgotten_when_something_is_deleted(store: Store, filled: Filled) -> None:
    first = disk_usage(store)
    store.artifacts.put_bytes(b"new", ".bin")
    assert disk_usage(store) is first
    forget_usage(store)
    assert disk_usage(store).of("unnamed").files == 1
    assert disk_usage(store, fresh=0.0) is not disk_usage(store, fresh=0.0)


def test_data_sets_elsewhere_are_counted_where_they_lie(home: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "sets"
    elsewhere.mkdir()
    (elsewhere / "a").write_bytes(b"x" * 11)
    (elsewhere / "link").symlink_to(elsewhere)  # is not followed round and round
    store = open_store(load_settings({"SEMSIGHT_HOME": str(home), "SEMSIGHT_DATASETS": str(elsewhere)}))
    assert disk_usage(store).of("datasets").bytes == 11 + (elsewhere / "link").lstat().st_size
    store.database.dispose()


def test_too_little_space_is_said_before_anything_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space, "free_bytes", lambda _: 300 << 20)
    space.enough_space(tmp_path, 44 << 20, "The download")
    with pytest.raises(UserError, match=r"The download needs about 45.0 MiB, but .* has 300 MiB free"):
        space.enough_space(tmp_path, 45 << 20, "The download")


def test_a_full_disk_is_recognised_whoever_says_it() -> None:
    from sqlite3 import OperationalError

    from sqlalchemy.exc import OperationalError as Wrapped

    assert space.out_of_space(OSError(28, "No space left on device"))
    assert space.out_of_space(Wrapped("insert", {}, OperationalError("database or disk is full")))
    assert not space.out_of_space(OSError(13, "Permission denied"))
    outer = UserError("could not be stored")
    outer.__cause__ = OSError(122, "Disk quota exceeded")
    assert space.out_of_space(outer)


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (200 << 20, "200 MiB"), (3 << 30, "3.0 GiB")]
)
def test_sizes_in_words(count: int, words: str) -> None:
    assert space.size_words(count) == words

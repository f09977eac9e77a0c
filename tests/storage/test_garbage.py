"""Files that no row names are found by the schema, and deleted only where every row is in view."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, Table

from core.settings import load_settings
from core.storage import schema
from core.storage.garbage import collect_files, file_columns
from core.storage.store import Store, open_store


@pytest.fixture
def store(home: Path) -> Iterator[Store]:
    made = open_store(load_settings())
    yield made
    made.database.dispose()


def old_file(store: Store, data: bytes) -> str:
    sha = store.artifacts.put_bytes(data, ".bin")
    os.utime(store.artifacts.path(sha), (1.0, 1.0))
    return sha


def test_every_column_that_names_a_file_is_known() -> None:
    """A column whose name ends in sha names a file by the words of the schema, whatever its type was written as."""
    named = {f"{t.name}.{c.name}" for t in schema.metadata.tables.values() for c in t.columns if c.name.endswith("sha")}
    found = {f"{column.table.name}.{column.name}" for column in file_columns()}
    assert found == named
    assert {
        "models.weights_sha",
        "originals.image_sha",
        "originals.source_sha",
        "shards.checkpoint_sha",
        "previews.image_sha",
        "reconstructions.image_sha",
        "imported_tables.file_sha",
    } <= found


def test_a_new_column_is_never_forgotten() -> None:
    late = Table("late", schema.metadata, Column("id", Integer, primary_key=True), Column("thing", schema.SHA))
    try:
        assert late.c.thing in file_columns()
    finally:
        schema.metadata.remove(late)


def test_what_a_row_names_stays_and_the_rest_goes_when_it_is_old(store: Store) -> None:
    named, orphan = old_file(store, b"named"), old_file(store, b"orphan")
    young = store.artifacts.put_bytes(b"young", ".bin")
    with store.database.write() as connection:
        row = {"name": "table", "file_sha": named, "rows": 1, "created": 0.0}
        connection.execute(schema.imported_tables.insert().values(**row))
    assert collect_files(store) == [orphan]
    assert (store.artifacts.exists(named), store.artifacts.exists(young)) == (True, True)


def test_nothing_goes_from_a_home_that_another_database_has_used(store: Store, tmp_path: Path) -> None:
    orphan = old_file(store, b"named by a row of the other database")
    other = open_store(replace(store.settings, database_url=f"sqlite:///{tmp_path / 'other.db'}"))
    assert collect_files(other) == []
    assert collect_files(store) == []
    other.database.dispose()
    assert store.artifacts.exists(orphan)


def test_a_home_that_moved_is_still_its_own(store: Store, home: Path) -> None:
    orphan = old_file(store, b"orphan")
    store.database.dispose()
    moved = home.rename(home.with_name("elsewhere"))
    again = open_store(load_settings({"SEMSIGHT_HOME": str(moved)}))
    assert collect_files(again) == [orphan]
    again.database.dispose()

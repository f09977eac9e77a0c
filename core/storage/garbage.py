"""Which files no row names any more, and their removal."""

from sqlalchemy import Column, select

from core.storage import schema
from core.storage.store import DATABASES, Store

# A file is written before the row that names it. From an upload on the Audit page to its row lies all the time that
# a person takes to label it, so files are given as long as uploads are (core.jobs.uploads).
KEPT_SECONDS = 24 * 3600.0


def file_columns() -> tuple[Column[str], ...]:
    """Every column of the schema that holds the sha256 of a file, found by its type so that none is forgotten."""
    return tuple(
        column
        for table in schema.metadata.sorted_tables
        for column in table.columns
        if column.type is schema.SHA and column.name != "identity"
    )


def only_database(store: Store) -> bool:
    """Whether no other database was ever used with this home: then every row that may name a file is in view."""
    return len((store.settings.home / DATABASES).read_text().split()) <= 1


def collect_files(store: Store, older_than: float = KEPT_SECONDS) -> list[str]:
    """Delete files that no row names, untouched for `older_than` seconds. Returns their shas.

    Nothing is deleted in a home that several databases have used: a file may belong to a row of another one.
    """
    if not only_database(store):
        return []
    named: set[str] = set()
    with store.database.read() as connection:
        for column in file_columns():
            named.update(connection.execute(select(column).where(column.is_not(None)).distinct()).scalars())
    return store.artifacts.collect(named, older_than)

"""Tables of answers and scores made elsewhere. They are kept beside the store's own and never merged with them."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
from sqlalchemy import select

from core.errors import UserError
from core.names import safe_text
from core.statistics.human_table import COLUMNS, parse_table
from core.statistics.study import Direction
from core.storage.database import bump
from core.storage.schema import imported_tables
from core.storage.store import Store
from core.tables import read_table


@dataclass(frozen=True)
class ImportedTable:
    """A table in the published human-study layout."""

    id: int
    name: str
    rows: int
    file_sha: str


def import_table(store: Store, name: str, data: bytes, *, directions: Mapping[str, Direction]) -> int:
    """Keep a CSV in the published human-study layout; return its id, the same for the same bytes.

    directions: which end of each metric that is computed here means more leakage (core.metrics.registry.directions).
    Raises UserError with one sentence for anything that cannot be correlated; nothing is kept then.
    """
    frame = _read(data, name)
    parse_table(frame, directions)
    sha = store.artifacts.put_bytes(data, ".csv")
    query = select(imported_tables.c.id).where(imported_tables.c.file_sha == sha)
    with store.database.write() as connection:
        known = connection.execute(query).scalar()
        if known is not None:
            return int(known)
        row = {"name": safe_text(name), "file_sha": sha, "rows": len(frame), "created": time.time()}
        made = connection.execute(imported_tables.insert().values(**row)).inserted_primary_key
        bump(connection, "studies")
    if made is None:  # no database that we use leaves it out
        raise ValueError("The database gave the new row no id.")
    return int(made[0])


def imported(store: Store) -> list[ImportedTable]:
    """All imported tables, newest first."""
    query = select(imported_tables).order_by(imported_tables.c.id.desc())
    with store.database.read() as connection:
        return [ImportedTable(row.id, row.name, row.rows, row.file_sha) for row in connection.execute(query)]


def read_imported(store: Store, table_id: int) -> tuple[ImportedTable, pd.DataFrame]:
    """One imported table and its rows; UserError for an unknown id."""
    found = [table for table in imported(store) if table.id == table_id]
    if not found:
        raise UserError(f"There is no imported table {table_id}; pick one from the list or upload it again.")
    return found[0], _read(store.artifacts.read_bytes(found[0].file_sha), found[0].name)


def _read(data: bytes, name: str) -> pd.DataFrame:
    return read_table(data, required=COLUMNS, name=name)

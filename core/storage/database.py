"""The database: one engine that writes, one that reads, and migrations under a lock."""

import fcntl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, create_engine, event, inspect, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from core.errors import UserError
from core.storage.schema import changes

HEAD = "0002"  # the newest migration; a test compares it with the scripts
BUSY_MILLISECONDS = 30_000
WRITE_LOCK, UPGRADE_LOCK = 7_316_001, 7_316_002  # PostgreSQL advisory locks; arbitrary, but ours


class Database:
    """SQLite or PostgreSQL by URL, with the same promises: writers take turns, readers never wait for them.

    Raises UserError for a URL of anything else, and ImportError when the driver is not installed.
    """

    def __init__(self, url: str) -> None:
        self.url = _parse(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._writer = create_engine(self.url, pool_pre_ping=not self.is_sqlite)
        self._reader = create_engine(self.url, pool_pre_ping=not self.is_sqlite)
        if self.is_sqlite:
            _prepare_sqlite(self._writer, "BEGIN IMMEDIATE", query_only=False)
            _prepare_sqlite(self._reader, "BEGIN", query_only=True)
        else:
            self._reader = self._reader.execution_options(postgresql_readonly=True)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that no other writer interleaves: what it reads stays true until it commits.

        Keep it short. An error rolls all of it back.
        """
        with self._writer.begin() as connection:
            if not self.is_sqlite:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": WRITE_LOCK})
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads."""
        with self._reader.begin() as connection:
            yield connection

    def upgrade(self) -> None:
        """Bring the tables to HEAD. Safe when several processes call it at once, and cheap when nothing is to do."""
        if self._revision() == HEAD:
            return
        with self._upgrade_lock(), self._writer.connect() as connection:
            if self.is_sqlite:
                connection.exec_driver_sql("ROLLBACK")  # the journal mode cannot change inside a transaction
                connection.exec_driver_sql("PRAGMA journal_mode=WAL")
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            else:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": UPGRADE_LOCK})
            _run_migrations(connection)
            connection.commit()

    def dispose(self) -> None:
        """Close every pooled connection."""
        self._writer.dispose()
        self._reader.dispose()

    def _revision(self) -> str | None:
        if self.is_sqlite and not Path(str(self.url.database)).exists():
            return None
        with self._writer.connect() as connection:
            if not inspect(connection).has_table("alembic_version"):
                return None
            found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
            return found

    @contextmanager
    def _upgrade_lock(self) -> Iterator[None]:
        if not self.is_sqlite:
            yield
            return
        with Path(f"{self.url.database}.upgrade.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # let go by the system when the process dies
            yield


def bump(connection: Connection, name: str) -> int:
    """Count one change of `name` up, inside a write; return the new value."""
    insert = upsert(connection, changes).values(name=name, value=1)
    statement = insert.on_conflict_do_update(index_elements=["name"], set_={"value": changes.c.value + 1})
    return int(connection.execute(statement.returning(changes.c.value)).scalar_one())


def change(connection: Connection, name: str) -> int:
    """The counter `name`; 0 if nothing ever changed. Cheap enough to poll."""
    found = connection.execute(select(changes.c.value).where(changes.c.name == name)).scalar()
    return int(found or 0)


def insert_once(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> int:
    """Insert the rows that no unique constraint of `table` holds already; return how many landed."""
    landed = 0
    for row in rows:
        statement = upsert(connection, table).values(**row).on_conflict_do_nothing()
        landed += len(connection.execute(statement.returning(*table.primary_key)).all())
    return landed


def upsert(connection: Connection, table: Table) -> Any:
    """The dialect's INSERT, which knows ON CONFLICT."""
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    return dialect.insert(table)


def _parse(text: str) -> URL:
    """The URL with our driver; UserError, without its password, when it names no database that we can use."""
    known = "sqlite:///FILE or postgresql://USER@HOST/NAME"
    try:
        url = make_url(text)
    except (ArgumentError, ValueError) as error:
        raise UserError(f"SEMSIGHT_DATABASE_URL is no database URL; write {known}, or unset it.") from error
    kind = url.get_backend_name()
    if kind not in ("sqlite", "postgres", "postgresql"):
        raise UserError(
            f"SemSight keeps its rows in SQLite or PostgreSQL, not {kind[:40]}; set SEMSIGHT_DATABASE_URL to {known}."
        )
    if kind == "sqlite" and url.database in (None, "", ":memory:"):
        raise UserError(f"SEMSIGHT_DATABASE_URL names no file; write {known}, or unset it.")
    if url.drivername in ("postgres", "postgresql"):
        url = url.set(drivername="postgresql+psycopg")
    try:
        url.get_dialect()
    except NoSuchModuleError as error:
        raise UserError(
            f"SEMSIGHT_DATABASE_URL names the driver {url.get_driver_name()[:40]}, which there is not; write {known}."
        ) from error
    return url


def _prepare_sqlite(engine: Engine, begin: str, *, query_only: bool) -> None:
    """Let us, not the driver, begin transactions; set what SQLite keeps for each connection."""

    def connected(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={BUSY_MILLISECONDS}")
        cursor.execute("PRAGMA foreign_keys=ON")
        if query_only:
            cursor.execute("PRAGMA query_only=ON")
        cursor.close()

    def begun(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    event.listen(engine, "connect", connected)
    event.listen(engine, "begin", begun)


def _run_migrations(connection: Connection) -> None:
    from alembic import command  # slow to import, and wanted only when there is something to do
    from alembic.config import Config
    from alembic.script.revision import ResolutionError
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        if not isinstance(error.__cause__, ResolutionError):
            raise
        raise UserError(
            f"This home was written by a newer SemSight (its tables are of revision {error.__cause__.argument}), "
            "which this one cannot read; update SemSight."
        ) from error

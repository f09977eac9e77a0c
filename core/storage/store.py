"""The store: one home folder with its database and its files."""

import fcntl
import hashlib
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from core.errors import UserError
from core.settings import Settings
from core.storage.artifacts import ArtifactStore
from core.storage.database import Database

DATABASES = "databases.txt"  # in the home: a line for each database that was ever used with it


@dataclass(frozen=True)
class Store:
    """What pages, jobs, labels and reports share; make one for each process."""

    database: Database
    artifacts: ArtifactStore
    settings: Settings


def open_store(settings: Settings) -> Store:
    """Make the home folder if it is absent and bring its tables up to date; safe from several processes at once.

    Raises UserError when the home cannot be written or the database cannot be used.
    """
    folders = [settings.home / name for name in ("artifacts", "logs", "uploads", "weights")]
    try:
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        probe = settings.home / f".probe-{uuid4().hex}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"SemSight keeps its data in {settings.home}, which cannot be written ({error.strerror}); "
            "mend its permissions or set SEMSIGHT_HOME to a folder that you can write."
        ) from error
    database = _open_database(settings.database_url)
    _note_database(settings.home, database.url)
    return Store(database=database, artifacts=ArtifactStore(settings.home / "artifacts"), settings=settings)


def _note_database(home: Path, url: URL) -> None:
    """Keep which databases name files of this home; a home that moves keeps its own."""
    own = url.get_backend_name() == "sqlite" and Path(str(url.database)).absolute().parent == home
    name = Path(str(url.database)).name if own else url.render_as_string(hide_password=True)
    line = hashlib.sha256(name.encode()).hexdigest()
    with (home / DATABASES).open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        if line not in file.read().split():
            file.write(f"{line}\n")


def _open_database(url: str) -> Database:
    """The database at its newest migration; every sentence hides the password of the URL."""
    try:
        database = Database(url)
    except ImportError as error:
        raise UserError(
            f"The Python driver of the database is not installed ({error}); install it, or mend SEMSIGHT_DATABASE_URL."
        ) from error
    try:
        database.upgrade()
    except (DBAPIError, OSError) as error:
        said = str(error.orig if isinstance(error, DBAPIError) else error.strerror).strip() or type(error).__name__
        database.dispose()
        raise UserError(
            f"The database {database.url.render_as_string(hide_password=True)} cannot be opened "
            f"({said.splitlines()[0]}); check that it runs and that SEMSIGHT_DATABASE_URL is right."
        ) from error
    except UserError:
        database.dispose()
        raise
    return database

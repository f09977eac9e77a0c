"""The store: one home folder with its database and its files."""

from dataclasses import dataclass
from uuid import uuid4

from sqlalchemy.exc import OperationalError

from core.errors import UserError
from core.settings import Settings
from core.storage.artifacts import ArtifactStore
from core.storage.database import Database


@dataclass(frozen=True)
class Store:
    """What pages, jobs, labels and reports share; make one for each process."""

    database: Database
    artifacts: ArtifactStore
    settings: Settings


def open_store(settings: Settings) -> Store:
    """Make the home folder if it is absent and bring its tables up to date; safe from several processes at once.

    Raises UserError when the home cannot be written or the database cannot be reached.
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
    database = Database(settings.database_url)
    try:
        database.upgrade()
    except OperationalError as error:
        raise UserError(
            f"The database {database.url.render_as_string(hide_password=True)} cannot be opened "
            f"({str(error.orig).strip().splitlines()[0]}); check that it runs and that SEMSIGHT_DATABASE_URL is right."
        ) from error
    return Store(database=database, artifacts=ArtifactStore(settings.home / "artifacts"), settings=settings)

"""Databases to test against: SQLite always, PostgreSQL where its server is installed."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from core.storage.database import Database


def _as_server_user(folder: Path) -> list[str]:
    """PostgreSQL refuses root: run its tools as user postgres, who then owns the folder."""
    if os.geteuid() != 0:
        return []
    account = pwd.getpwnam("postgres")
    os.chown(folder, account.pw_uid, account.pw_gid)
    return ["runuser", "-u", "postgres", "--"]


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """URL prefix of a PostgreSQL server of our own, without the name of a database."""
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not binaries:
        pytest.skip("PostgreSQL's server is not installed (no /usr/lib/postgresql/*/bin/initdb)")
    tools = binaries[-1].parent
    folder = Path(tempfile.mkdtemp(prefix="semsight-pg-"))  # short: a socket's path is limited to 107 bytes
    prefix = _as_server_user(folder)
    data, quiet = folder / "data", {"check": True, "capture_output": True, "cwd": "/"}
    subprocess.run([*prefix, tools / "initdb", "-D", data, "-A", "trust", "-U", "semsight", "-N"], **quiet)
    options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
    control = [*prefix, tools / "pg_ctl", "-D", data, "-w"]
    subprocess.run([*control, "-l", folder / "log", "-o", options, "start"], **{**quiet, "capture_output": False})
    try:
        yield f"postgresql://semsight@/%s?host={folder}"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], **quiet)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an empty database, once for each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'test.db'}"
    pattern: str = request.getfixturevalue("postgresql")
    name = f"t{uuid4().hex[:12]}"
    admin = Database(pattern % "postgres")
    with admin._writer.connect() as connection:
        connection.connection.driver_connection.autocommit = True
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    admin.dispose()
    return pattern % name


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """A database at the newest migration."""
    made = Database(url)
    made.upgrade()
    yield made
    made.dispose()

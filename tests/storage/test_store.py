"""Opening a home: made when absent, refused in one sentence when it cannot be."""

import errno
import os
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import UserError
from core.settings import load_settings
from core.storage.store import open_store


def test_an_empty_home_becomes_a_store(home: Path) -> None:
    store = open_store(load_settings())
    sha = store.artifacts.put_bytes(b"x", ".bin")
    assert store.artifacts.path(sha).is_relative_to(home)
    store.database.dispose()
    again = open_store(load_settings())
    assert again.artifacts.read_bytes(sha) == b"x"
    again.database.dispose()


def test_a_home_that_cannot_be_written_is_said_so(home: Path) -> None:
    """bad-input-39"""
    home.write_text("a file where the folder should be")
    with pytest.raises(UserError, match="cannot be written"):
        open_store(load_settings())


def test_a_home_that_became_read_only_is_said_so(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """bad-input-39; its folders are there already, so only writing a file shows it."""
    open_store(load_settings()).database.dispose()

    def refused(_path: Path, _data: bytes) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "write_bytes", refused)
    with pytest.raises(UserError, match=r"cannot be written \(Read-only file system\)"):
        open_store(load_settings())


def test_a_database_that_stays_locked_is_said_so(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """bad-input-39; somebody else holds it for longer than we wait."""
    monkeypatch.setattr("core.storage.database.BUSY_MILLISECONDS", 20)
    home.mkdir()
    other = sqlite3.connect(home / "semsight.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(UserError, match=r"cannot be opened \(database is locked\)"):
        open_store(load_settings())
    other.close()
    open_store(load_settings()).database.dispose()


def test_a_database_that_is_gone_is_said_so(home: Path) -> None:
    """bad-input-39"""
    settings = replace(load_settings(), database_url="postgresql://u:secret@/none?host=/nonexistent")
    with pytest.raises(UserError, match="cannot be opened") as caught:
        open_store(settings)
    assert "secret" not in str(caught.value)


def test_opening_imports_no_torch(home: Path) -> None:
    code = (
        "import sys; from core.settings import load_settings; from core.storage.store import open_store; "
        "open_store(load_settings()); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("garbage", "is no database URL"),
        ("postgresql://u:secret@h:port/x", "is no database URL"),
        ("mysql://u:secret@h/x", "SQLite or PostgreSQL, not mysql"),
        ("nonesuch://u:secret@h/x", "SQLite or PostgreSQL, not nonesuch"),
        ("sqlite+nonesuch:///x.db", "driver"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:////nonexistent/x.db", "cannot be opened"),
    ],
)
def test_a_url_of_no_usable_database_is_one_sentence(home: Path, url: str, match: str) -> None:
    with pytest.raises(UserError, match=match) as caught:
        open_store(replace(load_settings(), database_url=url))
    assert "secret" not in str(caught.value)
    assert "SEMSIGHT_DATABASE_URL" in str(caught.value)


def test_a_file_that_is_no_database_is_said_so(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("dear diary, " * 100)
    with pytest.raises(UserError, match="file is not a database"):
        open_store(replace(load_settings(), database_url=f"sqlite:///{file}"))


def test_a_home_of_a_newer_semsight_asks_for_an_update(home: Path) -> None:
    store = open_store(load_settings())
    with store.database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    store.database.dispose()
    with pytest.raises(UserError, match=r"newer SemSight \(its tables are of revision 9999\).* update SemSight"):
        open_store(load_settings())

"""Shared fixtures. Tests may use ../shared; in CI (SEMSIGHT_NO_SKIP) nothing may be skipped."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


# No test, and nothing that one leaves behind, may touch the home of the person who runs them.
NOBODYS_HOME = tempfile.mkdtemp(prefix="semsight-tests-")
os.environ["SEMSIGHT_HOME"] = NOBODYS_HOME


@pytest.fixture
def shared() -> Path:
    """The folder of reference data beside the checkout; skips with a reason where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("../shared is absent: the reference data is not part of the project")
    return SHARED


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty SEMSIGHT_HOME, and no other SEMSIGHT_* variable from outside."""
    for name in list(os.environ):
        if name.startswith("SEMSIGHT_") and name != "SEMSIGHT_NO_SKIP":
            monkeypatch.delenv(name)
    folder = tmp_path / "home"
    monkeypatch.setenv("SEMSIGHT_HOME", str(folder))
    monkeypatch.setenv("SEMSIGHT_PROBE", "off")  # a page under test starts no measurement
    return folder


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Under SEMSIGHT_NO_SKIP a skipped test fails the run."""
    shutil.rmtree(NOBODYS_HOME, ignore_errors=True)
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = len(reporter.stats.get("skipped", [])) if reporter else 0
    if os.environ.get("SEMSIGHT_NO_SKIP") and skipped and exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED

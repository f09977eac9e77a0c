"""`python -m core worker`: runs what is queued, and shows its own help."""

from pathlib import Path

import pytest

from core.__main__ import main
from core.attacks import ATTACKS
from core.jobs.launch import runner_lock
from core.jobs.queue import submit
from core.settings import load_settings
from core.storage.store import open_store
from tests.jobs.conftest import attack_job, job_row, outcome
from tests.jobs.fakes import FAKE


@pytest.fixture(autouse=True)
def inline(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMSIGHT_EXECUTOR", "inline")
    monkeypatch.setenv("SEMSIGHT_THREADS", "1")
    monkeypatch.setitem(ATTACKS, "fake", FAKE)


def test_until_idle_runs_what_is_queued_and_ends() -> None:
    store = open_store(load_settings())
    job = submit(store, attack_job(store), "queued").job_id
    assert main(["worker", "--until-idle"]) == 0
    assert job_row(store, job).state == "done"
    assert outcome(store, job)
    store.database.dispose()


def test_a_second_runner_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with runner_lock(load_settings()):
        assert main(["worker"]) == 1
    assert "works on" in capsys.readouterr().err


def test_help_shows_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["worker", "--help"])
    assert ended.value.code == 0
    assert "--until-idle" in capsys.readouterr().out

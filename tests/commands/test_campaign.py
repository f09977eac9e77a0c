"""`campaign` on the command line: list, show, run to the end, run again, pause, and how it refuses."""

import csv
from pathlib import Path

import pytest
from sqlalchemy import update

from core.__main__ import main
from core.campaigns.presets import PRESETS
from core.campaigns.toml import read_toml
from core.jobs.campaign_work import advance
from core.jobs.campaigns import submit_campaign
from core.settings import load_settings
from core.storage.schema import jobs
from core.storage.store import open_store

TINY = """
name = "tiny"
device = "cpu"
[[data]]
dataset = "photos"
size = 16
originals = { count = 2 }
[[victims]]
name = "net"
architecture = "lenet"
[[recipes]]
name = "trained"
epochs = 1
batch_size = 8
[[recipes]]
name = "untrained"
trained = false
[[attacks]]
attack = "inverting-gradients"
settings = { steps = 5 }
controls = 0
"""


@pytest.fixture(autouse=True)
def _home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An own store, and everything in this process."""
    monkeypatch.setenv("SEMSIGHT_EXECUTOR", "inline")
    monkeypatch.setenv("SEMSIGHT_THREADS", "1")


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    file = tmp_path / "tiny.toml"
    file.write_text(TINY, encoding="utf-8")
    return str(file)


def test_run_to_the_end_and_a_second_time(tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "out"
    assert main(["campaign", "run", tiny, "--out", str(out)]) == 0
    first = capsys.readouterr()
    assert "2 settings: 1 training, 2 runs on 2 originals" in first.err
    assert first.out.count("done      100%") == 2
    with (out / "settings.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["recipe"] for row in rows] == ["trained", "untrained"]
    assert all(float(row["psnr_mean"]) > 0 for row in rows)

    assert main(["campaign", "run", tiny]) == 0
    assert "Campaign 1 is done already" in capsys.readouterr().out
    assert main(["campaign", "status"]) == 0
    assert "1 tiny: done, 2 of 2 settings ended" in capsys.readouterr().out


def test_list_and_show(capsys: pytest.CaptureFixture[str]):
    assert main(["campaign", "list"]) == 0
    listed = capsys.readouterr().out
    assert all(f"{name} " in listed for name in PRESETS)
    assert main(["campaign", "show", "mini"]) == 0
    shown = capsys.readouterr()
    assert read_toml(shown.out) == PRESETS["mini"].campaign
    assert "12 settings: 6 trainings, 12 runs on 8 originals" in shown.err
    assert main(["campaign", "show", "paper"]) == 0
    assert "CIFAR-100 is not on this machine" in capsys.readouterr().err


def test_pause_resume_cancel(tiny: str, capsys: pytest.CaptureFixture[str]):
    store = open_store(load_settings())
    submit_campaign(store, read_toml(TINY))
    for action, state in (("pause", "paused"), ("resume", "queued"), ("cancel", "cancelled")):
        assert main(["campaign", action, "1"]) == 0
        assert f"tiny: {state}" in capsys.readouterr().out
    store.database.dispose()


def test_an_empty_store_says_so(capsys: pytest.CaptureFixture[str]):
    assert main(["campaign", "status"]) == 0
    assert capsys.readouterr().out == "There is no campaign in this store yet; `campaign run mini` launches one.\n"


def test_a_paused_job_ends_run_with_its_sentence_and_running_again_resumes_it(
    tiny: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """In the runner's stead: every job that is asked for is paused, as on a full disk."""
    store = open_store(load_settings())

    def pauses(*_: object, **__: object) -> int:
        with store.database.write() as connection:
            work = (jobs.c.kind != "campaign", jobs.c.state == "queued")
            connection.execute(update(jobs).where(*work).values(state="paused", error="The disk is full."))
        advance(store)
        return 0

    monkeypatch.setattr("core.jobs.runner.run_jobs", pauses)
    monkeypatch.setattr("core.commands.campaign.WATCH_SECONDS", 0.01)
    for _ in range(2):
        assert main(["campaign", "run", tiny]) == 1
        said = capsys.readouterr().err
        assert "is paused (The disk is full); `campaign resume 1`" in said
    assert main(["campaign", "resume", "1"]) == 0
    assert "training" in capsys.readouterr().out
    store.database.dispose()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["run", "minni"], "no campaign called 'minni'; did you mean mini"),
        (["run", "nope"], "no campaign called 'nope'; known: five, mini, mini-cut, paper."),
        (["run", "pap"], "no campaign called 'pap'; did you mean paper?"),
        (["run", "nowhere.toml"], "There is no file 'nowhere.toml'"),
        (["status", "4"], "There is no campaign 4"),
        (["cancel", "4"], "There is no campaign 4"),
        (["run", "paper"], "CIFAR-100 is not on this machine"),
    ],
)
def test_a_refusal_is_one_sentence(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]):
    assert main(["campaign", *arguments]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert sentence in said
    assert said.count("\n") == 1


def test_many_settings_want_a_yes(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    victims = "".join(f'[[victims]]\nname = "v{n}"\npreset = "lenet"\n' for n in range(501))
    file = tmp_path / "many.toml"
    file.write_text(TINY.replace("[[recipes]]", f"{victims}[[recipes]]", 1), encoding="utf-8")
    assert main(["campaign", "run", str(file)]) == 1
    assert "503 settings" in capsys.readouterr().err

"""`score --sets`: the folders as two sets, beside the pairs."""

import json
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.__main__ import main
from core.commands.score_sets import SetScore, set_lines
from core.metrics.set_features import set_features
from core.metrics.set_statistics import statistics
from core.metrics.sets import SET_METRICS
from core.settings import load_settings
from tests.commands.score_fixtures import arguments, counts, stopped, write_pairs
from tests.metrics.pairs import real_pairs

COUNT = 12


@pytest.fixture
def folders(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "no-torch-cache"))
    return write_pairs(tmp_path, COUNT)


@pytest.fixture
def with_alexnet(folders: tuple[Path, Path], shared: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    monkeypatch.setenv("SEMSIGHT_WEIGHTS", str(shared / "weights"))
    return folders


def test_values_are_those_of_all_pictures_at_once(
    with_alexnet: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.commands.score_sets.HELD", 5)  # 5, 5 and 2 pairs at a time
    names = ["fid_alex", "recall_alex"]
    command = arguments(with_alexnet, tmp_path / "s.csv", "--metrics", "mse", "--sets", ",".join(names))
    assert main(command) == 0
    sides = [set_features(list(images), "alexnet", load_settings()) for images in real_pairs(32, COUNT)]
    expected = statistics(*sides, ["fid", "recall"], k=5)
    record = json.loads((tmp_path / "s.csv.sets.json").read_text())
    assert list(record) == names
    assert record["fid_alex"]["value"] == pytest.approx(expected["fid"], rel=1e-4)  # float32 features, other batches
    assert record["recall_alex"]["value"] == pytest.approx(expected["recall"], abs=1 / COUNT)
    assert record["fid_alex"]["n"] == COUNT
    assert "From 12 pictures" in record["fid_alex"]["warning"]
    assert record["fid_alex"]["weights_hash"]
    printed = capsys.readouterr()
    assert printed.err == ""
    lines = printed.out.splitlines()
    assert lines[0].split()[0] == "fid_alex"
    assert lines[0].split()[2] == "↓"
    assert any(line.startswith("warning: fid_alex: From 12 pictures") for line in lines)


def test_what_cannot_be_computed_is_an_error_only_if_named(
    with_alexnet: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(with_alexnet, tmp_path / "s.csv", "--metrics", "mse", "--sets")) == 0
    notes = capsys.readouterr().err.splitlines()
    assert len(notes) == 1  # those on Inception, whose weights are not here: one reason, one line
    assert notes[0].startswith("note: fid, kid, precision, recall, density, coverage: ")
    assert "inception-fid" in notes[0]
    assert main(arguments(with_alexnet, tmp_path / "s.csv", "--metrics", "mse", "--sets", "fid")) == 1
    assert capsys.readouterr().err.startswith("error: fid: ")
    record = json.loads((tmp_path / "s.csv.sets.json").read_text())
    assert record["fid"]["value"] is None
    assert record["fid"]["reason"]


def test_too_few_pictures_and_pairs_that_are_none(
    with_alexnet: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i in range(4, COUNT):
        (with_alexnet[1] / f"{i}.png").write_bytes(b"")
    Image.new("RGB", (40, 40)).save(with_alexnet[0] / "3.png")  # two sizes within one set
    Image.new("RGB", (40, 40)).save(with_alexnet[1] / "3.png")
    assert main(arguments(with_alexnet, tmp_path / "s.csv", "--metrics", "mse", "--sets", "kid_alex,recall_alex")) == 1
    assert "recall_alex: unavailable: needs at least 6 pictures in each set, got 4" in capsys.readouterr().err
    record = json.loads((tmp_path / "s.csv.sets.json").read_text())
    assert np.isfinite(record["kid_alex"]["value"])


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--sets", "fidd"), "did you mean"),
        (("--sets", ","), "names no set metric"),
        (("--metrics", "fid"), "ask for it with --sets fid"),
    ],
)
def test_faults_are_one_sentence(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], words: str
) -> None:
    assert main(arguments(folders, tmp_path / "s.csv", *more)) == 1
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_a_run_stopped_at_its_sets_keeps_its_pairs(with_alexnet: tuple[Path, Path], tmp_path: Path) -> None:
    """Ctrl-C as its features begin: the second run scores no pair again."""
    command = arguments(with_alexnet, tmp_path / "s.csv", "--metrics", "mse", "--sets", "fid_alex")
    log = tmp_path / "log"
    done = stopped(log, signal.SIGINT, 0, command, target="core.metrics.set_features.set_features")
    assert done.returncode == 130, done.stderr
    assert "give the same command again" in done.stderr
    assert (tmp_path / "s.csv").is_file()
    assert (tmp_path / "s.csv.partial").is_file()
    assert main(command) == 0
    assert counts(log) == [COUNT]
    assert not (tmp_path / "s.csv.partial").exists()


def test_one_warning_for_all_that_share_it() -> None:
    scores = [SetScore(SET_METRICS[name], 0.5, 20) for name in ("kid_alex", "recall_alex")]
    scores.append(SetScore(SET_METRICS["fid_alex"], float("inf"), 10_000))
    lines = list(set_lines(scores))
    assert lines[2].split() == ["fid_alex", "inf", "↓"]
    assert [line.partition(": From")[0] for line in lines[3:]] == ["warning: kid_alex, recall_alex"]

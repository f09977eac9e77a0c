"""`score` goes on from where it was stopped: same bytes in the end, and nothing is scored twice."""

import dataclasses
import json
import signal
from pathlib import Path

import pytest
from PIL import Image

from core.__main__ import main
from core.commands.score_journal import MARK, Journal
from core.errors import UserError
from core.metrics import scoring
from core.metrics.base import Score
from core.metrics.registry import METRICS
from tests.commands.score_fixtures import arguments, counts, stopped, write_pairs

COUNT, BATCH = 22, 4  # pieces of 4, 4, 4, 4, 4 and 2
NEVER = 99  # no piece has this number: the process runs to its end


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, tuple[str, ...]]]:
    """What is scored in this process: pairs and metrics of each call."""
    calls: list[tuple[int, tuple[str, ...]]] = []
    score_pairs = scoring.score_pairs

    def counted(originals, reconstructions, names, settings, **more):
        calls.append((len(originals), tuple(names)))
        return score_pairs(originals, reconstructions, names, settings, **more)

    monkeypatch.setattr(scoring, "score_pairs", counted)
    return calls


@pytest.fixture
def folders(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "no-torch-cache"))
    return write_pairs(tmp_path, COUNT)


def interrupted(folders: tuple[Path, Path], out: Path, metrics: str = "mse,ssim") -> list[str]:
    """Kill -9 a run as its fourth piece begins; return the command."""
    command = arguments(folders, out, "--metrics", metrics, "--batch", str(BATCH))
    log = out.with_name("log")
    done = stopped(log, signal.SIGKILL, 3, command)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert counts(log) == [4, 4, 4]
    assert not out.exists()
    return command


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_killed_run_goes_on_to_the_same_bytes(
    ending: str, folders: tuple[Path, Path], tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEMSIGHT_WEIGHTS", str(shared / "weights"))
    for folder in folders:  # one pair of another size, in the piece that is cut off
        Image.open(folder / "13.png").resize((40, 40)).save(folder / "13.png")
    whole, parts = tmp_path / f"whole.{ending}", tmp_path / f"parts.{ending}"
    more = ("--metrics", "mse,psnr,ssim,ms_ssim,lpips_alex", "--batch", str(BATCH))
    done = stopped(tmp_path / "whole.log", signal.SIGKILL, NEVER, arguments(folders, whole, *more))
    assert done.returncode == 1, done.stderr  # ms_ssim was asked for and is not defined at 32 px
    assert counts(tmp_path / "whole.log") == [4, 4, 4, 4, 4, 2]

    log = tmp_path / "parts.log"
    first = stopped(log, signal.SIGKILL, 3, arguments(folders, parts, *more))
    assert first.returncode == -signal.SIGKILL
    second = stopped(log, signal.SIGKILL, NEVER, arguments(folders, parts, *more))
    assert second.returncode == 1
    assert counts(log) == [4, 4, 4, 4, 4, 2]  # 12 before, 10 after: each pair once
    assert second.stderr.splitlines()[0] == "note: 12 of 22 pairs had been scored before."
    assert parts.read_bytes() == whole.read_bytes()
    assert not parts.with_name(f"{parts.name}.partial").exists()


def test_ctrl_c_says_how_to_go_on(
    folders: tuple[Path, Path], tmp_path: Path, scored: list, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "s.csv"
    command = arguments(folders, out, "--metrics", "mse", "--batch", str(BATCH))
    done = stopped(tmp_path / "log", signal.SIGINT, 2, command)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "error: stopped by you after 8 of 22 pairs; give the same command again to go on.\n"
    assert main(command) == 0
    assert [pairs for pairs, _ in scored] == [4, 4, 4, 2]
    assert len(out.read_text().splitlines()) == 1 + COUNT


def test_ctrl_c_at_once_leaves_nothing(folders: tuple[Path, Path], tmp_path: Path) -> None:
    done = stopped(tmp_path / "log", signal.SIGINT, 0, arguments(folders, tmp_path / "s.csv"))
    assert done.returncode == 130
    assert done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("s.csv")] == []


def test_a_torn_last_line_is_scored_again(folders: tuple[Path, Path], tmp_path: Path, scored: list) -> None:
    out = tmp_path / "s.csv"
    command = interrupted(folders, out)
    journal = tmp_path / "s.csv.partial"
    data = journal.read_bytes()
    journal.write_bytes(data[:-20])  # the third piece's line loses its end, as when power fails
    assert main(command) == 0
    assert sum(pairs for pairs, _ in scored) == COUNT - 8
    again = tmp_path / "again.csv"
    assert main(arguments(folders, again, "--metrics", "mse,ssim")) == 0
    assert again.read_bytes() == out.read_bytes()


def test_a_line_that_the_disk_lost_is_scored_again(folders: tuple[Path, Path], tmp_path: Path, scored: list) -> None:
    command = interrupted(folders, tmp_path / "s.csv")
    journal = tmp_path / "s.csv.partial"
    mark, first, *rest = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(mark + b"\0" * (len(first) - 1) + b"\n" + b"".join(rest))
    assert main(command) == 0
    assert sum(pairs for pairs, _ in scored) == COUNT - 8


def test_a_file_that_changed_is_scored_anew(folders: tuple[Path, Path], tmp_path: Path, scored: list) -> None:
    out = tmp_path / "s.csv"
    command = interrupted(folders, out)
    Image.open(folders[0] / "5.png").save(folders[1] / "5.png")
    assert main(command) == 0
    assert sum(pairs for pairs, _ in scored) == COUNT - 12 + 1
    row = next(line for line in out.read_text().splitlines() if line.startswith("5,"))
    assert row == "5,0.0,1.0"  # it is now identical to its original


def test_a_metric_of_another_version_is_scored_anew_and_the_others_are_not(
    folders: tuple[Path, Path], tmp_path: Path, scored: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = interrupted(folders, tmp_path / "s.csv")
    monkeypatch.setitem(METRICS, "ssim", dataclasses.replace(METRICS["ssim"], version="none of ours"))
    assert main(command) == 0
    by_metrics: dict[tuple[str, ...], int] = {}
    for pairs, names in scored:
        by_metrics[names] = by_metrics.get(names, 0) + pairs
    assert by_metrics == {("ssim",): 12, ("mse", "ssim"): COUNT - 12}


def test_more_metrics_than_before(folders: tuple[Path, Path], tmp_path: Path, scored: list) -> None:
    out = tmp_path / "s.csv"
    interrupted(folders, out, "mse")
    assert main(arguments(folders, out, "--metrics", "mae,mse")) == 0
    assert {names for _, names in scored} == {("mae",), ("mae", "mse")}
    assert out.read_text().startswith("name,mae,mse\n0,")


def test_restart_ignores_the_journal(folders: tuple[Path, Path], tmp_path: Path, scored: list) -> None:
    command = interrupted(folders, tmp_path / "s.csv")
    assert main([*command, "--restart"]) == 0
    assert sum(pairs for pairs, _ in scored) == COUNT


def test_a_full_disk_keeps_what_was_done(
    folders: tuple[Path, Path], tmp_path: Path, scored: list, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "s.csv"
    command = arguments(folders, out, "--metrics", "mse", "--batch", str(BATCH))
    with monkeypatch.context() as full:
        full.setattr("core.commands.output.os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left")))
        full.setattr("core.commands.score_journal.SYNC_SECONDS", 1e9)
        full.setattr("core.commands.score_journal.sync_folder", lambda _: None)
        full.setattr("core.commands.score_journal.Journal.close", lambda journal: journal._file.close())
        assert main(command) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "cannot be written (No space left)" in error
    assert [path.name for path in tmp_path.iterdir() if "s.csv" in path.name] == ["s.csv.partial"]
    scored.clear()
    assert main(command) == 0
    assert scored == []


def test_killed_while_the_table_is_written(folders: tuple[Path, Path], tmp_path: Path, scored: list) -> None:
    """Nothing is scored again, and the half-written file does not stay."""
    command = arguments(folders, tmp_path / "s.csv", "--metrics", "mse,ms_ssim", "--batch", str(BATCH))
    done = stopped(tmp_path / "log", signal.SIGKILL, 0, command, target="core.commands.score_table._reason_rows")
    assert done.returncode == -signal.SIGKILL
    assert [path for path in tmp_path.iterdir() if path.suffix == ".tmp"]
    (tmp_path / ".s.csv.notes.tmp").write_text("not ours")
    assert main(command) == 1
    assert scored == []
    assert sorted(path.name for path in tmp_path.iterdir() if "s.csv" in path.name) == [
        ".s.csv.notes.tmp", "s.csv", "s.csv.json", "s.csv.reasons.csv"
    ]  # fmt: skip


def test_two_runs_at_once_are_refused(folders: tuple[Path, Path], tmp_path: Path) -> None:
    with Journal(tmp_path / "s.csv.partial") as first:
        first.add(["m"], [b"k" * 32], [[Score(1.0)]])
        with pytest.raises(UserError, match=r"Another process is writing s\.csv\.partial"):
            Journal(tmp_path / "s.csv.partial")


def test_a_file_that_is_no_journal_stays(folders: tuple[Path, Path], tmp_path: Path) -> None:
    mine = tmp_path / "s.csv.partial"
    mine.write_text("my own notes")
    for more in ((), ("--restart",)):
        assert main(arguments(folders, tmp_path / "s.csv", *more)) == 1
    assert mine.read_text() == "my own notes"


def test_the_journal_keeps_every_kind_of_value(tmp_path: Path) -> None:
    path = tmp_path / "j"
    small = Score(None, "unavailable: needs at least 11 px, got 8")
    values = [Score(0.1 + 0.2), Score(float("inf")), Score(float("-inf")), small, Score(-0.0)]
    metrics = [f"m{i} | 1" for i in range(5)]
    with Journal(path) as journal:
        journal.add(metrics, [b"\1" * 32], [values])
    with Journal(path) as journal:
        assert len(journal) == 1
        assert journal.find(b"\1" * 32, metrics) == dict(zip(metrics, values, strict=True))
        assert list(journal.find(b"\1" * 32, metrics[3:4])) == metrics[3:4]
        assert journal.find(b"\2" * 32, metrics) == {}


@pytest.mark.parametrize(
    "line",
    [
        b"[]", b"1", b"{}", b'{"metrics":["m"],"rows":[["zz",[1]]]}', b'{"metrics":["m"],"rows":[["00",[1,2]]]}',
        b'{"metrics":["m"],"rows":[["00",[null]]]}', b'{"metrics":["m"],"rows":[["00",["x"]]]}', b"\xff\xfe",
        b'{"metrics":["m"],"rows":[["00",[[]]]]}', b'{"metrics":[1],"rows":[]}',
    ],
)  # fmt: skip
def test_a_damaged_line_is_as_good_as_none(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "j"
    good = json.dumps({"metrics": ["m"], "rows": [["01", [2.5]]]}).encode()
    path.write_bytes(MARK + line + b"\n" + good + b"\n")
    with Journal(path) as journal:
        assert len(journal) == 1
        assert journal.find(b"\1", ["m"]) == {"m": Score(2.5)}


def test_a_reason_that_may_be_mended_is_not_kept(tmp_path: Path) -> None:
    """An image stays too small; weights that could not be read may be there next time."""
    values = [Score(None, "the metric is not defined for this pair"), Score(None, "w.safetensors cannot be read.")]
    with Journal(tmp_path / "j") as journal:
        journal.add(["m", "n"], [b"k"], [values])
    with Journal(tmp_path / "j") as journal:
        assert journal.find(b"k", ["m", "n"]) == {"m": values[0]}


def test_nothing_was_scored_before_where_nothing_can_be(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(folders, tmp_path / "s.csv", "--metrics", "lpips_vgg")) == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1
    assert errors[0].startswith("error: lpips_vgg: ")
    assert len((tmp_path / "s.csv").read_text().splitlines()) == 1 + COUNT

"""A metric that fails unexpectedly: one sentence, exit status 1, all others scored, and tried again."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from core.__main__ import main
from core.commands import score_sets
from core.metrics import set_features, set_statistics
from core.metrics.base import Context
from core.metrics.registry import METRICS
from tests.commands.score_fixtures import arguments, write_pairs

Compute = Callable[[torch.Tensor, torch.Tensor, Context | None], torch.Tensor]
COUNT = 7


@pytest.fixture
def folders(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "no-torch-cache"))
    return write_pairs(tmp_path, COUNT)


def failing(monkeypatch: pytest.MonkeyPatch, error: Exception, *, after: int = 0) -> list[int]:
    """`gmsd` raises in its calls beyond the first `after`; a list that grows with them."""
    calls: list[int] = []

    def compute(x: torch.Tensor, y: torch.Tensor, context: Context | None) -> torch.Tensor:
        calls.append(len(x))
        if len(calls) > after:
            raise error
        return x.flatten(1).mean(1)

    monkeypatch.setitem(METRICS, "gmsd", replace(METRICS["gmsd"], compute=compute, compute_bytes=None))
    return calls


def rows(out: Path) -> list[dict[str, str]]:
    with out.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


ERRORS = [AssertionError("expected\nanother shape"), KeyError("x"), RuntimeError("no kernel"), OSError(5, "lost")]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("named", [True, False])
def test_one_that_fails_loses_no_other(
    folders: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    named: bool,
) -> None:
    failing(monkeypatch, error)
    out = tmp_path / "s.csv"
    assert main(arguments(folders, out, *(("--metrics", "mse,gmsd,psnr") if named else ()))) == 1
    told = [line for line in capsys.readouterr().err.splitlines() if "gmsd" in line]
    assert len(told) == 1
    assert told[0].startswith(f"error: gmsd: gmsd failed: {type(error).__name__}: ")
    assert told[0].endswith(f"({COUNT} of {COUNT} pairs)")
    found = rows(out)
    assert all(row["mse"] and row["psnr"] and not row.get("gmsd") for row in found)
    reasons = rows(tmp_path / "s.csv.reasons.csv") if named else []
    assert [row["reason"].startswith("gmsd failed: ") for row in reasons] == [True] * (COUNT if named else 0)


def test_one_that_fails_for_some_pairs_keeps_the_rest(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, ZeroDivisionError("none"), after=1)
    out = tmp_path / "s.csv"
    assert main(arguments(folders, out, "--metrics", "gmsd", "--batch", "3")) == 1
    assert [bool(row["gmsd"]) for row in rows(out)] == [True] * 3 + [False] * 4
    assert "gmsd failed: ZeroDivisionError: none (4 of 7 pairs)" in capsys.readouterr().err


def test_a_failure_is_tried_again_and_the_rest_is_not(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "s.csv"
    command = arguments(folders, out, "--metrics", "mse,gmsd")
    calls = failing(monkeypatch, ValueError("broken"))
    with monkeypatch.context() as broken:  # the table cannot be written, so the journal stays
        broken.setattr("core.commands.score_table.write_table", interrupted)
        assert main(command) == 130
    assert calls == [COUNT]
    assert "gmsd failed" in (tmp_path / "s.csv.partial").read_text()
    failing(monkeypatch, ValueError("broken"), after=1)
    assert main(command) == 0
    assert all(row["mse"] and row["gmsd"] for row in rows(out))


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("x"), MemoryError(), RuntimeError("can't allocate memory")])
def test_memory_that_runs_out_ends_the_run(
    folders: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    failing(monkeypatch, error)
    assert main(arguments(folders, tmp_path / "s.csv", "--metrics", "mse,gmsd")) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: The memory of ")
    assert told.count("\n") == 1
    assert not (tmp_path / "s.csv").exists()


SETS = ("--metrics", "mse", "--sets")


@pytest.fixture
def with_alexnet(folders: tuple[Path, Path], shared: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    monkeypatch.setenv("SEMSIGHT_WEIGHTS", str(shared / "weights"))
    return folders


def failed(*_: object, **__: object) -> float:
    raise ArithmeticError("it did not converge")


@pytest.mark.parametrize("named", [("fid_alex,kid_alex",), ()])
def test_a_statistic_that_fails_loses_no_other(
    with_alexnet: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    named: tuple[str, ...],
) -> None:
    monkeypatch.setattr(set_statistics, "frechet_distance", failed)
    assert main(arguments(with_alexnet, tmp_path / "s.csv", *SETS, *named)) == 1
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert told == ["error: fid_alex: fid_alex failed: ArithmeticError: it did not converge"]
    record = json.loads((tmp_path / "s.csv.sets.json").read_text())
    assert record["fid_alex"]["value"] is None
    assert record["fid_alex"]["reason"].startswith("fid_alex failed: ")
    assert record["kid_alex"]["value"] is not None
    assert len(rows(tmp_path / "s.csv")) == COUNT


def test_a_network_that_fails_is_the_reason_of_its_metrics(
    with_alexnet: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score_sets, "HELD", 3)
    calls: list[int] = []

    def wrong(images: list[object], *_: object, **__: object) -> None:
        calls.append(len(images))
        raise KeyError("features.0")

    monkeypatch.setattr(set_features, "set_features", wrong)
    assert main(arguments(with_alexnet, tmp_path / "s.csv", *SETS)) == 1
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(told) == 1
    assert told[0].startswith("error: fid_alex, kid_alex, ")
    assert told[0].endswith(": alexnet failed: KeyError: 'features.0'")
    assert calls == [3]  # it is not asked again for the pictures that follow


def test_memory_that_runs_out_for_sets_is_one_sentence(
    with_alexnet: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def hungry(*_: object, **__: object) -> float:
        raise MemoryError

    monkeypatch.setattr(set_statistics, "kernel_distance", hungry)
    assert main(arguments(with_alexnet, tmp_path / "s.csv", *SETS, "kid_alex")) == 1
    assert capsys.readouterr().err.startswith(f"error: The memory does not suffice to compare {COUNT} pictures as sets")
    monkeypatch.setattr(set_features, "set_features", hungry)
    assert main(arguments(with_alexnet, tmp_path / "s.csv", *SETS, "kid_alex")) == 1
    assert "does not suffice for the networks" in capsys.readouterr().err

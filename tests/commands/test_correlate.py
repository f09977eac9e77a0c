"""`python -m core correlate`, as a user runs it."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from core.__main__ import main
from core.commands.correlate import short_table
from core.metrics.registry import METRICS

HEADER = "config,image_id,true_class,annotator_1,annotator_2,annotator_3,psnr,lpips_alex\n"
ROWS = """a,1,5,5,5,5,20,0.1
a,2,6,6,-1,-1,11,0.5
b,1,5,5,5,-1,15,0.2
b,2,6,6,6,6,inf,0.1
c,1,5,-1,-1,-1,9,0.9
c,2,6,6,,2,12,NaN
"""


def table(tmp_path: Path, text: str = HEADER + ROWS) -> str:
    path = tmp_path / "study.csv"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_the_published_table_as_a_command(shared: Path, tmp_path: Path) -> None:
    out = tmp_path / "result.json"
    command = [sys.executable, "-m", "core", "correlate", "--resamples", "20", "--out", str(out), "--table"]
    done = subprocess.run([*command, str(shared / "data" / "human_study_convnet.csv")], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")  # quiet when piped
    result = json.loads(out.read_text(), parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert result["n"] == 4200
    assert round(result["image_level"]["lpips"]["spearman"]["estimate"], 4) == 0.4242  # REFERENCE.md
    assert round(result["agreement"]["fleiss_kappa"]["estimate"], 4) == 0.4088
    assert "0.4242    0.3121    0.7208    0.7187    0.8214" in short_table(result)


def test_without_out_the_result_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["correlate", "--table", table(tmp_path), "--resamples", "20"]) == 0
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    assert (result["n"], result["unscored"]) == (6, 1)
    assert result["image_level"]["psnr"]["auc"]["estimate"] == 1.0


def test_a_short_table_on_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    out = tmp_path / "new" / "result.json"
    assert main(["correlate", "--table", table(tmp_path), "--resamples", "20", "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["metric", "Spearman", "Kendall", "AUC", "pairs", "settings", "Spearman", "95", "%"]
    assert lines[1].startswith("psnr")
    assert json.loads(out.read_text())["n"] == 6
    assert [p.name for p in out.parent.iterdir()] == ["result.json"]  # nothing temporary is left


def test_one_setting_is_a_note_not_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = HEADER + ROWS.replace("b,", "a,").replace("c,", "a,")
    assert main(["correlate", "--table", table(tmp_path, text), "--resamples", "20"]) == 0
    printed = capsys.readouterr()
    assert "no spearman at setting level: needs at least 3 settings, got 1." in printed.err
    assert json.loads(printed.out)["setting_level"]["psnr"]["spearman"]["estimate"] is None


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    path = table(tmp_path)
    for name, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        assert (
            main(["correlate", "--table", path, "--resamples", "20", "--seed", seed, "--out", str(tmp_path / name)])
            == 0
        )
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() != (tmp_path / "c").read_bytes()


def test_a_metric_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = table(tmp_path, (HEADER + ROWS).replace("psnr", "mine"))
    assert main(["correlate", "--table", path]) == 1
    told = capsys.readouterr().err
    assert "'mine'" in told
    assert "--direction NAME=higher" in told
    assert main(["correlate", "--table", path, "--direction", "mine=higher", "--resamples", "0"]) == 0
    assert json.loads(capsys.readouterr().out)["image_level"]["mine"]["auc"]["estimate"] == 1.0
    assert main(["correlate", "--table", path, "--direction", "mine=up"]) == 1
    assert "NAME=higher or NAME=lower" in capsys.readouterr().err


def test_a_metric_of_ours_needs_no_direction(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METRICS, "brightness", replace(METRICS["mse"], name="brightness"))  # as one file, one line
    path = table(tmp_path, (HEADER + ROWS).replace("psnr", "brightness"))
    assert main(["correlate", "--table", path, "--resamples", "0"]) == 0
    assert json.loads(capsys.readouterr().out)["image_level"]["brightness"]["auc"]["estimate"] == 0.0  # lower is more


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ((HEADER + ROWS).replace("true_class", "class"), "no column 'true_class'"),
        ((HEADER + ROWS).replace("20,0.1", "loud,0.1"), "row 2 (the header is row 1) holds 'loud'"),
        (HEADER + ROWS.replace("a,1,5,5", "a,1,5,cat"), "'annotator_1' must hold numbers"),
        (HEADER, "no rows"),
        (HEADER + "a,1,5,,,,20,0.1\n", "nobody has labelled"),
        (HEADER + "a,1,5,5\n", "4 cells in row 2"),
        ("", "is empty"),
    ],
)
def test_faults_are_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, words: str) -> None:
    out = tmp_path / "result.json"
    assert main(["correlate", "--table", table(tmp_path, text), "--out", str(out)]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert words in printed.err
    assert printed.err.count("\n") == 1
    assert not out.exists()


def test_wrong_encoding_missing_file_and_bad_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "latin.csv"
    path.write_bytes((HEADER + ROWS).replace("a,1", "é,1").encode("latin-1"))
    assert main(["correlate", "--table", str(path)]) == 1
    assert "not in UTF-8" in capsys.readouterr().err
    assert main(["correlate", "--table", str(tmp_path / "none.csv")]) == 1
    assert "no file" in capsys.readouterr().err
    assert main(["correlate", "--table", table(tmp_path), "--resamples", "-3"]) == 1
    assert "--" not in capsys.readouterr().out
    assert main(["correlate", "--table", table(tmp_path), "--out", str(tmp_path / "study.csv" / "x.json")]) == 1
    assert "cannot be written" in capsys.readouterr().err


def test_ten_million_rows_are_refused_before_they_are_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "huge.csv"
    with path.open("w") as file:
        file.write(HEADER)
        for _ in range(100):
            file.write("\n" * 100_000)
    assert main(["correlate", "--table", str(path)]) == 1
    assert "at most 200,000 are taken" in capsys.readouterr().err


def test_help_shows_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["correlate", "--help"])
    assert stop.value.code == 0
    assert "python -m core correlate --table study.csv --out result.json" in capsys.readouterr().out


def test_the_modules_are_light() -> None:
    code = "import sys, core.commands.correlate, core.commands.score; print([m for m in ('torch', 'pandas', 'scipy') if m in sys.modules])"  # noqa: E501
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

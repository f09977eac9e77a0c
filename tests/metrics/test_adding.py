"""docs/adding-a-metric.md is run as it stands: one file, one line, in a copy of core."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "adding-a-metric.md"


def blocks() -> tuple[str, str]:
    """The file and the line of the page."""
    file, line, *_ = re.findall(r"```(?:python)?\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    return file, line


@pytest.fixture
def checkout(tmp_path: Path, home: Path) -> Path:
    """A copy of core with the metric of the page."""
    shutil.copytree(ROOT / "core", tmp_path / "core", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "assets" / "weights", tmp_path / "assets" / "weights")  # which tensors weights hold
    shutil.copytree(ROOT / "assets" / "datasets", tmp_path / "assets" / "datasets")  # what `doctor` lists
    file, line = blocks()
    add_family(tmp_path, "brightness", file, line)
    return tmp_path


def add_family(checkout: Path, module: str, file: str, line: str) -> None:
    """What the page tells to do."""
    (checkout / "core" / "metrics" / f"{module}.py").write_text(file, encoding="utf-8")
    registry = checkout / "core" / "metrics" / "registry.py"
    text, count = re.subn(r"(\nFAMILIES = \(\n(?:    .*\n)*)", rf"\1{line}", registry.read_text(encoding="utf-8"))
    assert count == 1
    registry.write_text(text, encoding="utf-8")


def python(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the copy, warnings as errors."""
    return subprocess.run(
        [sys.executable, "-W", "error::UserWarning", *arguments],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_the_example_has_ten_lines_and_is_as_the_linter_wants_it() -> None:
    file, line = blocks()
    assert len([row for row in file.splitlines() if row.strip()]) <= 10
    assert line.count("\n") == 1
    for check in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *check, "--stdin-filename", "core/metrics/brightness.py", "-"],
            cwd=ROOT,
            input=file,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


SCORES = """
import json
import numpy as np
from core.metrics.registry import METRICS
from core.metrics.scoring import score_pairs
from core.settings import load_settings

black, level, half = (np.full((16, 16, 3), value, np.uint8) for value in (0, 51, 0))
half[:8] = 255
scores = score_pairs([black, half, half], [level, black, half], ["brightness"], load_settings())["brightness"]
print(json.dumps({"names": list(METRICS), "scores": [score.value for score in scores]}))
"""


def test_the_metric_is_there_and_scores_right(checkout: Path) -> None:
    """Black and grey 51: 51/255 = 0.2. Half white and black: 0.5. With itself: 0."""
    done = python(checkout, "-c", SCORES)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["names"][-1] == "brightness"
    assert found["scores"] == pytest.approx([0.2, 0.5, 0.0], abs=1e-12)


def test_the_command_line_has_it(checkout: Path) -> None:
    for folder, value in (("a", 0), ("b", 51)):
        (checkout / folder).mkdir()
        Image.new("RGB", (16, 16), (value,) * 3).save(checkout / folder / "x.png")
    command = ["-m", "core", "score", "--originals", "a", "--reconstructions", "b", "--out", "s.csv", "--metrics"]
    done = python(checkout, *command, "brightness,psnr")
    said = "1 pair scored by 2 metrics; the table is in s.csv.\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, said, "")
    header, row = (checkout / "s.csv").read_text().splitlines()
    assert header == "name,brightness,psnr"
    assert float(row.split(",")[1]) == pytest.approx(0.2, abs=1e-12)
    wrong = python(checkout, *command, "brightnes")
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("error: There is no metric called 'brightnes'; did you mean brightness")
    assert "metric brightness" in python(checkout, "-m", "core", "doctor").stdout


def test_a_name_that_is_taken_raises(checkout: Path) -> None:
    file, _ = blocks()
    add_family(checkout, "again", file, '    "again",\n')
    done = python(checkout, "-c", "import core.metrics.registry")
    assert done.returncode == 1
    assert "ValueError: 'brightness' is registered already; choose another name." in done.stderr

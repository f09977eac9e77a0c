"""What `score` leaves behind: CSV or Parquet, the reasons beside it, the run record; and what it says on the way."""

import csv
import gc
import io
import json
import sys
import weakref
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest
from PIL import Image

from core.__main__ import main
from core.commands.score_progress import Progress
from core.commands.score_table import Table, write_table
from core.metrics.base import Score
from core.metrics.registry import METRICS
from core.tables import read_table
from tests.commands.score_fixtures import arguments, write_pairs


@pytest.fixture
def folders(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Three pairs of 32 px: 0 and 2 damaged, 1 identical."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "no-torch-cache"))
    left, right = write_pairs(tmp_path, 3)
    (right / "1.png").write_bytes((left / "1.png").read_bytes())
    return left, right


def test_infinities_and_gaps_survive_both_forms_and_pandas(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = ("--metrics", "psnr,ms_ssim,mse")
    for ending in ("csv", "parquet"):
        assert main(arguments(folders, tmp_path / f"s.{ending}", *wanted)) == 1  # ms_ssim asks for more than 32 px
    assert capsys.readouterr().out == ""
    text, binary = (
        pd.read_csv(tmp_path / "s.csv"),
        pd.read_parquet(tmp_path / "s.parquet"),
    )
    assert list(text.columns) == list(binary.columns) == ["name", "psnr", "ms_ssim", "mse"]
    assert binary["name"].tolist() == ["0", "1", "2"]
    for metric in ("psnr", "mse", "ms_ssim"):
        assert text[metric].dtype == binary[metric].dtype == np.float64
        np.testing.assert_array_equal(text[metric], binary[metric])  # the same bits; NaN beside NaN
    assert np.isposinf(text["psnr"][1])
    assert text["ms_ssim"].isna().all()
    ours = read_table(tmp_path / "s.csv", required=["name"], numeric=["psnr", "mse"])
    np.testing.assert_array_equal(ours["psnr"], text["psnr"])
    made = pyarrow.parquet.read_table(tmp_path / "s.parquet")
    assert [str(field.type) for field in made.schema] == ["string", "double", "double", "double"]
    assert made.column("ms_ssim").null_count == 3  # missing is null, not NaN


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_every_empty_cell_has_its_reason_beside_the_table(
    ending: str, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / f"s.{ending}"
    (folders[1] / "2.png").write_bytes(b"GIF89a")
    assert main(arguments(folders, out, "--metrics", "mse,ms_ssim,lpips_vgg")) == 1
    with (tmp_path / f"s.{ending}.reasons.csv").open(newline="") as file:
        reasons = {(row["name"], row["metric"]): row["reason"] for row in csv.DictReader(file)}
    assert set(reasons) == {("0", "ms_ssim"), ("1", "ms_ssim"), *((n, "lpips_vgg") for n in "012"), ("2", "mse"),
                            ("2", "ms_ssim")}  # fmt: skip
    assert reasons["0", "ms_ssim"] == f"unavailable: needs at least {METRICS['ms_ssim'].minimum_size} px, got 32"
    assert "vgg16-imagenet-features" in reasons["0", "lpips_vgg"]
    assert "2.png is a GIF" in reasons["2", "mse"]
    assert main(arguments(folders, out, "--metrics", "mse")) == 1
    (folders[1] / "2.png").write_bytes((folders[0] / "2.png").read_bytes())
    assert main(arguments(folders, out, "--metrics", "mse")) == 0
    assert not (tmp_path / f"s.{ending}.reasons.csv").exists()  # no reasons of an earlier run stay


def test_the_run_record_says_what_was_run(folders: tuple[Path, Path], tmp_path: Path) -> None:
    for ending in ("csv", "parquet"):
        assert main(arguments(folders, tmp_path / f"s.{ending}", "--metrics", "psnr,ssim", "--batch", "2")) == 0
    record = json.loads((tmp_path / "s.csv.json").read_text())
    inside = pyarrow.parquet.read_schema(tmp_path / "s.parquet").metadata[b"semsight"]
    assert json.loads(inside) == record
    assert not (tmp_path / "s.parquet.json").exists()
    assert (record["pairs"], record["batch"], record["device"]) == (3, 2, "cpu")
    assert record["metrics"]["ssim"]["version"] == METRICS["ssim"].version
    assert record["metrics"]["psnr"]["weights_hash"] == ""
    assert record["metrics"]["psnr"]["scored"] == 3
    assert record["semsight"]
    assert set(record["versions"]) == {"python", "torch", "numpy", "pillow"}
    before = record["inputs_sha256"]
    (folders[1] / "0.png").write_bytes((folders[0] / "0.png").read_bytes())
    assert main(arguments(folders, tmp_path / "s.csv", "--metrics", "psnr")) == 0
    assert json.loads((tmp_path / "s.csv.json").read_text())["inputs_sha256"] != before


def test_the_record_names_the_weights(
    folders: tuple[Path, Path], tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core.metrics.registry import weights_hash
    from core.settings import load_settings

    monkeypatch.setenv("SEMSIGHT_WEIGHTS", str(shared / "weights"))
    assert main(arguments(folders, tmp_path / "s.csv", "--metrics", "lpips_alex")) == 0
    record = json.loads((tmp_path / "s.csv.json").read_text())
    assert record["metrics"]["lpips_alex"]["weights_hash"] == weights_hash("lpips_alex", load_settings())
    assert record["metrics"]["lpips_alex"]["library"].startswith("lpips ")


def test_folders_within_and_mixed_formats(tmp_path: Path, home: Path) -> None:
    """Each pair is a grey level and one 51 brighter: (51/255)² = 0.04."""
    a, b = tmp_path / "a", tmp_path / "b"
    for below, left, right in (
        ("", "2.png", "2.jpg"),
        ("", "10.webp", "10.png"),
        ("cats", "2.jpeg", "2.PNG"),
        ("cats/old", "x.y.png", "x.y.webp"),
    ):
        for folder, name, value in ((a, left, 100), (b, right, 151)):
            (folder / below).mkdir(parents=True, exist_ok=True)
            options = {"quality": 100} if "jp" in name else {"lossless": True} if "webp" in name else {}
            Image.new("L", (16, 16), value).save(folder / below / name, **options)
    (a / ".hidden").mkdir()
    (a / ".hidden" / "z.png").write_bytes(b"")
    (b / "link").symlink_to(a / "cats")  # folders that are links are not entered: they can go round in circles
    out = tmp_path / "s.csv"
    assert main(arguments((a, b), out, "--metrics", "mse")) == 0
    rows = list(csv.DictReader(io.StringIO(out.read_text())))
    assert [row["name"] for row in rows] == ["2", "10", "cats/2", "cats/old/x.y"]
    assert [float(row["mse"]) for row in rows] == pytest.approx([0.04] * 4, abs=1e-12)


def test_a_table_of_a_hundred_thousand_pairs_is_small() -> None:
    table = Table([str(i) for i in range(100_000)], [f"m{i}" for i in range(30)])
    assert table.values.nbytes + table._codes.nbytes == 100_000 * 30 * 12  # 36 MB
    table.put(7, "m3", Score(None, "too small"))
    table.put(8, "m3", Score(float("-inf")))
    assert table.reason(7, "m3") == "too small"
    assert (table.reason(8, "m3"), table.reason(9, "m3")) == ("", "not scored")


def test_numbers_are_read_back_to_the_same_bits(tmp_path: Path) -> None:
    values = [0.1 + 0.2, 5e-324, 1.7976931348623157e308, -0.0, float("inf"), float("-inf")]
    table = Table([str(i) for i in range(len(values))], ["m"])
    for row, value in enumerate(values):
        table.put(row, "m", Score(value))
    write_table(tmp_path / "s.csv", table, ["m"], {})
    write_table(tmp_path / "s.parquet", table, ["m"], {})
    with (tmp_path / "s.csv").open(newline="") as file:
        read = [float(row["m"]) for row in csv.DictReader(file)]
    for found in (read, pd.read_parquet(tmp_path / "s.parquet")["m"].tolist()):
        assert np.array(found).tobytes() == np.array(values).tobytes()


def test_progress_is_a_line_now_and_then_only_if_asked(capsys: pytest.CaptureFixture[str]) -> None:
    """100 of 300 pairs in 20 s, 50 of them from an earlier run: 2.5 a second, so 80 s are left."""
    for lines in (False, True):
        times = iter([0.0, 5.0, 20.0])
        with Progress(300, lines=lines, clock=lambda times=times: next(times)) as progress:
            progress.update(50, known=True)
            progress.update(50)
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err == ("100 of 300 pairs, 2.5 a second, 80 s left\n" if lines else "")


def test_a_terminal_gets_a_bar(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main(arguments(folders, tmp_path / "s.csv", "--metrics", "mse")) == 0
    printed = capsys.readouterr()
    assert printed.out == f"3 pairs scored by 1 metric; the table is in {tmp_path / 's.csv'}.\n"
    assert "3/3" in printed.err


def test_pixels_are_let_go_when_they_are_scored(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 40 pairs at most one piece of 4 is held, the pair that begins the next, and what the piece before left."""
    from core.commands import score_run

    alive, most = set(), 0
    decode_pair = score_run.decode_pair

    def counted(files, pairing):
        nonlocal most
        original, reconstruction = decode_pair(files, pairing)
        alive.add(files.name)
        weakref.finalize(original, alive.discard, files.name)
        most = max(most, len(alive))
        return original, reconstruction

    monkeypatch.setattr(score_run, "decode_pair", counted)
    folders = write_pairs(tmp_path, 40)
    assert main(arguments(folders, tmp_path / "s.csv", "--metrics", "mse", "--batch", "4")) == 0
    assert 4 <= most <= 9
    gc.collect()
    assert not alive

"""What folders may hold that is no good pair: one sentence each, the other pairs scored, exit status 1."""

import csv
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from core.__main__ import main
from tests.commands.score_fixtures import arguments, write_pairs


@pytest.fixture
def folders(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "no-torch-cache"))
    return write_pairs(tmp_path, 3)


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds one byte of pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def bomb() -> bytes:
    """A text chunk that unpacks to 64 MiB: dropped before Pillow sees it, so the picture is read."""
    from io import BytesIO

    info = PngImagePlugin.PngInfo()
    info.add_text("comment", "x" * 2**26, zip=True)
    file = BytesIO()
    Image.new("RGB", (32, 32)).save(file, "PNG", pnginfo=info)
    return file.getvalue()


def whole(folder: Path) -> bytes:
    return (folder / "0.png").read_bytes()


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        pytest.param(lambda f: png_header(20_000, 20_000), "is 20,000×20,000 pixels", id="bad-input-24"),
        pytest.param(lambda f: png_header(13_000, 13_000), "is 13,000×13,000 pixels", id="bad-input-25"),
        pytest.param(lambda f: whole(f)[:-500], "is damaged", id="bad-input-27"),
        pytest.param(lambda f: b"<svg xmlns='http://www.w3.org/2000/svg'/>", "text with markup", id="bad-input-28"),
        pytest.param(lambda f: png_header(0, 0), "is 0×0 pixels", id="bad-input-32"),
        pytest.param(lambda f: png_header(1, 65_000), "is 1×65,000 pixels", id="bad-input-32-tall"),
        pytest.param(lambda f: b"GIF89a" + b"\0" * 20, "is a GIF", id="bad-input-33"),
        pytest.param(lambda f: b"", "is empty", id="empty"),
    ],
)
def test_a_file_that_is_no_picture(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], data, sentence: str
) -> None:
    (folders[1] / "1.png").write_bytes(data(folders[0]))
    out = tmp_path / "s.csv"
    assert main(arguments(folders, out, "--metrics", "mse")) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert printed.err.startswith("error: the reconstruction 1.png")
    assert sentence in printed.err
    assert filled(out) == {"0": True, "1": False, "2": True}


def filled(out: Path) -> dict[str, bool]:
    with out.open(newline="", encoding="utf-8") as file:
        return {row["name"]: row["mse"] != "" for row in csv.DictReader(file)}


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        pytest.param(Image.new("L", (16, 16), 100), Image.new("RGB", (16, 16), (151,) * 3), 0.04, id="grey"),
        pytest.param(Image.new("I;16", (16, 16), 65535), Image.new("L", (16, 16), 204), 0.04, id="16-bit"),
        # Half transparent on white: what shows is white, so the pair is identical.
        pytest.param(Image.new("RGBA", (16, 16), (0, 0, 0, 0)), Image.new("L", (16, 16), 255), 0.0, id="alpha"),
        pytest.param(Image.new("P", (16, 16)), Image.new("L", (16, 16)), 0.0, id="palette"),
        pytest.param(Image.new("1", (16, 16)), Image.new("L", (16, 16)), 0.0, id="one-bit"),
    ],
)
def test_bad_input_30_other_modes_are_taken(
    tmp_path: Path, home: Path, left: Image.Image, right: Image.Image, expected: float
) -> None:
    folders = (tmp_path / "a", tmp_path / "b")
    for folder, image in zip(folders, (left, right), strict=True):
        folder.mkdir()
        image.save(folder / "x.png")
    assert main(arguments(folders, tmp_path / "s.csv", "--metrics", "mse")) == 0
    value = float((tmp_path / "s.csv").read_text().splitlines()[1].partition(",")[2])
    assert value == pytest.approx(expected, abs=1e-12)  # (51/255)² = 0.04


def test_bad_input_26_and_29_extras_are_cut_off(folders: tuple[Path, Path], tmp_path: Path) -> None:
    (folders[1] / "0.png").write_bytes(bomb())
    (folders[1] / "1.png").write_bytes((folders[1] / "1.png").read_bytes() + b"PK\3\4" + b"x" * 99)
    assert main(arguments(folders, tmp_path / "s.csv", "--metrics", "mse")) == 0
    assert all(filled(tmp_path / "s.csv").values())


def test_bad_input_31_orientation_is_applied(tmp_path: Path, home: Path) -> None:
    """A picture that lies on its side and says so is its upright copy."""
    upright = np.zeros((16, 16, 3), np.uint8)
    upright[:8] = 255
    folders = (tmp_path / "a", tmp_path / "b")
    for folder, image, orientation in ((folders[0], upright, 1), (folders[1], np.rot90(upright), 6)):
        folder.mkdir()
        exif = Image.Exif()
        exif[0x0112] = orientation  # 6: to be turned a quarter to the right
        Image.fromarray(np.ascontiguousarray(image)).save(folder / "x.png", exif=exif)
    assert main(arguments(folders, tmp_path / "s.csv", "--metrics", "mse")) == 0
    assert (tmp_path / "s.csv").read_text().splitlines()[1] == "x,0.0"


def test_constant_and_identical_images(tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = (tmp_path / "a", tmp_path / "b")
    for folder in folders:
        folder.mkdir()
        Image.new("RGB", (32, 32), (0, 0, 0)).save(folder / "black.png")
    assert main(arguments(folders, tmp_path / "s.csv", "--metrics", "mse,psnr,ssim")) == 0
    assert (tmp_path / "s.csv").read_text() == "name,mse,psnr,ssim\nblack,0.0,inf,1.0\n"
    assert capsys.readouterr().err == ""


def test_below_one_metrics_minimum_the_others_are_computed(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in folders:
        Image.open(folder / "1.png").resize((8, 8)).save(folder / "1.png")
    out = tmp_path / "s.csv"
    assert main(arguments(folders, out, "--metrics", "mse,ssim")) == 1
    assert capsys.readouterr().err == "error: ssim: unavailable: needs at least 11 px, got 8 (1 of 3 pairs)\n"
    with out.open(newline="") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert all(row["mse"] for row in rows.values())
    assert [name for name, row in rows.items() if not row["ssim"]] == ["1"]


def test_bad_input_34_formulas_and_huge_names(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in folders:
        (folder / "0.png").rename(folder / '=HYPERLINK("x").png')
        (folder / "1.png").rename(folder / ("n" * 251 + ".png"))
        os.rename(folder / "2.png", os.fsencode(folder) + b"/\xff\n.png")  # no UTF-8, and a line break
    out = tmp_path / "s.csv"
    assert main(arguments(folders, out, "--metrics", "mse")) == 0
    assert set(filled(out)) == {'\'=HYPERLINK("x")', "n" * 251, "\\xff\n"}
    for ending in ("csv", "parquet"):
        for path in folders[1].iterdir():
            path.write_bytes(b"")
        assert main(arguments(folders, tmp_path / f"t.{ending}", "--metrics", "mse")) == 1
        errors = capsys.readouterr().err.splitlines()
        assert len(errors) == 3
        assert all(len(line) < 250 for line in errors)


def test_many_faults_are_counted_not_listed(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i in range(100, 130):
        for folder in folders:
            (folder / f"{i}.png").write_bytes(b"")
    assert main(arguments(folders, tmp_path / "s.csv", "--metrics", "mse")) == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 21
    assert errors[-1] == "error: 10 more pairs could not be scored; s.csv.reasons.csv names them all."
    assert len((tmp_path / "s.csv.reasons.csv").read_text().splitlines()) == 1 + 30


def test_a_memory_that_does_not_suffice(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("core.metrics.scoring.score_pairs", full)
    assert main(arguments(folders, tmp_path / "s.csv", "--metrics", "mse")) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "smaller --batch" in error


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_bad_input_39_a_place_that_cannot_be_written(
    ending: str, folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("no folder")
    assert main(arguments(folders, tmp_path / "file" / f"s.{ending}", "--metrics", "mse")) == 1
    (tmp_path / f"d.{ending}").mkdir()
    assert main(arguments(folders, tmp_path / f"d.{ending}", "--metrics", "mse")) == 1
    assert main(arguments(folders, tmp_path / ("n" * 250 + f".{ending}"), "--metrics", "mse")) == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 3
    assert "cannot be written" in errors[0]
    assert "is a folder" in errors[1]
    assert "cannot be written" in errors[2]

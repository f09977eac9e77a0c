"""`python -m core score`, as a user runs it."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from core.__main__ import main
from core.metrics.registry import METRICS
from tests.metrics.pairs import real_pairs
from tests.metrics.peers import peer_lpips


@pytest.fixture
def folders(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Two folders with 3 pairs of 32 × 32: 2.png, 10.png (identical) and x.png; no weights anywhere."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "no-torch-cache"))
    originals, reconstructions = real_pairs(32, 50)
    left, right = tmp_path / "originals", tmp_path / "reconstructions"
    for folder, images in ((left, originals), (right, reconstructions)):
        folder.mkdir()
        for name, row in (("2", 0), ("10", 1), ("x", 2)):
            Image.fromarray(originals[1] if row == 1 else images[row]).save(folder / f"{name}.png")
    return left, right


def score(folders: tuple[Path, Path], out: Path, *more: str) -> int:
    return main(
        ["score", "--originals", str(folders[0]), "--reconstructions", str(folders[1]), "--out", str(out), *more]
    )


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_scores_agree_with_scikit_image(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "scores.csv"
    assert score(folders, out, "--metrics", "psnr,ssim, mse") == 0
    printed = capsys.readouterr()
    assert printed.out == f"3 pairs scored by 3 metrics; the table is in {out}.\n"
    assert printed.err == ""
    rows = read(out)
    assert out.read_text().splitlines()[0] == "name,psnr,ssim,mse"
    assert [row["name"] for row in rows] == ["2", "10", "x"]
    assert rows[1]["psnr"] == "inf"
    assert float(rows[1]["mse"]) == 0.0
    for row in (rows[0], rows[2]):
        x, y = (np.asarray(Image.open(folder / f"{row['name']}.png")) / 255 for folder in folders)
        assert float(row["psnr"]) == pytest.approx(peak_signal_noise_ratio(x, y, data_range=1), abs=1e-6)
        peer = structural_similarity(
            x, y, channel_axis=2, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        assert float(row["ssim"]) == pytest.approx(peer, abs=1e-6)


def test_by_default_what_is_available_with_a_note(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "scores.csv"
    assert score(folders, out) == 0
    columns = list(read(out)[0])
    assert columns[:4] == ["name", "mse", "mae", "psnr"]
    assert {"ssim", "ssim_uniform"} < set(columns)
    assert columns[1:] == [name for name in METRICS if name in columns]  # in the registry's order
    assert not {"ms_ssim", "lpips_alex", "victim_prediction"} & set(columns)
    printed = capsys.readouterr()
    assert printed.out.startswith(f"3 pairs scored by {len(columns) - 1} metrics; the table is in {out}")
    gaps = sum(value == "" for row in read(out) for value in row.values())
    assert printed.out.endswith(f"; {gaps} scores unavailable.\n" if gaps else f"{out}.\n")
    notes = printed.err.splitlines()
    assert sum(note.startswith("note: lpips_alex:") for note in notes) == 1
    least = METRICS["ms_ssim"].minimum_size
    assert f"note: ms_ssim: unavailable: needs at least {least} px, got 32 (3 of 3 pairs)" in notes
    assert not any("victim" in note for note in notes)


def test_fifty_real_pairs_agree_with_scikit_image_and_lpips(
    tmp_path: Path, home: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEMSIGHT_WEIGHTS", str(shared / "weights"))
    originals, reconstructions = real_pairs(64, 50)
    folders = (tmp_path / "a", tmp_path / "b")
    for folder, images in zip(folders, (originals, reconstructions), strict=True):
        folder.mkdir()
        for i, image in enumerate(images):
            Image.fromarray(image).save(folder / f"{i}.png")
    out = tmp_path / "scores.csv"
    assert score(folders, out, "--metrics", "psnr,ssim,ssim_uniform,lpips_alex") == 0
    rows = read(out)
    assert [row["name"] for row in rows] == [str(i) for i in range(50)]
    gaussian = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    signed = [torch.from_numpy(a / 127.5 - 1).permute(0, 3, 1, 2).float() for a in (originals, reconstructions)]
    with torch.no_grad():
        lpips = peer_lpips("alex", shared / "weights")(*signed).flatten().tolist()
    for i, (x, y) in enumerate(zip(originals / 255, reconstructions / 255, strict=True)):
        peers = {
            "psnr": peak_signal_noise_ratio(x, y, data_range=1),
            "ssim": structural_similarity(x, y, channel_axis=2, data_range=1, **gaussian),
            "ssim_uniform": structural_similarity(x, y, channel_axis=2, data_range=1),
        }
        for name, peer in peers.items():
            assert float(rows[i][name]) == pytest.approx(peer, abs=1e-6), (name, i)
        assert float(rows[i]["lpips_alex"]) == pytest.approx(lpips[i], abs=1e-5)


def test_a_metric_that_was_asked_for_and_is_unavailable(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "scores.csv"
    assert score(folders, out, "--metrics", "mse,lpips_vgg,ms_ssim") == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2  # one for each metric, not for each pair
    assert "vgg16-imagenet-features" in errors[0]
    rows = read(out)
    assert all(row["lpips_vgg"] == row["ms_ssim"] == "" for row in rows)
    assert all(math.isfinite(float(row["mse"])) for row in rows)


def test_unmatched_names_are_listed_and_the_rest_scored(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folders[1] / "x.png").rename(folders[1] / "y.png")
    out = tmp_path / "scores.csv"
    assert score(folders, out, "--metrics", "mse") == 1
    assert capsys.readouterr().err.splitlines() == [
        "error: only among the originals: x.",
        "error: only among the reconstructions: y.",
    ]
    assert [row["name"] for row in read(out)] == ["2", "10"]


def test_a_pair_that_is_none_leaves_the_others(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (20, 30)).save(folders[1] / "2.png")
    (folders[1] / "x.png").write_bytes(b"GIF89a")
    out = tmp_path / "scores.csv"
    assert score(folders, out, "--metrics", "mse") == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2
    assert "2: the original is 32×32 pixels and the reconstruction 20×30" in errors[0]
    assert "x.png is a GIF" in errors[1]
    assert [row["mse"] for row in read(out)] == ["", "0.0", ""]


def test_endings_may_differ_and_other_files_are_left_alone(folders: tuple[Path, Path], tmp_path: Path) -> None:
    Image.open(folders[1] / "2.png").save(folders[1] / "2.webp", lossless=True)
    (folders[1] / "2.png").unlink()
    (folders[0] / "notes.txt").write_text("not an image")
    (folders[0] / ".hidden.png").write_text("not an image")
    out = tmp_path / "scores.csv"
    assert score(folders, out, "--metrics", "mse") == 0
    assert len(read(out)) == 3


def test_a_name_that_a_spreadsheet_would_run(folders: tuple[Path, Path], tmp_path: Path) -> None:
    for folder in folders:
        (folder / "x.png").rename(folder / "=1+1.png")
    out = tmp_path / "scores.csv"
    assert score(folders, out, "--metrics", "mse") == 0
    assert "'=1+1" in [row["name"] for row in read(out)]


def test_grey_images_are_three_equal_channels(tmp_path: Path, home: Path) -> None:
    folders = (tmp_path / "a", tmp_path / "b")
    for folder, value in zip(folders, (0, 51), strict=True):
        folder.mkdir()
        Image.new("L", (16, 16), value).save(folder / "g.png")
    assert score(folders, tmp_path / "s.csv", "--metrics", "mse") == 0
    assert float(read(tmp_path / "s.csv")[0]["mse"]) == pytest.approx(0.04, abs=1e-12)  # (51/255)²


def test_more_pairs_than_are_held_at_once(folders: tuple[Path, Path], tmp_path: Path) -> None:
    whole, pieces = tmp_path / "whole.csv", tmp_path / "pieces.csv"
    assert score(folders, whole, "--metrics", "mse,ssim") == 0
    assert score(folders, pieces, "--metrics", "mse,ssim", "--batch", "1") == 0
    assert whole.read_bytes() == pieces.read_bytes()


@pytest.mark.parametrize(
    ("harm", "more", "words"),
    [
        (lambda a, b: [p.unlink() for p in a.iterdir()], (), "holds no PNG, JPEG or WebP image"),
        (
            lambda a, b: [p.rename(p.with_stem("q" + p.stem)) for p in list(b.iterdir())],
            (),
            "give both files of a pair",
        ),
        (lambda a, b: (a / "x.jpg").write_bytes(b""), (), "holds x.jpg and x.png"),
        (lambda a, b: None, ("--metrics", "psnrr"), "did you mean"),
        (lambda a, b: None, ("--metrics", ","), "names no metric"),
        (lambda a, b: [*(p.unlink() for p in b.iterdir()), b.rmdir()], (), "is no folder"),
        (lambda a, b: None, ("--batch", "0"), "must be at least 1"),
        (lambda a, b: None, ("--device", "tpu"), "must be auto, cpu, cuda"),
        (lambda a, b: None, ("--device", "cuda:99"), "There is no GPU"),
        (lambda a, b: None, ("--out", "scores.xlsx"), "must end in .csv or .parquet"),
    ],
)
def test_faults_are_one_sentence(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], harm, more, words: str
) -> None:
    harm(*folders)
    out = tmp_path / "scores.csv"
    assert score(folders, out, *more) == 1
    printed = capsys.readouterr()
    assert words in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""
    assert [path for path in tmp_path.iterdir() if path.name.startswith("scores")] == []


def test_help_shows_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["score", "--help"])
    assert stop.value.code == 0
    assert "--metrics mse,psnr,ssim,lpips_alex" in capsys.readouterr().out

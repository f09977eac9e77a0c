"""The doctor says what is there and what is missing, and fails only where nothing can work."""

from pathlib import Path

import pytest

from core.__main__ import main


def lines(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """Subject -> "ok" or "missing", as printed."""
    printed = capsys.readouterr().out.splitlines()
    return {line[9:41].strip(): line[:7].strip() for line in printed}


def test_an_empty_home_works_and_lists_the_missing_weights(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    found = lines(capsys)
    assert {found[name] for name in ("semsight", "torch", "cpu", "storage", "database", "metric psnr")} == {"ok"}
    assert found["vgg16-imagenet-features"] == "missing"
    assert found["metric lpips_vgg"] == "missing"


def test_weights_that_are_there_are_found(
    home: Path, shared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SEMSIGHT_WEIGHTS", str(shared / "weights"))
    assert main(["doctor"]) == 0
    found = lines(capsys)
    assert found["alexnet-imagenet-features"] == "ok"
    assert found["metric lpips_alex"] == "ok"


def test_a_home_that_cannot_be_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("SEMSIGHT_HOME", str(tmp_path / "file" / "home"))
    assert main(["doctor"]) == 1
    assert lines(capsys)["storage"] == "missing"


def test_a_metric_says_what_it_lacks(
    home: Path, shared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import dataclasses

    from core.metrics.registry import METRICS

    monkeypatch.setenv("SEMSIGHT_WEIGHTS", str(shared / "weights"))
    monkeypatch.setitem(
        METRICS, "lpips_alex", dataclasses.replace(METRICS["lpips_alex"], packages=("no_such_package",))
    )
    assert main(["doctor"]) == 0
    printed = {line[9:41].strip(): line[41:] for line in capsys.readouterr().out.splitlines()}
    assert "pip install no_such_package" in printed["metric lpips_alex"]  # its weights are there
    assert printed["metric lpips_vgg"].strip() == "needs vgg16-imagenet-features (above)"
    assert printed["metric kid_alex"].strip() == "available"
    assert printed["metric fid"].strip() == "needs inception-fid (above)"

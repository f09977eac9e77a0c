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


def test_what_the_disk_is_used_for_is_said_and_pruned_when_asked(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import os

    from core.settings import load_settings
    from core.storage.store import open_store

    store = open_store(load_settings())
    orphan = store.artifacts.put_bytes(b"nobody's", ".bin")
    os.utime(store.artifacts.path(orphan), (1.0, 1.0))
    assert main(["doctor"]) == 0
    printed = capsys.readouterr().out
    assert "8 B in 1 files: Deleted a day after their last use." in printed
    assert "GiB free)" in printed
    assert main(["doctor", "--prune"]) == 0
    printed = capsys.readouterr().out
    assert "1 file that nothing names (8 B)" in printed
    assert "disk unnamed" not in printed
    assert not store.artifacts.exists(orphan)
    store.database.dispose()


def test_imagenet_weights_take_one_line_and_are_fetched_by_name(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import dataclasses
    import hashlib

    import torch
    from torchvision.models import get_model

    from core.models.pretrained import PRETRAINED

    draft = tmp_path / "draft.pth"
    torch.save(get_model("shufflenet_v2_x0_5", weights=None).state_dict(), draft)
    path = draft.rename(tmp_path / f"shuffle-{hashlib.sha256(draft.read_bytes()).hexdigest()[:8]}.pth")
    record = dataclasses.replace(PRETRAINED["shufflenet_v2_x0_5"], url=f"file://{path}")
    monkeypatch.setitem(PRETRAINED, "shufflenet_v2_x0_5", record)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    assert main(["doctor", "--pretrained", "shufflenet_v2_x0_5", "no_such_net"]) == 1
    printed = capsys.readouterr().out
    assert "shufflenet_v2_x0_5-imagenet.safetensors (sha256 " in printed
    assert "No ImageNet weights are published for no_such_net" in printed
    assert f"1 of {len(PRETRAINED)} found (shufflenet_v2_x0_5); --pretrained NAME fetches one" in printed

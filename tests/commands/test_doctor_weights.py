"""What the doctor says of weights, optional packages and judges, and what --download fetches."""

import hashlib
import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from core.__main__ import main
from core.models import weights as weights_module
from core.models.weights import WEIGHTS
from core.settings import load_settings
from tests.models.test_judges import put_judge


def printed(capsys: pytest.CaptureFixture[str]) -> dict[str, tuple[str, str]]:
    """Subject -> ("ok" or "missing", what was found)."""
    lines = capsys.readouterr().out.splitlines()
    return {line[9:41].strip(): (line[:7].strip(), line[42:]) for line in lines}


@pytest.fixture
def published(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Every record made tiny and published as a file here, one as safetensors; torch's cache is empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    files = []
    for number, (name, record) in enumerate(list(WEIGHTS.items())):
        tensors = {"features.0.bias": torch.full((2,), float(number))}
        path = tmp_path / f"{name}.published"
        torch.save(tensors, path) if number else save_file(tensors, path)
        layout = "state" if number else "safetensors"
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        tiny = replace(
            record, url=path.as_uri(), sha256=digest, shapes={"features.0.bias": (2,)}, layout=layout, cached=False
        )
        monkeypatch.setitem(weights_module.WEIGHTS, name, tiny)
        files.append(path)
    return files


def test_missing_weights_say_how_to_get_them(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    assert main(["doctor"]) == 0
    found = printed(capsys)
    for name, record in WEIGHTS.items():
        state, text = found[name]
        assert state == "missing"
        assert f"{name}.safetensors under SEMSIGHT_WEIGHTS" in text
        assert "let SemSight download it" in text
        assert f"{record.mebibytes} MiB, licence {record.licence}" in text
    assert found["metric dists"] == (
        "missing",
        "needs vgg16-imagenet-features (above)",
    )
    assert "SEMSIGHT_WEIGHTS/dreamsim" in found["metric dreamsim"][1] or "pip install dreamsim" in found["dreamsim"][1]


def test_download_fetches_everything_that_has_a_checksum(
    published: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--download"]) == 0
    found = printed(capsys)
    folder = load_settings().weights
    for name in WEIGHTS:
        path = folder / f"{name}.safetensors"
        assert found[name] == ("ok", f"{path} (sha256 {hashlib.sha256(path.read_bytes()).hexdigest()[:12]})")
    assert sorted(path.stem for path in folder.iterdir()) == sorted(WEIGHTS)


def test_one_download_that_fails_leaves_nothing_and_the_others_are_fetched(
    published: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    published[1].write_bytes(published[1].read_bytes()[:-1])
    assert main(["doctor", "--download"]) == 1
    found = printed(capsys)
    states = [found[name][0] for name in WEIGHTS]
    assert states == ["ok", "missing"] + ["ok"] * (len(WEIGHTS) - 2)
    assert "checksum" in found[list(WEIGHTS)[1]][1]
    assert len(list(load_settings().weights.iterdir())) == len(WEIGHTS) - 1


def test_what_can_be_fetched_by_hand_only_is_no_failed_download(
    published: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "dino-vits16"
    monkeypatch.setitem(weights_module.WEIGHTS, name, replace(WEIGHTS[name], sha256=""))
    assert main(["doctor", "--download"]) == 0
    state, text = printed(capsys)[name]
    assert state == "missing"
    assert "by hand" in text
    assert WEIGHTS[name].url in text


def test_judges_are_listed_and_malformed_ones_explained(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put_judge(load_settings(), "pets", held_out_accuracy=0.75)
    (load_settings().weights / "judges" / "bad.json").write_text("{")
    assert main(["doctor"]) == 0
    found = printed(capsys)
    assert found["judge pets"][0] == "ok"
    assert "held-out accuracy 75%; cat, dog" in found["judge pets"][1]
    assert "with SemSight" in found["judge lfw-even"][1]
    assert found["judge bad"] == (
        "missing",
        "The judge bad is left out: bad.safetensors is missing beside bad.json; put it there.",
    )
    assert found["metric classifier_top1"] == ("ok", "available in an audit")


def test_optional_packages_are_named(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor"]) == 0
    assert printed(capsys)["timm"][0] == "ok"
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "timm" else find_spec(name))
    assert main(["doctor"]) == 0
    found = printed(capsys)
    assert found["timm"] == ("missing", "optional; pip install timm brings dino_vits16_224, clip_vitb32_224")
    assert "timm is not installed" in found["metric dino_vits16_224"][1]

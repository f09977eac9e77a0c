"""DreamSim with a package of the same API, files and habits as dreamsim 0.2.1, whose networks are a matrix each.

The true package was tried by hand with seeded weights of the true shapes (docs/metrics.md says what was seen); its
networks and what it asks for are too large for a test.
"""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision import transforms

from core.metrics import dreamsim as ours
from core.metrics.registry import METRICS, unavailable, weights_hash
from core.metrics.scoring import score_pairs
from core.settings import Settings
from tests.metrics.pairs import real_pairs

INIT = "from .model import dreamsim\n"
MODEL = """
import os
import torch
from safetensors.torch import load_file

class Part(torch.nn.Module):
    def __init__(self, base, proj):
        super().__init__()
        self.base, self.proj = base, proj
        self.lora_A = torch.nn.ModuleDict({"default": torch.nn.Linear(12, 12, bias=False)})

    def forward(self, x):
        small = torch.nn.functional.adaptive_avg_pool2d(x, (2, 2)).flatten(1) - 0.4
        return self.base(self.lora_A["default"](small)) @ self.proj

class Model(torch.nn.Module):
    def __init__(self, folder):
        super().__init__()
        dino = torch.hub.load("facebookresearch/dino:main", "dino_vitb16")
        torch.load(os.path.join(folder, "dino_vitb16_pretrain.pth"), weights_only=True)["student"]
        parts = [Part(dino, torch.eye(4))]
        for name in ("clip", "open_clip"):
            state = torch.load(os.path.join(folder, f"{name}_vitb16_pretrain.pth.tar"), weights_only=True)["state_dict"]
            base = torch.nn.Linear(12, 4)
            proj = state.pop("proj")
            base.load_state_dict(state)
            parts.append(Part(base, proj))
        self.parts = torch.nn.ModuleList(parts)

    def embed(self, x):
        full = torch.cat([part(x) for part in self.parts], -1)
        full = (full.T - full.mean(1)).T
        return (full.T / full.norm(dim=1)).T

    def forward(self, a, b):
        return 1 - torch.nn.functional.cosine_similarity(self.embed(a), self.embed(b), dim=-1)

def dreamsim(pretrained=True, device="cuda", cache_dir="./models", normalize_embeds=True, dreamsim_type="ensemble",
             use_patch_model=False):
    print("Using cached", cache_dir)
    if FETCHES:
        torch.hub.download_url_to_file(url="https://127.0.0.1/pretrained.zip", dst=cache_dir)
    torch.hub.set_dir(cache_dir)
    model = Model(cache_dir)
    adapter = load_file(os.path.join(cache_dir, "ensemble_lora", "adapter_model.safetensors"))
    named = {key.replace(".weight", ".default.weight"): value for key, value in adapter.items()}
    model.load_state_dict(named, strict=False)  # as peft does
    return model.to(device), None

FETCHES = False
"""
VIT = """
import torch

def vit_base(patch_size=16):
    return torch.nn.Linear(12, 4)
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An importable package called dreamsim."""
    folder = tmp_path / "site" / "dreamsim"
    (folder / "feature_extraction").mkdir(parents=True)
    for name, text in (
        ("__init__.py", INIT),
        ("model.py", MODEL),
        ("feature_extraction/__init__.py", ""),
        ("feature_extraction/vision_transformer.py", VIT),
    ):
        (folder / name).write_text(text)
    monkeypatch.syspath_prepend(str(folder.parent))
    ours._load.cache_clear()
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "dreamsim"]:
        del sys.modules[name]


@pytest.fixture
def settings(bare: Settings) -> Settings:
    """All files, seeded."""
    folder = bare.weights / "dreamsim"
    generator = torch.Generator().manual_seed(3)

    def linear() -> dict[str, torch.Tensor]:
        return {"weight": torch.randn(4, 12, generator=generator), "bias": 0.1 * torch.randn(4, generator=generator)}

    for part in ("ensemble_lora", "checkpoints"):
        (folder / part).mkdir(parents=True)
    torch.save({"student": {}}, folder / "dino_vitb16_pretrain.pth")
    torch.save(linear(), folder / "checkpoints" / "dino_vitbase16_pretrain.pth")
    for name in ("clip", "open_clip"):
        state = linear() | {"proj": torch.randn(4, 4, generator=generator)}
        torch.save({"state_dict": state}, folder / f"{name}_vitb16_pretrain.pth.tar")
    (folder / "ensemble_lora" / "adapter_config.json").write_text("{}")
    save_file(adapter(generator), folder / "ensemble_lora" / "adapter_model.safetensors")
    return replace(bare)


def adapter(generator: torch.Generator) -> dict[str, torch.Tensor]:
    return {f"parts.{i}.lora_A.weight": torch.randn(12, 12, generator=generator) for i in range(3)}


def score(settings: Settings) -> list:
    return score_pairs(*real_pairs(32, 4), ["dreamsim"], settings, batch=3)["dreamsim"]


def test_agrees_with_the_package_called_directly(
    package: None, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    load, state = torch.hub.load, torch.get_rng_state()
    assert unavailable(METRICS["dreamsim"], settings) == ""
    found = [s.value for s in score(settings)]
    assert torch.hub.load is load
    assert torch.equal(torch.get_rng_state(), state)
    assert capsys.readouterr().out == ""
    model = ours._load(settings.weights / "dreamsim", ours.files_sha256(settings), "cpu")
    # the package's own preprocessing, which rounds the resized picture to 8 bits: hence the tolerance
    prepare = transforms.Compose(
        [transforms.Resize((224, 224), interpolation=transforms.InterpolationMode.BICUBIC), transforms.ToTensor()]
    )
    x, y = (torch.stack([prepare(Image.fromarray(i)) for i in images]) for images in real_pairs(32, 4))
    assert np.abs(np.array(found) - model(x, y).numpy()).max() < 2e-3
    assert max(found) > 0.01
    originals, _ = real_pairs(32, 2)
    assert [s.value for s in score_pairs(originals, originals, ["dreamsim"], settings)["dreamsim"]] == [0, 0]


def test_missing_files_are_named_and_nothing_is_fetched(package: None, settings: Settings) -> None:
    before = weights_hash("dreamsim", settings)
    (settings.weights / "dreamsim" / "clip_vitb16_pretrain.pth.tar").unlink()
    reason = unavailable(METRICS["dreamsim"], settings)
    assert "clip_vitb16_pretrain.pth.tar missing" in reason
    assert "SEMSIGHT_WEIGHTS/dreamsim" in reason
    assert ours.ARCHIVE in reason
    torch.save({"state_dict": {}}, settings.weights / "dreamsim" / "clip_vitb16_pretrain.pth.tar")
    assert weights_hash("dreamsim", settings) != before


def test_a_package_that_would_download_is_refused(
    package: None, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dreamsim.model

    monkeypatch.setattr(dreamsim.model, "FETCHES", True)
    assert "does not let it" in score(settings)[0].reason


@pytest.mark.parametrize("damage", ["adapter lacks a tensor", "adapter has one more", "other network", "cut file"])
def test_files_that_do_not_fit_are_refused(damage: str, package: None, settings: Settings) -> None:
    folder = settings.weights / "dreamsim"
    path = folder / "ensemble_lora" / "adapter_model.safetensors"
    tensors = adapter(torch.Generator())
    if damage == "adapter lacks a tensor":
        save_file(dict(list(tensors.items())[:2]), path)
    elif damage == "adapter has one more":
        save_file(tensors | {"parts.3.lora_A.weight": torch.zeros(12, 12)}, path)
    elif damage == "other network":
        torch.save({"weight": torch.zeros(4, 12)}, folder / "checkpoints" / "dino_vitbase16_pretrain.pth")
    else:
        path.write_bytes(path.read_bytes()[:-5])
    for found in score(settings):
        assert found.value is None
        assert "not DreamSim's ensemble" in found.reason


def test_without_the_package(bare: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "dreamsim" else find_spec(name))
    assert (
        unavailable(METRICS["dreamsim"], bare)
        == "The package dreamsim is not installed; pip install dreamsim brings it."
    )

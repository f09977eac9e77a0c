"""DINO and CLIP distances against timm's own models with torchvision's preprocessing, on made-up weights."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as F
from safetensors.torch import load_file, save_file

from core.metrics.registry import METRICS, unavailable, weights_hash
from core.metrics.scoring import score_pairs
from core.metrics.vit import ENCODERS, Encoder
from core.models.weights import WEIGHTS
from core.settings import Settings
from tests.metrics.pairs import real_pairs, thinned

NAMES = {encoder.name: f"{encoder.name}_224" for encoder in ENCODERS}


def values(scores: list) -> np.ndarray:
    return np.array([s.value for s in scores], dtype=float)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seeded numbers of the true names and shapes: norms near 1, small biases, the rest scaled by its inputs."""
    folder = tmp_path_factory.mktemp("weights")
    generator = torch.Generator().manual_seed(0)
    for encoder in ENCODERS:
        tensors = {}
        for key, shape in WEIGHTS[encoder.weights].shapes.items():
            noise = torch.randn(shape, generator=generator)
            if "norm" in key:
                tensors[key] = 0.1 * noise + (1 if key.endswith("weight") else 0)
            else:
                tensors[key] = noise * (1.5 / max(1, int(np.prod(shape[1:]))) ** 0.5 if len(shape) > 1 else 0.1)
        save_file(tensors, folder / f"{encoder.weights}.safetensors")
    return folder


@pytest.fixture
def seeded(bare: Settings, drawn: Path) -> Settings:
    from dataclasses import replace

    return replace(bare, weights=drawn)


@pytest.mark.parametrize("encoder", ENCODERS, ids=NAMES)
def test_agrees_with_timm_called_directly(encoder: Encoder, seeded: Settings) -> None:
    import timm
    from timm.data import resolve_data_config

    originals, reconstructions = thinned(6)
    found = values(score_pairs(originals, reconstructions, [NAMES[encoder.name]], seeded, batch=3)[NAMES[encoder.name]])
    model = timm.create_model(encoder.model, pretrained=False).eval()
    model.load_state_dict(load_file(seeded.weights / f"{encoder.weights}.safetensors"))
    config = resolve_data_config(model=model)
    assert (config["input_size"], config["interpolation"]) == ((3, 224, 224), "bicubic")
    embeddings = []
    for images in (originals, reconstructions):
        x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
        x = F.resize(x, [224, 224], interpolation=F.InterpolationMode.BICUBIC, antialias=True).clamp(0, 1)
        with torch.no_grad():
            embeddings.append(model(F.normalize(x, config["mean"], config["std"])).double())
    assert embeddings[0].shape[1] == {"dino_vits16": 384, "clip_vitb32": 512}[encoder.name]
    theirs = 1 - torch.nn.functional.cosine_similarity(*embeddings).numpy()
    assert np.abs(found - theirs).max() < 1e-5
    assert found.max() > 1e-3
    assert found.std() > 1e-4  # the pairs are not all alike


def test_identity_symmetry_bounds_and_batch(seeded: Settings) -> None:
    name = NAMES["dino_vits16"]
    originals, reconstructions = real_pairs(40, 4)
    assert (values(score_pairs(originals, originals, [name], seeded)[name]) == 0).all()
    there = values(score_pairs(originals, reconstructions, [name], seeded)[name])
    back = values(score_pairs(reconstructions, originals, [name], seeded)[name])
    alone = values(score_pairs(originals, reconstructions, [name], seeded, batch=1)[name])
    assert there == pytest.approx(back, abs=1e-6)
    assert there == pytest.approx(alone, abs=1e-5)
    assert ((there > 0) & (there <= 2)).all()


def test_a_single_pixel_is_large_enough(seeded: Settings) -> None:
    name = NAMES["clip_vitb32"]
    black, white = np.zeros((1, 1, 1, 3), np.uint8), np.full((1, 1, 1, 3), 255, np.uint8)
    assert values(score_pairs(black, white, [name], seeded)[name])[0] > 0


@pytest.mark.parametrize("encoder", ENCODERS, ids=NAMES)
def test_unavailable_without_package_or_weights(
    encoder: Encoder, seeded: Settings, bare: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    metric = METRICS[NAMES[encoder.name]]
    assert unavailable(metric, seeded) == ""
    assert weights_hash(metric.name, seeded)
    reason = unavailable(metric, bare)
    assert encoder.weights in reason
    assert "download" in reason
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "timm" else find_spec(name))
    assert unavailable(metric, seeded) == "The package timm is not installed; pip install timm brings it."
    originals, reconstructions = real_pairs(32, 1)
    score = score_pairs(originals, reconstructions, [metric.name], seeded)[metric.name][0]
    assert score.value is None
    assert "timm is not installed" in score.reason

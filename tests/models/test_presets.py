"""The trained presets are what their record says, and training learns."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.train_faces import split
from core.errors import UserError
from core.images.load import load_images
from core.models import presets
from core.models.build import build_model, load_weights
from core.models.presets import FACE_SPECS, MODELS, PRESETS, preset_summary, preset_weights, training_record
from core.models.spec import ModelSpec
from core.models.training.simple import TrainingConfig, accuracy, normalised, train

FACES = list(FACE_SPECS)


@pytest.mark.parametrize("name", FACES)
def test_record_names_the_shipped_file(name: str) -> None:
    data = preset_weights(name)
    assert data is not None
    assert hashlib.sha256(data).hexdigest() == PRESETS[name].weights_sha256
    assert PRESETS[name].weights_sha256 == training_record()["models"][name]["sha256"]
    assert len(data) < 1_000_000


def test_no_file_without_a_record() -> None:
    recorded = {f"{name}.safetensors" for name in training_record()["models"]}
    assert {path.name for path in MODELS.iterdir()} == recorded | {"README.md", "faces.json"}
    readme = (MODELS / "README.md").read_text(encoding="utf-8")
    assert all(name in readme for name in FACES)


@pytest.mark.parametrize("name", FACES)
def test_stated_accuracy_is_measured_again(name: str) -> None:
    spec, record = PRESETS[name], training_record()
    weights = load_weights(preset_weights(name) or b"")
    prepared = {item.name: item for item in load_images("lfw", spec=spec)}
    for half in ("trained_on", "held_out"):
        items = [prepared[name] for name in record["split"][half]]
        stated = record["models"][name][f"{half}_accuracy"]
        measured = accuracy(spec, weights, np.stack([i.original for i in items]), np.array([i.label for i in items]))
        assert measured == pytest.approx(stated, abs=0.011)  # one image of 100 may tip on another processor
    assert record["models"][name]["held_out_accuracy"] >= 0.9
    assert f"{record['models'][name]['held_out_accuracy']:.0%}" in preset_summary(name)


def test_halves_are_apart_and_fixed() -> None:
    record = training_record()["split"]
    halves = split(load_images("lfw", spec=PRESETS["lenet"]))
    for word, half in zip(("trained_on", "held_out"), halves, strict=True):
        assert sorted(item.name for item in half) == record[word]
        assert len(half) == 100
        assert sum(item.class_name == "face" for item in half) == 50
    assert not set(record["trained_on"]) & set(record["held_out"])


def test_untrained_presets_have_no_file() -> None:
    for name, spec in PRESETS.items():
        assert (preset_weights(name) is None) == (spec.weights_sha256 == "") == (name not in FACES)
        assert preset_summary(name).endswith(".")
    with pytest.raises(UserError, match="did you mean lenet"):
        preset_weights("lenett")


def test_changed_or_missing_weights_are_refused(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presets, "MODELS", tmp_path)
    with pytest.raises(UserError, match="missing from assets/models"):
        preset_weights("lenet-faces")
    changed = bytearray((MODELS / "lenet-faces.safetensors").read_bytes())
    changed[-1] ^= 1
    (tmp_path / "lenet-faces.safetensors").write_bytes(bytes(changed))  # type: ignore[operator]
    with pytest.raises(UserError, match="were changed"):
        preset_weights("lenet-faces")


def test_training_learns_and_repeats() -> None:
    """Bright against dark images: separable, so a few epochs must reach every image of both halves."""
    generator = np.random.default_rng(0)
    labels = np.arange(40) % 2
    images = generator.integers(0, 120, (40, 8, 8, 1)) + 130 * labels[:, None, None, None]
    images = images.astype(np.uint8)
    spec = ModelSpec("mlp", 2, 1, 8, 8, arguments={"hidden": [8]}, mean=(0.5,), std=(0.25,))
    config = TrainingConfig(epochs=15, shift=1)
    weights = train(spec, images[:20], labels[:20], config)
    assert accuracy(spec, weights, images[20:], labels[20:]) == 1.0
    again = train(spec, images[:20], labels[:20], config)
    assert all(torch.equal(weights[key], again[key]) for key in weights)
    other = train(spec, images[:20], labels[:20], replace(config, seed=1))
    assert not torch.equal(weights["head.weight"], other["head.weight"])


def test_training_moves_batchnorm() -> None:
    spec = ModelSpec("convnet", 2, 1, 9, 9, arguments={"base": 2}, mean=(0.0,), std=(1.0,))
    images = np.random.default_rng(0).integers(0, 256, (8, 9, 9, 1)).astype(np.uint8)
    weights = train(spec, images, np.arange(8) % 2, TrainingConfig(epochs=1, batch_size=4, shift=0, flip=False))
    fresh = build_model(spec).state_dict()
    assert not torch.equal(weights["body.1.running_mean"], fresh["body.1.running_mean"])
    assert weights["body.1.num_batches_tracked"] == 2  # 8 images in batches of 4


def test_normalised_by_hand() -> None:
    spec = ModelSpec("lenet", 2, 3, 4, 4, mean=(0.0, 0.5, 1.0), std=(1.0, 0.5, 2.0))
    pixel = normalised(spec, np.full((1, 4, 4, 3), 255, dtype=np.uint8))[0, :, 0, 0]
    assert pixel.tolist() == [1.0, 1.0, 0.0]  # (1 - 0)/1, (1 - .5)/.5, (1 - 1)/2

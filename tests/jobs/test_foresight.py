"""What the first updates would share, measured by a real child, and what is said of it."""

import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save

from core.images.load import load_images
from core.jobs import foresight
from core.jobs.compose import AttackRequest
from core.jobs.foresight import Foresight, _shard, foresee, judge
from core.jobs.foresight_child import measure
from core.leakage.threat import ChosenDefence, ThreatModel
from core.models.build import build_model
from core.models.spec import ModelSpec
from core.settings import load_settings

MLP = ModelSpec("mlp", 3, height=8, width=8, arguments={"hidden": [6], "activation": "tanh"})


def request(count: int = 3, weights: bytes | None = None, **threat) -> AttackRequest:
    images = tuple(replace(one, label=1) for one in load_images("photos", spec=MLP, limit=count))
    return AttackRequest(MLP, "mlp", weights, "photos", images, "dlg", threat=ThreatModel(**threat))


def saturated() -> bytes:
    """Class 1 wins by e^60 whatever the image."""
    state = build_model(MLP).state_dict()
    state["head.bias"] = torch.tensor([-30.0, 30.0, -30.0])
    return save({name: tensor.contiguous() for name, tensor in state.items()})


def test_norms_are_those_of_plain_gradients():
    asked = request()
    answer = measure(_shard(asked))
    model = build_model(MLP)
    for image, norm in zip(asked.prepared, answer["norms"], strict=True):
        x = torch.from_numpy(image.original).permute(2, 0, 1)[None].float() / 255
        loss = torch.nn.functional.cross_entropy(model(x), torch.tensor([1]))
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        assert norm == pytest.approx(float(torch.cat([g.flatten() for g in gradients]).norm()), rel=1e-5)
    assert answer["kept"] == [1.0, 1.0, 1.0]


def test_a_saturated_model_is_named():
    found = judge(measure(_shard(request(weights=saturated()))), defended=False)
    assert len(found.sentences) == 1
    assert "3 of the first 3 updates have a gradient norm below 0.0001" in found.sentences[0]


def test_what_noise_leaves_of_the_direction():
    # Noise of s a number over P numbers: its expected norm is s·√P, and the cosine with the gradient g is about
    # |g| / √(|g|² + s²P).
    asked = request(defences=(ChosenDefence("gaussian", {"std": 0.05}),))
    answer = measure(_shard(asked))
    bare = measure(_shard(request()))["norms"]
    size = sum(p.numel() for p in build_model(MLP).parameters())
    noise = np.sqrt(np.mean([n**2 - b**2 for n, b in zip(answer["norms"], bare, strict=True)]) / size)
    expected = np.median([b / np.hypot(b, noise * np.sqrt(size)) for b in bare])
    assert judge(answer, defended=True).kept == pytest.approx(expected, abs=0.1)
    assert judge({"norms": [1.0], "kept": [0.02]}, defended=True).sentences
    assert not judge({"norms": [1.0], "kept": [0.5]}, defended=True).sentences


def test_a_gradient_that_is_not_finite_is_named():
    found = judge({"norms": [None, 1.0], "kept": [None, 1.0]}, defended=False)
    assert "1 of the first 2 updates is not finite" in found.sentences[0]
    assert found.norm == 1.0


def test_a_child_measures_and_the_page_never_waits(home, monkeypatch):
    monkeypatch.setenv("SEMSIGHT_PROBE", "on")
    settings = load_settings()
    began = time.monotonic()
    assert foresee(settings, request()) == Foresight(measuring=True)
    assert time.monotonic() - began < 5  # it took no measurement of its own: a child needs torch first
    until = time.monotonic() + 120
    while (found := foresee(settings, request())).measuring and time.monotonic() < until:
        time.sleep(0.2)
    for child in foresight._children:
        child.wait()
    assert found.sentences == ()
    assert found.norm is not None
    assert found.kept == 1.0
    assert not list((settings.home / "foresight").glob("*.shard"))  # it holds originals: gone once it was read


def test_nothing_is_measured_where_nothing_is_shared_or_probes_are_off(home, monkeypatch):
    monkeypatch.setenv("SEMSIGHT_PROBE", "on")
    assert foresee(load_settings(), replace(request(), threat=ThreatModel(update="none"))) == Foresight()
    monkeypatch.setenv("SEMSIGHT_PROBE", "off")
    assert foresee(load_settings(), request()) == Foresight()

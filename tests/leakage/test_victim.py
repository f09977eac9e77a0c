"""The victim's step: by hand, by torch, and without a trace in the model."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from core.errors import UserError
from core.leakage.observation import Observation
from core.leakage.threat import ThreatModel
from core.leakage.victim import observe, observe_nothing
from core.models.build import build_model
from core.models.spec import ModelSpec

SPEC = ModelSpec("convnet", 3, height=9, width=9, arguments={"base": 2}, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))


def _input(updates: int, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (updates, batch, 3, 9, 9), generator=draw).float() / 255
    return images, torch.randint(0, 3, (updates, batch), generator=draw)


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_updates_are_torchs_own_and_the_model_stays(mode: str) -> None:
    model = build_model(SPEC)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    images, labels = _input(3, 2)
    observation, facts = observe(model, SPEC, images, labels, ThreatModel(batch_size=2, batchnorm=mode))  # type: ignore[arg-type]
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not any(layer.training for layer in model.modules())
    mean, std = torch.tensor(SPEC.mean)[:, None, None], torch.tensor(SPEC.std)[:, None, None]
    for n in range(3):
        twin = build_model(SPEC).train(mode == "train")
        loss = F.cross_entropy(twin((images[n] - mean) / std), labels[n])
        loss.backward()
        square = 0.0
        for name, parameter in twin.named_parameters():
            assert parameter.grad is not None
            assert torch.allclose(observation.gradients[name][n], parameter.grad, atol=1e-7)
            square += float(parameter.grad.double().square().sum())
        assert facts.gradient_norm[n] == pytest.approx(square**0.5, rel=1e-5)
        assert facts.loss[n] == pytest.approx(float(loss.detach()), rel=1e-5)
    assert facts.warnings == ("", "", "")


def test_only_what_is_granted_is_carried() -> None:
    images, labels = _input(2, 1)
    known, _ = observe(build_model(SPEC), SPEC, images, labels, ThreatModel())
    hidden, _ = observe(build_model(SPEC), SPEC, images, labels, ThreatModel(labels="inferred"))
    assert known.labels is not None
    assert torch.equal(known.labels, labels)
    assert hidden.labels is None
    assert Observation.from_bytes(hidden.to_bytes()).labels is None


def test_a_model_that_is_sure_is_warned_of() -> None:
    model = build_model(SPEC)
    with torch.no_grad():
        model.get_parameter("head.bias").copy_(torch.tensor([60.0, 0.0, 0.0]))
    images, _ = _input(2, 1)
    _, facts = observe(model, SPEC, images, torch.tensor([[0], [1]]), ThreatModel())
    assert "does not show that they are safe" in facts.warnings[0]
    assert facts.warnings[1] == ""


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda i, y: (i * 255, y), "divide 8-bit images by 255"),
        (lambda i, y: (i[:, :, :1], y), "Expected images of the shape (N, 1, 3, 9, 9), got (2, 1, 1, 9, 9)"),
        (lambda i, y: (i, y + 3), "outside of the 3 classes"),
        (lambda i, y: (i, y[:1]), "one whole-number label an image"),
        (lambda i, y: (i * np.nan, y), "values from 0 to 1"),
    ],
)
def test_mistakes_get_one_sentence(change, sentence: str) -> None:  # type: ignore[no-untyped-def]
    images, labels = change(*_input(2, 1))
    with pytest.raises(UserError) as caught:
        observe(build_model(SPEC), SPEC, images, labels, ThreatModel())
    assert sentence in str(caught.value)


def test_a_model_without_parameters_is_named() -> None:
    nothing, spec = torch.nn.Flatten(), ModelSpec("mlp", 3, height=2, width=2)
    labels = torch.zeros(1, 1, dtype=torch.int64)
    with pytest.raises(UserError, match="has no parameters"):
        observe(nothing, spec, torch.rand(1, 1, 3, 2, 2), labels, ThreatModel())
    with pytest.raises(UserError, match="has no parameters"):
        observe_nothing(nothing, spec, labels, ThreatModel(update="none"))

"""Priors against forms of their own: forward hooks on the plain model, and sums written out."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from core.attacks import ATTACKS, configure
from core.attacks.priors import ModelTerms, image_norm, opponent_variation
from core.attacks.recipe import Recipe
from core.errors import UserError
from core.jobs.plan import check_statistics
from core.leakage.observation import Observation
from core.leakage.threat import ThreatModel
from core.models.build import build_model
from core.models.spec import ModelSpec
from tests.attacks.conftest import LENET

NARROW = ModelSpec("convnet", 4, height=9, width=9, arguments={"base": 2}, mean=(0.4, 0.5, 0.6), std=(0.3, 0.2, 0.25))


def in_float64(observation: Observation) -> Observation:
    """With running statistics that no fresh layer has."""
    draw = torch.Generator().manual_seed(3)
    weights = {
        name: value.double() if value.is_floating_point() else value for name, value in observation.weights.items()
    }
    for name, value in weights.items():
        if "running" in name:
            weights[name] = (torch.rand(value.shape, generator=draw) + 0.2).double()
    gradients = {name: value.double() for name, value in observation.gradients.items()}
    return replace(observation, weights=weights, gradients=gradients)


def by_hooks(observation: Observation, images: Tensor, aims: dict[str, tuple[Tensor, Tensor]], first: float) -> Tensor:
    """The BatchNorm prior of one problem (B, C, H, W), by forward hooks on torch's own layers."""
    model = build_model(observation.spec).double()
    model.load_state_dict(observation.weights)
    model.train(observation.batchnorm == "train")
    terms = []

    def hook(name: str):  # type: ignore[no-untyped-def]
        def note(_layer: nn.Module, inputs: tuple[Tensor, ...], _output: Tensor) -> None:
            x = inputs[0].movedim(1, 0).flatten(1)
            mean, variance = aims[name]
            gap = (x.mean(1) - mean).pow(2).sum().sqrt() + (x.var(1, correction=0) - variance).pow(2).sum().sqrt()
            terms.append(gap * (1.0 if terms else first))

        return note

    for name, layer in model.named_modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.register_forward_hook(hook(name))
    model(images)
    assert len(terms) == 8
    return torch.stack(terms).sum()


@pytest.mark.parametrize("batchnorm", ["eval", "train"])
@pytest.mark.parametrize("granted", [False, True])
def test_the_batchnorm_prior_is_that_of_hooks(make, batchnorm: str, granted: bool) -> None:  # type: ignore[no-untyped-def]
    observation, _, labels = make(NARROW, 3, ThreatModel(batch_size=2, batchnorm=batchnorm))
    observation = in_float64(observation)
    running = {
        name.removesuffix(".running_mean"): (value, observation.weights[name.replace("mean", "var")])
        for name, value in observation.weights.items()
        if name.endswith("running_mean")
    }
    aims = [running] * 3
    if granted:
        draw = torch.Generator().manual_seed(1)
        private = {
            f"{name}.{what}": torch.rand(3, len(pair[0]), generator=draw, dtype=torch.float64)
            for name, pair in running.items()
            for what in ("mean", "var")
        }
        observation = replace(observation, statistics=private)
        aims = [{name: (private[f"{name}.mean"][n], private[f"{name}.var"][n]) for name in running} for n in range(3)]
    terms = ModelTerms(observation, Recipe(batchnorm=0.5, first_layer=10.0))
    images = torch.randn(4, 2, 3, 9, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    owner = torch.tensor([0, 0, 1, 2])
    targets = torch.nn.functional.one_hot(labels[owner], 4).double()
    ours, plain = images.clone().requires_grad_(True), images.clone().requires_grad_(True)
    found = terms(ours, targets, owner)
    expected = torch.stack([0.5 * by_hooks(observation, plain[q], aims[int(owner[q])], 10.0) for q in range(4)])
    assert torch.allclose(found, expected, rtol=1e-12)
    found.sum().backward()
    expected.sum().backward()
    assert torch.allclose(ours.grad, plain.grad, rtol=1e-9, atol=1e-12)


def test_the_label_fit_is_the_squared_error_of_the_prediction(make) -> None:  # type: ignore[no-untyped-def]
    observation, _, labels = make(LENET, 2, ThreatModel(batch_size=3))
    images = torch.rand(2, 3, 3, 8, 8)
    targets = torch.nn.functional.one_hot(labels, 4).float()
    found = ModelTerms(observation, Recipe(label_fit=2.0))(images, targets, torch.arange(2))
    model = build_model(LENET, observation.weights)
    for n in range(2):
        wrong = [(model(images[n, b][None])[0].softmax(0) - targets[n, b]).square().sum().item() for b in range(3)]
        assert float(found[n]) == pytest.approx(2 * sum(wrong) / 3, rel=1e-5)


def test_the_opponents_variation_written_out() -> None:
    images = np.random.default_rng(0).random((2, 2, 3, 4, 5))
    found = opponent_variation(torch.from_numpy(images))
    for p in range(2):
        total = 0.0
        for picture in images[p]:
            r, g, b = picture
            for plane in (r, g, b, r - g, r - b, g - b):
                for y in range(4):
                    for x in range(5):
                        dx = plane[y, x + 1] - plane[y, x] if x < 4 else 0.0
                        dy = plane[y + 1, x] - plane[y, x] if y < 3 else 0.0
                        total += (dx**2 + dy**2 + 1e-8) ** 0.5
        assert float(found[p]) == pytest.approx(total / (2 * 6 * 4 * 5))
    grey = torch.rand(1, 1, 1, 4, 4)
    assert float(opponent_variation(grey)) == pytest.approx(
        float(opponent_variation(grey.expand(1, 1, 3, 4, 4))) * 2, abs=1e-3
    )
    assert image_norm(torch.full((2, 1, 1, 2, 2), 3.0)).tolist() == [6.0, 6.0]


def test_a_prior_without_its_statistics_is_refused_in_a_sentence(make) -> None:  # type: ignore[no-untyped-def]
    attack = ATTACKS["gradinversion"]
    with pytest.raises(UserError, match="needs a model with BatchNorm, and lenet has none"):
        attack.reconstruct(make(LENET, 1)[0], configure("gradinversion", {"steps": 2}), seed=0)
    secret = replace(make(NARROW, 1, ThreatModel(batch_size=2, batchnorm="train"))[0], running_statistics=False)
    with pytest.raises(UserError, match="neither the running ones nor the private batch's are granted"):
        attack.reconstruct(secret, configure("gradinversion", {"steps": 2}), seed=0)
    with pytest.raises(UserError, match="are not granted; grant them, or set statistics=running"):
        attack.reconstruct(make(NARROW, 1)[0], configure("gradinversion", {"steps": 2, "statistics": "batch"}), seed=0)


def test_the_control_does_not_see_the_private_statistics(make) -> None:  # type: ignore[no-untyped-def]
    observation, _, _ = make(NARROW, 1, ThreatModel(batch_size=2, batchnorm="train"))
    names = [n.removesuffix(".running_mean") for n in observation.weights if n.endswith("running_mean")]
    private = {
        f"{n}.{w}": torch.zeros(1, len(observation.weights[f"{n}.bias"])) for n in names for w in ("mean", "var")
    }
    observation = replace(observation, statistics=private)
    sources = [ModelTerms(observation, Recipe(batchnorm=1.0, matching=m)).known.source for m in (1.0, 0.0)]  # type: ignore[union-attr]
    assert sources == ["the private batch", "the model's running statistics"]


def test_the_lack_of_batchnorm_is_said_before_a_run() -> None:
    with pytest.raises(UserError, match="needs a model with BatchNorm, and lenet has none; set batchnorm=0"):
        check_statistics(ATTACKS["huang-bn"], configure("huang-bn", {}), LENET, ThreatModel())
    check_statistics(ATTACKS["huang-bn"], configure("huang-bn", {"batchnorm": 0}), LENET, ThreatModel())
    check_statistics(ATTACKS["huang-bn"], configure("huang-bn", {}), NARROW, ThreatModel())


def test_statistics_that_nobody_grants_are_refused_before_the_run() -> None:
    denied = ThreatModel(batch_size=2, batchnorm="train", running_statistics=False)
    attack = ATTACKS["huang-bn"]
    with pytest.raises(UserError, match="neither the running ones nor the private batch's"):
        check_statistics(attack, configure("huang-bn", {}), NARROW, denied)
    check_statistics(attack, configure("huang-bn", {}), NARROW, replace(denied, batch_statistics=True))
    with pytest.raises(UserError, match="private batch's BatchNorm statistics are not granted"):
        check_statistics(attack, configure("huang-bn", {"statistics": "batch"}), NARROW, ThreatModel())


def test_a_control_without_any_statistics_runs_without_the_prior(make) -> None:  # type: ignore[no-untyped-def]
    threat = ThreatModel(batch_size=2, batchnorm="train", running_statistics=False, batch_statistics=True)
    observation = make(NARROW, 1, threat)[0]
    config = configure("huang-bn", {"steps": 2, "matching": 0.0})
    assert ATTACKS["huang-bn"].reconstruct(observation, config, seed=0).status == ("ok",)

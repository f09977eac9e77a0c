"""Defences on the update, each against a formula written anew; their seeds, their place and their order."""

import math
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from core.errors import UserError
from core.knobs import changed
from core.leakage.defences import DEFENCES, check_defences, completed, configure_defence
from core.leakage.defences.base import ClientStep
from core.leakage.defences.clipping import DpSgdConfig, epsilon
from core.leakage.local import client_update, shuffles
from core.leakage.threat import ChosenDefence, ThreatModel
from core.leakage.victim import normalise, observe
from core.models.build import build_model
from core.models.spec import ModelSpec

MLP = ModelSpec("mlp", 3, channels=1, height=4, width=4, mean=(0.5,), std=(0.25,), arguments={"hidden": [6]})
UPDATE = {
    "a": torch.randn(40, 50, generator=torch.Generator().manual_seed(1)),
    "b": torch.randn(13, generator=torch.Generator().manual_seed(2)),
    "c": torch.zeros(3),
}
numbers = st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=60)


def act(
    name: str, gradients: dict[str, torch.Tensor] | None = None, seed: int = 0, **values: object
) -> dict[str, torch.Tensor]:
    """What the defence makes of gradients alone."""
    step = ClientStep(UPDATE if gradients is None else gradients, torch.nn.Identity(), torch.empty(0), torch.empty(0))
    before = {key: g.clone() for key, g in step.gradients.items()}
    on_update = DEFENCES[name].on_update
    assert on_update is not None
    found = on_update(step, configure_defence(name, values), torch.Generator().manual_seed(seed))
    assert list(found) == list(before)
    assert all(torch.equal(before[key], g) for key, g in step.gradients.items())
    assert all(g.shape == before[key].shape and g.dtype == before[key].dtype for key, g in found.items())
    return found


def chosen(name: str, **values: object) -> tuple[ChosenDefence, ...]:
    return (ChosenDefence(name, dict(values)),)


def batch(updates: int, images: int, spec: ModelSpec = MLP) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(5)
    shape = (updates, images, spec.channels, spec.height, spec.width)
    return torch.randint(0, 256, shape, generator=draw) / 255, torch.randint(0, 3, (updates, images), generator=draw)


def test_every_defence_says_what_it_is() -> None:
    docs = (Path(__file__).resolve().parents[2] / "docs" / "defences.md").read_text(encoding="utf-8")
    for name, defence in DEFENCES.items():
        assert name == defence.name
        assert f"| `{name}` | {defence.place} |" in docs
        assert ". " in defence.summary
        assert defence.place in ("input", "update")
        assert (defence.on_update is not None) == (defence.place == "update")
        assert defence.source
        assert defence.adaptation
        assert all(field.metadata["help"] for field in fields(defence.config))
        assert changed(defence.config, {}) == defence.config


@pytest.mark.parametrize(("scale", "unit"), [("absolute", 1.0), ("relative", None)])
def test_noise_has_its_distribution(scale: str, unit: float | None) -> None:
    everything = np.concatenate([g.numpy().ravel() for g in UPDATE.values()]).astype(float)
    unit = unit or float(np.linalg.norm(everything) / math.sqrt(everything.size))
    for name, level in (("gaussian", {"std": 0.5}), ("laplace", {"b": 0.5})):
        found = act(name, scale=scale, **level)
        noise = np.concatenate([(found[key] - g).numpy().ravel() for key, g in UPDATE.items()]).astype(float) / unit
        width = 0.5 / math.sqrt(noise.size)  # standard error of the mean, of a spread of about a half
        assert abs(noise.mean()) < 6 * width
        if name == "gaussian":  # E|x| = σ √(2/π), E x² = σ²
            assert np.abs(noise).mean() == pytest.approx(0.5 * math.sqrt(2 / math.pi), abs=6 * width)
            assert (noise**2).mean() == pytest.approx(0.25, abs=6 * width)
        else:  # E|x| = b, E x² = 2 b²
            assert np.abs(noise).mean() == pytest.approx(0.5, abs=6 * width)
            assert (noise**2).mean() == pytest.approx(0.5, abs=12 * width)


@given(numbers, st.floats(1e-3, 1e3))
@settings(max_examples=40, deadline=None)
def test_clipping_shortens_and_never_turns(values: list[float], most: float) -> None:
    gradients = {"a": torch.tensor(values), "b": torch.tensor(values[:1])}
    before = np.array([*values, *values[:1]], dtype=float)
    found = torch.cat([g.flatten() for g in act("clip", gradients, norm=most).values()]).double().numpy()
    assert np.linalg.norm(found) <= most * (1 + 1e-5)
    wanted = before * min(1.0, most / max(float(np.linalg.norm(before)), 1e-300))
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-30)


@given(numbers, st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_top_k_keeps_exactly_the_k_largest(values: list[float], share: float) -> None:
    values = [value + 2e3 for value in values]  # none is zero, so that what is kept can be counted
    gradients = {"a": torch.tensor(values), "b": -torch.tensor(values) / 3}
    for scope in ("tensor", "global"):
        found = act("top-k", gradients, share=share, scope=scope)
        groups = [["a"], ["b"]] if scope == "tensor" else [["a", "b"]]
        for group in groups:
            before = torch.cat([gradients[key] for key in group]).numpy()
            after = torch.cat([found[key] for key in group]).numpy()
            assert np.count_nonzero(after) == max(1, round(share * before.size))
            assert set(after[after != 0]) <= set(before)
            assert np.abs(after[after != 0]).min() >= np.abs(before[after == 0]).max(initial=0)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.7, 0.99, 1.0])
def test_pruning_is_numpys_percentile(share: float) -> None:
    found = act("prune", share=share)
    for key in ("a", "b"):
        g = UPDATE[key].numpy()
        wanted = np.where(np.abs(g) < np.percentile(np.abs(g), 100 * share), 0, g)
        np.testing.assert_array_equal(found[key].numpy(), wanted)


def test_signs_are_numpys() -> None:
    for scale in ("mean", "one"):
        found = act("sign", scale=scale)
        for key, g in UPDATE.items():
            size = np.abs(g.numpy()).mean() if scale == "mean" else 1.0
            np.testing.assert_allclose(found[key].numpy(), np.sign(g.numpy()) * size, rtol=1e-6)


@given(numbers, st.integers(1, 16), st.booleans())
@settings(max_examples=60, deadline=None)
def test_quantisation_moves_by_at_most_half_a_step(values: list[float], bits: int, stochastic: bool) -> None:
    before = np.array(values)
    found = act("quantise", {"a": torch.tensor(values)}, bits=bits, stochastic=stochastic)["a"].double().numpy()
    step = (before.max() - before.min()) / (2**bits - 1)
    rounding = 1e-6 * np.abs(before).max() + 1e-30  # of float32, in which the result is shared
    assert np.abs(found - before).max() <= step * (1.0 if stochastic else 0.5) + rounding
    assert len(np.unique(found)) <= 2**bits
    places = (found - before.min()) / (step or 1.0)
    assert np.abs(places - places.round()).max() * step <= rounding


def test_stochastic_rounding_is_right_in_the_mean() -> None:
    gradients = {"a": torch.tensor([0.0, 1.0] + [0.3] * 4000)}
    found = act("quantise", gradients, bits=1, stochastic=True)["a"][2:]
    assert set(found.tolist()) == {0.0, 1.0}
    assert float(found.mean()) == pytest.approx(0.3, abs=6 * math.sqrt(0.21 / 4000))


def test_dp_sgd_is_the_mean_of_clipped_gradients_with_noise() -> None:
    images, labels = batch(1, 4)
    exact, _ = observe(
        build_model(MLP), MLP, images, labels, ThreatModel(4, defences=chosen("dp-sgd", noise=0, clip=0.4))
    )
    rows = []
    for image, label in zip((images[0] - 0.5) / 0.25, labels[0], strict=True):
        twin = build_model(MLP)
        torch.nn.functional.cross_entropy(twin(image[None]), label[None]).backward()
        row = np.concatenate([p.grad.numpy().ravel() for p in twin.parameters()])
        rows.append(row * min(1.0, 0.4 / np.linalg.norm(row)))
    found = np.concatenate([g[0].numpy().ravel() for g in exact.gradients.values()])
    np.testing.assert_allclose(found, np.mean(rows, axis=0), rtol=1e-4, atol=1e-7)
    assert max(np.linalg.norm(row) for row in rows) == pytest.approx(0.4, rel=1e-5)  # something was clipped
    noisy, _ = observe(
        build_model(MLP), MLP, images, labels, ThreatModel(4, defences=chosen("dp-sgd", noise=3, clip=0.4))
    )
    noise = np.concatenate([g[0].numpy().ravel() for g in noisy.gradients.values()]) - found
    assert noise.std() == pytest.approx(3 * 0.4 / 4, rel=6 / math.sqrt(2 * noise.size))


@pytest.mark.parametrize(("sigma", "delta"), [(0.5, 1e-5), (1.0, 1e-5), (2.0, 1e-6), (8.0, 1e-3)])
def test_epsilon_is_that_of_the_analytic_gaussian_mechanism(sigma: float, delta: float) -> None:
    """Balle and Wang 2018, theorem 8, with sensitivity 1: δ = Φ(1/2σ − εσ) − e^ε Φ(−1/2σ − εσ)."""
    found = epsilon(DpSgdConfig(noise=sigma, delta=delta, clip=7.0))  # C scales signal and noise alike
    back = norm.cdf(1 / (2 * sigma) - found * sigma) - math.exp(found) * norm.cdf(-1 / (2 * sigma) - found * sigma)
    assert back == pytest.approx(delta, rel=1e-4)


def test_without_noise_there_is_no_epsilon() -> None:
    assert epsilon(DpSgdConfig(noise=0.0)) == math.inf


def test_soteria_prunes_the_features_that_the_image_moves_least_for_their_size() -> None:
    images, labels = batch(1, 2)
    model = build_model(MLP)
    plain, _ = observe(model, MLP, images, labels, ThreatModel(2))
    found, _ = observe(model, MLP, images, labels, ThreatModel(2, defences=chosen("soteria", share=0.5)))
    body = torch.nn.Sequential(torch.nn.Flatten(), model.get_submodule("body"))
    total = np.zeros(6)
    for image in (images[0] - 0.5) / 0.25:
        slopes = torch.autograd.functional.jacobian(lambda x: body(x[None])[0], image).flatten(1).norm(dim=1).numpy()
        total += slopes / (body(image[None])[0].detach().numpy() + 0.1)
    dropped = np.argsort(total)[:3]  # 0.5 × (6 − 1) = 2.5, the percentile lies above three
    assert (found.gradients["head.weight"][0][:, dropped] == 0).all()
    kept = np.setdiff1d(np.arange(6), dropped)
    for name, g in plain.gradients.items():
        same = g[..., kept] if name == "head.weight" else g
        ours = found.gradients[name][..., kept] if name == "head.weight" else found.gradients[name]
        assert torch.equal(same, ours)


def test_what_is_drawn_depends_on_seed_and_position_alone() -> None:
    images, labels = batch(3, 2)
    threat = ThreatModel(2, clients=2, defences=chosen("gaussian", std=0.1))
    model = build_model(MLP)

    def shared(rows: list[int], **rest: object) -> torch.Tensor:
        found, _ = observe(model, MLP, images[rows], labels[rows], threat, **rest)  # type: ignore[arg-type]
        return torch.cat([g.flatten(1) for g in found.gradients.values()], dim=1)

    whole = shared([0, 1, 2], seed=4)
    assert torch.equal(whole[1:2], shared([1], seed=4, positions=[1]))
    assert torch.equal(whole[[2, 0]], shared([2, 0], seed=4, positions=[2, 0]))
    assert not torch.equal(whole[:1], shared([0], seed=5))
    assert not torch.equal(shared([0], seed=4, positions=[1]), whole[:1])
    plain, _ = observe(model, MLP, images, labels, ThreatModel(2, clients=2))
    noise = whole - torch.cat([g.flatten(1) for g in plain.gradients.values()], dim=1)
    assert len(noise.unique()) > 0.99 * noise.numel()  # no two clients or updates share their draws
    assert float(noise.std()) == pytest.approx(0.1 / math.sqrt(2), rel=0.1)  # the mean of two clients' noise


@pytest.mark.parametrize("update", ["gradients", "weights"])
def test_each_client_defends_its_own_update_before_the_mean(update: str) -> None:
    images, labels = batch(1, 4)
    model = build_model(MLP)
    rest = {"update": update, "local_epochs": 2, "local_lr": 0.1}
    threat = ThreatModel(4, clients=2, defences=chosen("clip", norm=0.3), **rest)  # type: ignore[arg-type]
    together, _ = observe(model, MLP, images, labels, threat)
    alone = []
    for client in range(2):
        own = slice(2 * client, 2 * client + 2)
        order = ThreatModel(4, clients=2, **rest)  # type: ignore[arg-type]
        targets = torch.nn.functional.one_hot(labels[0, own], 3).float()
        made = client_update(
            model, order, normalise(images[0, own], MLP), targets, orders=shuffles(order, 0, 0, client)
        )
        row = np.concatenate([g.numpy().ravel() for g in made.step.gradients.values()])
        assert np.linalg.norm(row) > 0.3
        alone.append(row * 0.3 / np.linalg.norm(row))
    found = np.concatenate([g[0].numpy().ravel() for g in together.gradients.values()])
    np.testing.assert_allclose(found, np.mean(alone, axis=0), rtol=1e-4, atol=1e-7)
    assert np.linalg.norm(found) < 0.2999  # two directions: a clipped mean would have the norm 0.3


def test_defences_act_in_their_order_and_the_attacker_is_told_if_adaptive() -> None:
    images, labels = batch(1, 1)
    model = build_model(MLP)
    one, two = (
        chosen("prune", share=0.5) + chosen("gaussian", std=0.01),
        chosen("gaussian", std=0.01) + chosen("prune", share=0.5),
    )
    first, _ = observe(model, MLP, images, labels, ThreatModel(defences=one))
    second, _ = observe(model, MLP, images, labels, ThreatModel(defences=two, adaptive=False))
    assert (first.gradients["body.0.weight"] != 0).all()
    assert (second.gradients["body.0.weight"] == 0).float().mean() == pytest.approx(0.5, abs=0.02)
    assert first.defences == one
    assert second.defences == ()


BATCHNORM = ModelSpec("convnet", 3, height=9, width=9, arguments={"base": 2})


@pytest.mark.parametrize(
    ("threat", "spec", "words"),
    [
        (ThreatModel(defences=chosen("prone")), None, "did you mean prune"),
        (ThreatModel(defences=chosen("prune", share=1.5)), None, "share must be from 0 to 1"),
        (ThreatModel(defences=chosen("prune", shares=0.5)), None, "no setting called 'shares'"),
        (ThreatModel(defences=chosen("quantise", bits=0)), None, "bits must be from 1 to 16"),
        (ThreatModel(defences=chosen("clip", norm=0)), None, "norm must be from"),
        (ThreatModel(defences=chosen("ats", policy="3-50")), None, "numbers from 0 to 49"),
        (ThreatModel(defences=chosen("ats", policy="x")), None, "numbers from 0 to 49"),
        (ThreatModel(defences=chosen("clip") * 2), None, "chosen twice"),
        (ThreatModel(batch_size=2, defences=chosen("dp-sgd") + chosen("mixup")), None, "that ε does not cover"),
        (ThreatModel(defences=chosen("mixup")), None, "at least two"),
        (ThreatModel(2, clients=2, defences=chosen("mixup")), None, "at least two"),
        (ThreatModel(update="none", defences=chosen("clip")), None, "nothing to protect"),
        (ThreatModel(update="weights", defences=chosen("dp-sgd")), None, "choose clip and gaussian"),
        (ThreatModel(defences=chosen("clip") + chosen("dp-sgd")), None, "put it first"),
        (ThreatModel(defences=chosen("dp-sgd")), BATCHNORM, "convnet-gn or resnet20-4-gn"),
    ],
)
def test_mistakes_are_one_sentence(threat: ThreatModel, spec: ModelSpec | None, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        check_defences(threat, spec)
    assert str(caught.value).count(". ") == 0


def test_batchnorm_is_seen_in_an_upload_too() -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    step = ClientStep({}, model, torch.empty(0), torch.empty(0))
    with pytest.raises(UserError, match="convnet-gn"):
        DEFENCES["dp-sgd"].on_update(step, DpSgdConfig(), torch.Generator())  # type: ignore[misc]


def test_settings_are_stored_complete() -> None:
    whole = completed(ThreatModel(defences=chosen("gaussian", std="0.5")))
    assert whole.defences == (ChosenDefence("gaussian", {"std": 0.5, "scale": "absolute"}),)
    assert completed(whole) == whole

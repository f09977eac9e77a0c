"""DP-SGD: one step by hand, ε against two other accountants and published figures, and what is recorded."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import dp_accounting
import numpy as np
import pytest
import torch
from dp_accounting import rdp
from opacus.accountants import RDPAccountant
from torch import Tensor, nn

from core.errors import UserError
from core.models.build import build_model
from core.models.spec import ModelSpec
from core.models.training import draws, privacy, private
from core.models.training.feed import Feed
from core.models.training.loop import fit
from core.models.training.private import PrivateStepper
from core.models.training.progress import TrainingCancelled
from core.models.training.recipe import Recipe
from core.models.training.secret import kept_key
from core.models.training.simple import normalised
from core.models.training.state import unpack
from tests.models.training.helpers import COUNT, GROUPED, KEY, LENET, PLAIN, Told, data, train

PRIVATE = replace(PLAIN, defence="dp-sgd", batch_size=6, momentum=0.0, weight_decay=0.0, dp_norm=0.5, dp_noise=0.8)
VIT = ModelSpec("vit-tiny", 4, height=8, width=8, arguments={"width": 6, "depth": 1, "heads": 3})
# torchvision's blocks, which add in place.
RESIDUAL = ModelSpec("resnet18-cifar-gn", 4, height=8, width=8, arguments={"base": 4})
# Noise, B, N, epochs: TF-Privacy's MNIST tutorial (tutorials/README.md of tensorflow/privacy, "Select Parameters",
# δ = 1e-5), and the ε it prints. It converts by the older ε = RDP(α) + log(1/δ) / (α − 1).
PUBLISHED = [(1.12, 256, 60_000, 60, 2.92), (1.2, 256, 60_000, 10, 1.20)]
SETTINGS = [(1.12, 256, 60_000, 60), (0.6, 256, 60_000, 30), (4.0, 600, 10_000, 40)]


def by_hand(spec: ModelSpec, rows: np.ndarray) -> dict[str, Tensor]:
    """Per-image gradients, clipped, summed, noise, over the expected batch; one plain SGD step."""
    images, labels = data()
    x, y = normalised(spec, images), torch.from_numpy(labels)
    model = build_model(spec).train()
    total = [torch.zeros_like(p) for p in model.parameters()]
    for row in rows:
        model.zero_grad()
        nn.functional.cross_entropy(model(x[row : row + 1]), y[row : row + 1]).backward()
        gradients = [p.grad for p in model.parameters()]
        norm = torch.cat([g.flatten() for g in gradients]).norm()  # type: ignore[union-attr]
        for sum_, gradient in zip(total, gradients, strict=True):
            sum_ += gradient * min(1.0, PRIVATE.dp_norm / float(norm))
    noise = torch.Generator().manual_seed(draws.torch_seed(KEY, "noise", 0))
    with torch.no_grad():
        for p, gradient in zip(model.parameters(), total, strict=True):
            drawn = torch.normal(0.0, PRIVATE.dp_noise * PRIVATE.dp_norm, p.shape, generator=noise)
            p -= 0.05 * (gradient + drawn) / PRIVATE.batch_size
    return model.state_dict()


@pytest.mark.parametrize("spec", [LENET, GROUPED, RESIDUAL, VIT], ids=lambda spec: spec.architecture)
@pytest.mark.parametrize(("at_once", "layout"), [(100, torch.contiguous_format), (3, torch.channels_last)])
def test_one_step_by_hand(
    spec: ModelSpec, at_once: int, layout: torch.memory_format, monkeypatch: pytest.MonkeyPatch
) -> None:
    parameters = sum(p.numel() for p in build_model(spec).parameters())
    monkeypatch.setitem(private.MOST_BYTES, "cpu", 4 * parameters * at_once)
    images, labels = data()
    # In either memory order of convolutions: Opacus's own gradients are wrong in one of them.
    model = build_model(spec).train().to(memory_format=layout)
    stepper = PrivateStepper(model, PRIVATE, torch.device("cpu"), len(labels), KEY)
    rows = np.arange(7)
    stepper.step(Feed(spec, images, labels, PRIVATE, torch.device("cpu")).batch(rows, 0), 0, 0.05)
    expected = by_hand(spec, rows)
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-4, atol=2e-6)


def test_the_first_step_of_a_training_by_hand() -> None:
    told = Told(cut=1)
    with pytest.raises(TrainingCancelled):
        train(GROUPED, PRIVATE, told)
    _, tensors = unpack(told.saved[1])
    rows = draws.poisson(KEY, 0, COUNT, 6 / COUNT)
    assert len(rows) > 1
    for name, tensor in by_hand(GROUPED, rows).items():
        torch.testing.assert_close(tensors[f"model.{name}"], tensor, rtol=1e-4, atol=2e-6)


def test_a_step_without_images_is_noise_alone() -> None:
    images, labels = data()
    model = build_model(LENET).train()
    stepper = PrivateStepper(model, PRIVATE, torch.device("cpu"), len(labels), KEY)
    rows = np.arange(0)
    result = stepper.step(Feed(LENET, images, labels, PRIVATE, torch.device("cpu")).batch(rows, 0), 0, 0.05)
    assert not result.norm.isfinite()
    for name, tensor in by_hand(LENET, rows).items():
        torch.testing.assert_close(model.state_dict()[name], tensor, rtol=0, atol=1e-6)


def recipe_of(noise: float, batch: int, epochs: int) -> Recipe:
    return replace(PRIVATE, dp_noise=noise, batch_size=batch, epochs=epochs, dp_delta=1e-5)


@pytest.mark.parametrize(("noise", "batch", "count", "epochs"), SETTINGS)
def test_epsilon_is_the_accountants(noise: float, batch: int, count: int, epochs: int) -> None:
    steps, rate = epochs * (count // batch), batch / count
    found = privacy.epsilon_of(recipe_of(noise, batch, epochs), count)
    opacus = RDPAccountant()
    opacus.history = [(noise, rate, steps)]
    assert found == pytest.approx(opacus.get_epsilon(1e-5), rel=1e-6)
    google = rdp.RdpAccountant(list(privacy.ORDERS))
    event = dp_accounting.PoissonSampledDpEvent(rate, dp_accounting.GaussianDpEvent(noise))
    google.compose(dp_accounting.SelfComposedDpEvent(event, steps))
    # Google's library bounds orders that are no whole numbers from above, so its ε may be a little larger.
    assert found <= google.get_epsilon(1e-5) * (1 + 1e-9)
    assert found == pytest.approx(google.get_epsilon(1e-5), rel=2e-3)


@pytest.mark.parametrize(("noise", "batch", "count", "epochs", "published"), PUBLISHED)
def test_epsilon_of_a_published_tutorial(
    noise: float, batch: int, count: int, epochs: int, published: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(privacy, "_conversion", lambda order, delta: math.log(1 / delta) / (order - 1))
    steps = epochs * count // batch
    found = privacy.epsilon_of(recipe_of(noise, batch, epochs), count, steps)
    assert round(found, 2) == published


def test_epsilon_without_sampling_is_the_gaussian_mechanisms() -> None:
    # q = 1: RDP(α) = α / 2σ² a step, the closed form.
    recipe = replace(PRIVATE, batch_size=10, epochs=3, dp_noise=2.0)
    expected = min(3 * a / 8 + math.log1p(-1 / a) - math.log(recipe.dp_delta * a) / (a - 1) for a in privacy.ORDERS)
    assert privacy.epsilon_of(recipe, 10) == pytest.approx(expected)


def test_the_record_states_the_guarantee() -> None:
    trained = train(LENET, PRIVATE)
    found = trained.record["privacy"]
    rows = [row.epsilon for row in trained.rows]
    assert rows[0] is not None
    assert rows[1] == found["epsilon"] > rows[0]
    assert found["epsilon"] == pytest.approx(privacy.epsilon_of(PRIVATE, 22), rel=1e-6)
    assert rows[0] == pytest.approx(privacy.epsilon_of(PRIVATE, 22, steps=3), rel=1e-6)
    expected = {
        "delta": 1e-5,
        "unit": "one image (add or remove one)",
        "sampling": "Poisson",
        "sampling_rate": 6 / 22,
        "steps": 6,
        "noise_multiplier": 0.8,
        "clipping_norm": 0.5,
        "accountant": "Opacus RDP",
        "secure_noise": False,
    }
    assert {name: found[name] for name in expected} == expected
    assert found["accountant_version"]
    assert train(LENET, PLAIN).record["privacy"] is None


def test_the_key_and_not_the_recipe_decides_the_noise() -> None:
    assert "key" not in PRIVATE.to_dict()
    first = train(LENET, PRIVATE).weights

    def same(second: Mapping[str, Tensor]) -> bool:
        return all(torch.equal(first[name], tensor) for name, tensor in second.items())

    assert same(train(LENET, replace(PRIVATE, seed=1)).weights)  # nothing is augmented: the seed draws nothing
    assert not same(train(LENET, PRIVATE, key=KEY + 1).weights)
    images, labels = data()
    drawn = [fit(LENET, images, labels, images[:5], labels[:5], PRIVATE).weights for _ in range(2)]
    assert not torch.equal(*(weights["head.weight"] for weights in drawn))  # without a key: a new one each time


def test_nobody_reads_the_key_in_what_a_training_leaves() -> None:
    told = Told(every=2)
    trained = train(LENET, PRIVATE, told)
    said = repr(trained.record) + "".join(repr(unpack(data)[0]) for data in told.saved.values())
    assert str(KEY) not in said
    assert f"{KEY:x}" not in said
    note = trained.record["privacy"]["note"]
    assert "secret key" in note
    assert "gradient norm are computed from the private images without noise" in note


def test_a_key_is_kept_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "keys" / "1.key"
    key = kept_key(file)
    assert kept_key(file) == key
    assert kept_key(tmp_path / "keys" / "2.key") != key
    assert file.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in file.parent.iterdir()) == ["1.key", "2.key"]
    for text in ("no key", "", "-1", "f" * 33):
        file.write_text(text)
        with pytest.raises(UserError, match="is no key of a private training"):
            kept_key(file)


def test_a_delta_that_promises_little_is_a_warning() -> None:
    trained = train(LENET, replace(PRIVATE, dp_delta=0.1))
    assert "is not below 1 / 22 images" in trained.record["warnings"][0]

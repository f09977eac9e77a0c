"""The analytic attack: exact where the theory says so, and frank where it does not."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from core.attacks import ATTACKS
from core.attacks.analytic import ANALYTIC
from core.attacks.base import AttackCancelled
from core.attacks.first_layer import Candidates, choose, combine, off_grid, withheld
from core.errors import UserError
from core.leakage.controls import mismatched
from core.leakage.observation import Observation
from core.leakage.threat import ThreatModel
from core.leakage.victim import observe
from core.models.build import build_model
from core.models.spec import ModelSpec
from tests.attacks.conftest import CONVNET, LENET, Listener
from tests.filled_store import photographs

MEAN, STD = (0.4, 0.5, 0.6), (0.3, 0.2, 0.25)
MLP = ModelSpec("mlp", 10, height=8, width=8, mean=MEAN, std=STD, arguments={"hidden": [64], "activation": "sigmoid"})
RELU = replace(MLP, arguments={"hidden": [64], "activation": "relu"})


def run(observation: Observation, **settings: object):  # type: ignore[no-untyped-def]
    config = replace(ANALYTIC.config, **settings)
    return ANALYTIC.reconstruct(Observation.from_bytes(observation.to_bytes()), config, seed=0)


def photos(spec: ModelSpec, count: int, batch: int, threat: ThreatModel | None = None, *, own_units: bool = False):  # type: ignore[no-untyped-def]
    """Updates of real photographs. own_units: unit i of the first layer sees photograph i of each update alone."""
    pixels = np.stack(photographs(count * batch, spec.height)).reshape(count, batch, spec.height, spec.width, 3)
    images = torch.from_numpy(pixels).movedim(-1, 2).float() / 255
    labels = torch.arange(count * batch).reshape(count, batch) % spec.num_classes
    model = build_model(spec)
    if own_units:
        first = next(layer for layer in model.modules() if isinstance(layer, torch.nn.Linear))
        with torch.no_grad():
            separate(first, ((images[0] - _column(MEAN)) / _column(STD)).flatten(1))
    threat = threat or ThreatModel(batch_size=batch)
    observation, _ = observe(model, spec, images, labels, threat)
    return observation, pixels, labels


def separate(layer: torch.nn.Linear, images: torch.Tensor) -> None:
    """Rows 2i and 2i + 1 fire for image i alone; the other rows for all."""
    inverse = torch.linalg.pinv(images.double())  # (D, B): images @ inverse = identity
    for place in range(len(images)):
        for row, strength in ((2 * place, 1.0), (2 * place + 1, 0.5)):
            layer.weight[row] = strength * inverse[:, place].float() * 2
            layer.bias[row] = -strength
    layer.bias[2 * len(images) :] = 5.0


def _column(values: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(values)[:, None, None]


@pytest.mark.parametrize("spec", [MLP, RELU, replace(MLP, channels=1, mean=(0.5,), std=(0.25,))])
def test_one_image_is_exact_to_8_bits(make, spec: ModelSpec) -> None:  # type: ignore[no-untyped-def]
    observation, pixels, labels = make(spec, 5)
    done = run(observation)
    assert np.array_equal(done.images[:, 0], pixels)
    assert done.status == ("ok",) * 5
    assert done.losses.max() < 1e-6
    assert np.array_equal(done.labels[:, 0], labels.numpy())
    assert done.record["layer"] == "body.0"


def test_one_photograph_is_exact_and_its_label_is_recovered() -> None:
    observation, pixels, labels = photos(MLP, 4, 1, ThreatModel(labels="inferred"))
    done = run(observation)
    assert np.array_equal(done.images[:, 0], pixels)
    assert np.array_equal(done.labels[:, 0], labels.numpy())


def test_one_image_of_a_fedavg_client_is_exact() -> None:
    # every local step adds a multiple of the same image to each row: the sum is still rank one
    threat = ThreatModel(update="weights", local_epochs=5, local_lr=0.1)
    observation, pixels, _ = photos(MLP, 3, 1, threat)
    assert np.array_equal(run(observation).images[:, 0], pixels)


def test_images_with_units_of_their_own_are_exact_in_a_batch() -> None:
    observation, pixels, _ = photos(RELU, 1, 4, own_units=True)
    done = run(observation)
    found = {image.tobytes() for image in done.images[0, 0]}
    assert found == {image.tobytes() for image in pixels[0]}
    assert done.status == ("ok",)


def test_a_batch_that_shares_its_units_is_called_a_mixture() -> None:
    observation, pixels, _ = photos(MLP, 1, 4)  # a sigmoid unit hears every image
    done = run(observation)
    assert done.images.shape == (1, 1, 4, 8, 8, 3)
    assert done.status == ("0 of 4 images read exactly; the others are mixtures",)
    assert not any(np.array_equal(image, own) for image in done.images[0, 0] for own in pixels[0])
    assert 0.5 < done.losses[0, 0] <= 1.0


def test_the_wrong_gradient_gives_the_other_image() -> None:
    observation, pixels, _ = photos(MLP, 2, 1)
    swapped = mismatched(observation.select([0]), observation.select([1]))
    assert np.array_equal(run(swapped).images[0, 0], pixels[1])


def test_pruned_entries_are_no_evidence() -> None:
    # dW = db xᵀ with most entries dropped: each pixel is read off the rows that still share it
    source = torch.Generator().manual_seed(1)
    image, bias = torch.rand(20, generator=source).double(), torch.randn(9, generator=source).double()
    weight = bias[:, None] * image
    weight[torch.rand(9, 20, generator=source) < 0.85] = 0.0
    assert (weight == 0).all(0).any()
    found, left = combine(weight, bias)
    kept = (weight != 0).any(0)
    assert torch.allclose(found[kept], image[kept], atol=1e-12)
    assert left < 1e-20
    assert withheld(weight, bias) == pytest.approx((~kept).double().mean().item())
    assert withheld(bias[:, None] * image * (image > 0.5), bias) == 0.0  # values that are 0 themselves
    plain = bias @ weight / bias.square().sum()  # least squares over all rows, zeros included
    assert (plain - image).abs().max() > 0.1


def test_a_noisy_update_is_read_approximately_and_says_so() -> None:
    observation, pixels, _ = photos(MLP, 2, 1)
    noise = torch.Generator().manual_seed(0)
    noisy = {
        name: tensor + 0.05 * tensor.std() * torch.randn(tensor.shape, generator=noise)
        for name, tensor in observation.gradients.items()
    }
    done = run(replace(observation, gradients=noisy))
    assert done.status == ("read approximately: the result is not on the grid of 8-bit values",) * 2
    error = np.abs(done.images[:, 0].astype(float) - pixels).mean(axis=(1, 2, 3, 4))
    # least squares over 64 rows: far closer than one row, whose noise is .05 of the spread over its own db
    assert error.max() < 10
    assert error.min() > 0.1


def test_least_squares_by_hand() -> None:
    # rows 2·x + (0, .1) and 1·x: x = (2·(2, 4.1) + 1·(1, 2)) / 5 = (1, 2.04)
    weight = torch.tensor([[2.0, 4.1], [1.0, 2.0]], dtype=torch.float64)
    found, left = combine(weight, torch.tensor([2.0, 1.0], dtype=torch.float64))
    assert found.tolist() == pytest.approx([1.0, 2.04])
    # residuals (0, .02) and (0, −.04): .0004 + .0016 over 4 + 16.81 + 1 + 4
    assert left == pytest.approx(0.002 / 25.81)


def test_the_choice_prefers_certain_images_then_agreement_then_the_hull() -> None:
    grid = torch.tensor([[0.0, 51.0, 102.0, 255.0]]).double() / 255
    off = torch.tensor([[0.1111, 0.2239, 0.3315, 0.4473], [0.9011, 0.1023, 0.8013, 0.0541]]).double()
    between = (off[:1] + off[1:]) / 2
    outside = off[:1] * 5
    images = torch.cat([outside, between, off, grid])
    energy = torch.tensor([9.0, 8.0, 1.0, 2.0, 0.5]).double()
    rows = torch.tensor([1, 1, 3, 1, 1])
    found = choose(Candidates(images, energy, rows), 3, 40.0)
    # the weak image on the grid, then the one with three rows, then the corner of the hull rather than the middle
    assert torch.equal(found.images, images[[4, 2, 3]])
    assert found.exact == 1
    assert found.status == "1 of 3 images read exactly; the others are mixtures"
    assert found.loss == pytest.approx(1 - 3.5 / 40)
    everything = choose(Candidates(images, energy, rows), 6, 40.0)
    assert torch.equal(everything.images[3:5], images[[1, 0]])  # the middle, and last what lies outside of the box
    assert torch.equal(everything.images[5], torch.full((4,), 0.5).double())  # there is no sixth: grey


def test_only_originals_lie_on_the_8_bit_grid() -> None:
    source = np.random.default_rng(0)
    eight = torch.from_numpy(source.integers(0, 256, (2, 300))).double() / 255
    mixture = 0.3 * eight[:1] + 0.7 * eight[1:]
    flat = torch.full_like(mixture, 51 / 255)
    distances = off_grid(torch.cat([eight, mixture, eight[:1] - 0.02, flat]))
    assert distances[:2].max() < 1e-9
    assert distances[2] == pytest.approx(0.25, abs=0.02)  # |u − round(u)| of a uniform u has the mean 1/4
    assert distances[3:].isinf().all()  # out of the box, and flat: that is no evidence


def test_updates_that_cannot_be_read_say_so_and_harm_no_other() -> None:
    observation, pixels, _ = photos(MLP, 4, 1)
    broken = {name: tensor.clone() for name, tensor in observation.gradients.items()}
    broken["body.0.weight"][1, 3, 4] = torch.nan
    broken["body.0.weight"][2] = broken["body.0.bias"][2] = 0.0
    done = run(replace(observation, gradients=broken))
    assert done.status[1] == "nothing to read: the first layer's gradient is not finite"
    assert done.status[2] == "nothing to read: the first layer's gradient is zero"
    assert np.array_equal(done.images[[0, 3], 0], pixels[[0, 3]])
    assert (done.images[1:3] == 128).all()
    assert np.isnan(done.losses[1:3]).all()


def test_labels_that_cannot_be_read_are_named_and_the_image_is_read_all_the_same() -> None:
    observation, pixels, labels = photos(MLP, 2, 1, ThreatModel(labels="inferred"))
    broken = {name: tensor.clone() for name, tensor in observation.gradients.items()}
    broken["head.weight"][1] = broken["head.bias"][1] = 0.0
    done = run(replace(observation, gradients=broken))
    assert done.status == ("ok", "ok; labels not readable: the last layer's gradient is zero")
    assert np.array_equal(done.images[:, 0], pixels)
    assert done.labels[0, 0].tolist() == labels[0].tolist()


@pytest.mark.parametrize(("spec", "what"), [(LENET, "Conv2d"), (CONVNET, "Conv2d")])
def test_another_first_layer_is_refused_in_a_sentence(make, spec: ModelSpec, what: str) -> None:  # type: ignore[no-untyped-def]
    observation, _, _ = make(spec)
    with pytest.raises(UserError, match=f"first layer .* is a {what}; choose the model mlp"):
        run(observation)


def test_a_first_layer_without_a_bias_is_refused(make, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    observation, _, _ = make(MLP)
    model = build_model(MLP)
    model.body[0].register_parameter("bias", None)
    monkeypatch.setattr("core.attacks.first_layer.build_model", lambda *_: model)
    with pytest.raises(UserError, match=r"first layer of this model \(body.0\) has none"):
        ANALYTIC.reconstruct(observation, ANALYTIC.config, seed=0)


def test_it_stops_when_asked_and_reports_one_step(make) -> None:  # type: ignore[no-untyped-def]
    observation, _, _ = make(MLP)
    listener = Listener()
    ANALYTIC.reconstruct(observation, ANALYTIC.config, seed=0, progress=listener)
    assert [(done, total) for done, total, _ in listener.steps] == [(1, 1)]
    with pytest.raises(AttackCancelled):
        ANALYTIC.reconstruct(observation, ANALYTIC.config, seed=0, progress=Listener(stop=0))


def test_it_is_registered_without_a_prior_control() -> None:
    assert ATTACKS["analytic"] is ANALYTIC
    assert ANALYTIC.controls == ("mismatched",)
    assert not hasattr(ANALYTIC.config, "matching")

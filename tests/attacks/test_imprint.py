"""The imprint attack: what is alone in its bin comes back exactly; what is not, is not called so."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import scipy.stats
import torch

from core.attacks import ATTACKS
from core.attacks.bins import choose, differences
from core.attacks.imprint import IMPRINT, ImprintConfig, prepare
from core.errors import UserError
from core.images.picture import Prepared
from core.jobs.compose import AttackRequest
from core.jobs.events import Event
from core.jobs.outlook import outlook
from core.jobs.payloads import AttackJob
from core.jobs.shards import plan_shards, run_shard
from core.leakage.observation import Observation
from core.leakage.threat import ThreatModel
from core.leakage.victim import observe
from core.models.build import build_model
from core.models.catalogue import CATALOGUE, check_spec
from core.models.imprint import BELOW_ALL, thresholds
from core.models.spec import ModelSpec
from tests.attacks.conftest import CONVNET, LENET
from tests.filled_store import photographs

MEAN, STD = (0.4, 0.5, 0.6), (0.3, 0.2, 0.25)
MLP = ModelSpec("mlp", 10, height=8, width=8, mean=MEAN, std=STD, arguments={"hidden": [16]})


def attacked(  # type: ignore[no-untyped-def]
    spec: ModelSpec, pixels: np.ndarray, threat: ThreatModel | None = None, **settings: object
):
    """Prepare, observe, reconstruct from bytes. pixels (N, B, H, W, C) uint8."""
    config = replace(IMPRINT.config, **settings)
    sent, weights = prepare(spec, build_model(spec).state_dict(), config, 0)
    images = torch.from_numpy(pixels).movedim(-1, 2).float() / 255
    labels = torch.arange(pixels.shape[0] * pixels.shape[1]).reshape(pixels.shape[:2]) % spec.num_classes
    threat = threat or ThreatModel(batch_size=pixels.shape[1])
    observation, _ = observe(build_model(sent, weights), sent, images, labels, threat)
    return IMPRINT.reconstruct(Observation.from_bytes(observation.to_bytes()), config, seed=0)


def pictures(batch: int, size: int, updates: int = 1) -> np.ndarray:
    """(N, B, H, W, 3) crops of photographs."""
    return np.stack(photographs(updates * batch, size)).reshape(updates, batch, size, size, 3)


def alone(pixels: np.ndarray, config: ImprintConfig) -> list[np.ndarray]:
    """The images (B, H, W, C) that share their bin with no other."""
    edges = thresholds(config.bins, config.centre, config.spread)
    places = np.searchsorted(edges, pixels.reshape(len(pixels), -1).mean(1) / 255)
    return [image for image, place in zip(pixels, places, strict=True) if (places == place).sum() == 1]


def test_thresholds_are_the_quantiles_of_a_normal_cut_to_what_images_can_be() -> None:
    edges = thresholds(100, 0.45, 0.15)
    cut = scipy.stats.truncnorm((0 - 0.45) / 0.15, (1 - 0.45) / 0.15, 0.45, 0.15)
    assert edges[0] == BELOW_ALL < 0
    assert np.allclose(edges[1:], cut.ppf(np.arange(1, 100) / 100), atol=1e-9)


def test_the_planted_layer_compares_the_brightness_with_each_threshold() -> None:
    sent, weights = prepare(MLP, build_model(MLP).state_dict(), ImprintConfig(bins=8), 3)
    model = build_model(sent, weights)
    image = torch.rand(5, 3, 8, 8)
    column = [torch.tensor(values)[:, None, None] for values in (MEAN, STD)]
    fired = model.bins(((image - column[0]) / column[1]).flatten(1))
    bright = image.mean((1, 2, 3))[:, None]
    assert torch.allclose(fired, bright - torch.tensor(thresholds(8, 0.45, 0.15)), atol=1e-6)
    assert bool((model.back.weight == model.back.weight[:, :1]).all())
    assert len({sent.weights_sha256, MLP.weights_sha256}) == 2


def test_differences_by_hand() -> None:
    # images a = 2 in bin 1, b = 5 in bin 3: units 1, 2, 3 hear a+b, b, b; the differences are a, 0, b
    assert differences(torch.tensor([7.0, 5.0, 5.0])).tolist() == [2.0, 0.0, 5.0]


@pytest.mark.parametrize("spec", [MLP, replace(LENET, num_classes=10), replace(CONVNET, num_classes=10)])
def test_every_image_alone_in_its_bin_is_exact_to_8_bits(spec: ModelSpec) -> None:
    pixels = pictures(8, spec.height, updates=2)
    done = attacked(spec, pixels, bins=512)
    for n in range(2):
        lonely = alone(pixels[n], replace(IMPRINT.config, bins=512))
        assert len(lonely) >= 5
        found = {image.tobytes() for image in done.images[n, 0]}
        assert all(image.tobytes() in found for image in lonely)
        exact = 8 if done.status[n] == "ok" else int(done.status[n].split()[0])
        assert exact == len(lonely)


def test_a_batch_of_128() -> None:
    pixels = pictures(128, 8)
    config = replace(IMPRINT.config, bins=1024)
    done = attacked(MLP, pixels, bins=1024)
    lonely = alone(pixels[0], config)
    assert len(lonely) > 50
    found = {image.tobytes() for image in done.images[0, 0]}
    assert sum(image.tobytes() in found for image in lonely) == len(lonely)
    assert done.status[0].startswith(f"{len(lonely)} of 128 images read exactly")


def test_batchnorm_in_train_mode_changes_nothing() -> None:
    pixels = pictures(4, 32)
    done = attacked(CONVNET, pixels, ThreatModel(batch_size=4, batchnorm="train"))
    found = {image.tobytes() for image in done.images[0, 0]}
    assert all(image.tobytes() in found for image in alone(pixels[0], IMPRINT.config))


@pytest.mark.parametrize(
    "threat",
    [
        ThreatModel(batch_size=8, clients=4),
        # one local step is one gradient, but for the rounding of the weights, which a larger step outweighs
        ThreatModel(batch_size=8, update="weights", local_batch=8, local_lr=10.0),
        ThreatModel(batch_size=8, update="weights", clients=4, local_batch=2, local_lr=1.0),
    ],
)
def test_averaging_over_clients_hides_no_image(threat: ThreatModel) -> None:
    pixels = pictures(8, 8)
    done = attacked(MLP, pixels, threat, bins=512)
    found = {image.tobytes() for image in done.images[0, 0]}
    lonely = alone(pixels[0], replace(IMPRINT.config, bins=512))
    assert len(lonely) >= 5
    assert all(image.tobytes() in found for image in lonely)


def test_many_local_steps_blur_the_bins_and_nothing_is_called_exact_that_is_not() -> None:
    pixels = pictures(8, 8, updates=2)
    done = attacked(MLP, pixels, ThreatModel(batch_size=8, update="weights", local_epochs=3, local_lr=1.0), bins=512)
    for n in range(2):
        found = {image.tobytes() for image in done.images[n, 0]}
        exact = sum(image.tobytes() in found for image in pixels[n])
        assert done.status[n].startswith(f"{exact} of 8 images read exactly")
        assert exact < 8


def test_an_image_that_fills_two_bins_is_taken_once() -> None:
    image = torch.tensor([[0.0, 51.0, 102.0]]).double() / 255
    energy = torch.tensor([2.0, 1.0]).double()
    found = choose(torch.cat([image, image + 1e-6]), energy, torch.tensor([True, True]), 2)
    assert found.exact == 1
    assert torch.equal(found.images[1], torch.full((3,), 0.5).double())


def test_images_of_one_bin_come_back_mixed_and_the_missing_one_is_grey() -> None:
    pixels = pictures(3, 8)
    pixels[0, 1] = pixels[0, 0, ::-1]  # the same brightness, upside down
    done = attacked(MLP, pixels)
    assert done.status == ("1 of 3 images read exactly; the others shared a bin",)
    assert np.array_equal(done.images[0, 0, 0], pixels[0, 2])
    assert (done.images[0, 0, 2] == 128).all()
    mixed = done.images[0, 0, 1].astype(float)
    assert not any(np.array_equal(mixed, own) for own in pixels[0])
    assert np.abs(mixed - pixels[0, :2].mean(0)).mean() < np.abs(mixed - pixels[0, 2]).mean()


def test_no_data_of_the_client_is_used_and_the_seed_draws_the_pattern_alone() -> None:
    weights = build_model(MLP).state_dict()
    one, other = (prepare(MLP, weights, IMPRINT.config, seed)[1] for seed in (0, 1))
    again = prepare(MLP, weights, IMPRINT.config, 0)[1]
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert [name for name in one if not torch.equal(one[name], other[name])] == ["back.weight"]
    assert all(torch.equal(one[f"inner.{name}"], tensor) for name, tensor in weights.items())


def test_updates_that_cannot_be_read_harm_no_other() -> None:
    pixels = pictures(1, 8, updates=3)
    config = IMPRINT.config
    sent, weights = prepare(MLP, build_model(MLP).state_dict(), config, 0)
    images = torch.from_numpy(pixels).movedim(-1, 2).float() / 255
    labels = torch.zeros(3, 1, dtype=torch.int64)
    observation, _ = observe(build_model(sent, weights), sent, images, labels, ThreatModel())
    broken = {name: tensor.clone() for name, tensor in observation.gradients.items()}
    broken["bins.bias"][0, 2] = torch.inf
    broken["bins.weight"][1] = broken["bins.bias"][1] = 0.0
    done = IMPRINT.reconstruct(replace(observation, gradients=broken), config, seed=0)
    reason = "nothing to read: the first layer's gradient is"
    assert done.status == (f"{reason} not finite", f"{reason} zero", "ok")
    assert np.array_equal(done.images[2, 0], pixels[2])


def test_a_model_that_was_not_prepared_is_refused(make) -> None:  # type: ignore[no-untyped-def]
    observation, _, _ = make(MLP)
    with pytest.raises(UserError, match="a model without one"):
        IMPRINT.reconstruct(observation, IMPRINT.config, seed=0)


def test_the_choice_among_bins() -> None:
    grid = torch.tensor([[0.0, 51.0, 102.0]]).double() / 255
    free = torch.tensor([[0.112, 0.2239, 0.3315]]).double()
    images, energy = torch.cat([free, free + 0.1, grid]), torch.tensor([9.0, 1.0, 0.1]).double()
    # the weak image on the grid, then the one that is as bright as its bin, though another is stronger
    found = choose(images, energy, torch.tensor([False, True, True]), 2)
    assert torch.equal(found.images, images[[2, 1]])
    assert (found.exact, found.status) == (1, "1 of 2 images read exactly; the others shared a bin")
    assert found.loss == pytest.approx(9.0 / 10.1)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"inner": "mlp", "inner_arguments": {}, "bins": 1},
        {"inner": "mlp", "inner_arguments": {}, "bins": 5000},
        {"inner": "imprint", "inner_arguments": {}, "bins": 8},
        {"inner": "mlp", "inner_arguments": 3, "bins": 8},
        {"inner": "mlp", "inner_arguments": {}, "bins": 8, "more": 1},
    ],
)
def test_nobody_chooses_an_imprint_by_hand(arguments: dict[str, object]) -> None:
    assert "imprint" not in CATALOGUE
    with pytest.raises(UserError, match="made by the attack of this name"):
        check_spec(ModelSpec("imprint", 10, arguments=arguments))


def test_an_imprint_is_checked_like_the_model_within_and_needs_its_weights() -> None:
    spec = ModelSpec("imprint", 10, arguments={"inner": "lent", "inner_arguments": {}, "bins": 8})
    with pytest.raises(UserError, match="lenet"):
        check_spec(spec)
    with pytest.raises(UserError, match="needs its weights"):
        build_model(replace(spec, arguments={**spec.arguments, "inner": "lenet"}))


@pytest.fixture(scope="module")
def shards() -> list[list[Event]]:
    """An imprint job of 2 updates of 4 photographs through the workers' code: the attack and its controls."""
    pixels = photographs(8, 16)
    spec = replace(MLP, height=16, width=16)
    payload = AttackJob(
        model=spec,
        originals=tuple(range(8)),
        original_hashes=tuple(f"{place:064d}" for place in range(8)),
        attack="imprint",
        config=asdict(IMPRINT.config),
        threat=ThreatModel(batch_size=4),
        controls=2,
        device="cpu",
    )
    events: list[list[Event]] = []
    for shard in plan_shards(payload, pixels, list(range(8)), None, threads=1):
        events.append([])
        run_shard(shard.to_bytes(), events[-1].append, lambda: False)
    return events


def test_a_job_prepares_the_model_before_the_victims_step(shards: list[list[Event]]) -> None:
    last = shards[0][-1]
    assert last.kind == "reconstructions"
    assert last.values["record"]["server sent"] == "a changed model: 256 bins in front of mlp"
    pixels = np.stack(photographs(8, 16)).reshape(2, 4, 16, 16, 3)
    for n in range(2):
        found = {image.tobytes() for image in last.arrays["images"][n, 0]}
        lonely = alone(pixels[n], IMPRINT.config)
        assert len(lonely) >= 2
        assert all(image.tobytes() in found for image in lonely)


def test_the_mismatched_control_shows_the_other_update(shards: list[list[Event]]) -> None:
    last = shards[1][-1]
    pixels = np.stack(photographs(8, 16)).reshape(2, 4, 16, 16, 3)
    found = {image.tobytes() for image in last.arrays["images"][0, 0]}
    assert all(image.tobytes() in found for image in alone(pixels[1], IMPRINT.config))


def test_the_update_is_not_called_too_small_for_the_layer_that_makes_it_large() -> None:
    spec = replace(LENET, num_classes=10)
    images = tuple(Prepared(str(n), image, image, 0, "drawn", "") for n, image in enumerate(photographs(64, 8)))
    request = AttackRequest(spec, "lenet", None, "photos", images, "imprint", threat=ThreatModel(batch_size=64))
    assert not any("many other images" in sentence for sentence in outlook(request))
    assert any("many other images" in sentence for sentence in outlook(replace(request, attack="dlg")))


def test_it_is_registered_as_what_it_is() -> None:
    assert ATTACKS["imprint"] is IMPRINT
    assert IMPRINT.family == "malicious server"
    assert (IMPRINT.controls, IMPRINT.max_batch) == (("mismatched",), 128)

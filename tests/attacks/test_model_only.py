"""MI-Face and DeepInversion: against plain loops of one picture, and on trained presets, judged by another model."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.attacks import ATTACKS, configure
from core.attacks.base import AttackCancelled, Reconstructions
from core.attacks.deep_inversion_search import DeepInversion, neighbour_norms
from core.attacks.mi_face_search import MiFace
from core.errors import UserError
from core.leakage.controls import mismatched, prior_alone
from core.leakage.observation import Observation
from core.leakage.threat import ThreatModel
from core.leakage.victim import normalise, observe_nothing
from core.models.build import build_model, load_weights
from core.models.presets import PRESETS, preset_weights
from core.models.spec import ModelSpec
from tests.attacks.conftest import CONVNET, LENET, Listener

SMALL = replace(CONVNET, height=12, width=12, arguments={"base": 2})


def alone(spec: ModelSpec, labels: list[list[int]], model: nn.Module | None = None, **grants: object) -> Observation:
    """The model and the classes that are wanted of it (N, B)."""
    threat = ThreatModel(batch_size=len(labels[0]), update="none", **grants)  # type: ignore[arg-type]
    return observe_nothing(model or _trained_a_little(spec), spec, torch.tensor(labels), threat)


def _trained_a_little(spec: ModelSpec) -> nn.Module:
    """With running statistics that are not those of a fresh model."""
    model = build_model(spec).train()
    with torch.no_grad():
        for seed in range(3):
            noise = torch.randn(
                8, spec.channels, spec.height, spec.width, generator=torch.Generator().manual_seed(seed)
            )
            model(0.5 * noise + 0.3)
    return model.eval()


@cache
def preset(name: str) -> nn.Module:
    return build_model(PRESETS[name], load_weights(preset_weights(name) or b"")).eval()


def confidence(name: str, images: np.ndarray, label: int) -> Tensor:
    """How sure a preset is of `label` in each of (n, H, W, C) uint8."""
    with torch.no_grad():
        pictures = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
        return preset(name)(normalise(pictures, PRESETS[name])).softmax(1)[:, label]


def run(name: str, observation: Observation, settings: dict[str, object], **more: object) -> Reconstructions:
    return ATTACKS[name].reconstruct(observation, configure(name, settings), seed=3, **more)


# --- MI-Face -------------------------------------------------------------------------------------------------
def plain_mi_face(model: nn.Module, spec: ModelSpec, label: int, steps: int, total_variation: float = 0.0) -> Tensor:
    """Algorithm 1 of the paper without its Process step, clamped to pixels: the picture of least cost."""
    x = torch.full((1, spec.channels, spec.height, spec.width), 0.5)
    best, least = x, float("inf")
    for _ in range(steps):
        x = x.detach().requires_grad_(True)
        cost = 1 - F.softmax(model(normalise(x, spec)), dim=1)[0, label]
        cost = cost + total_variation * (
            (x[..., 1:] - x[..., :-1]).abs().mean() + (x[..., 1:, :] - x[..., :-1, :]).abs().mean()
        )
        if float(cost.detach()) < least:
            best, least = x.detach(), float(cost.detach())
        x = (x - 0.1 * torch.autograd.grad(cost, x)[0]).clamp(0, 1)
    return best[0]


def test_mi_face_takes_the_steps_of_the_plain_loop() -> None:
    model = preset("lenet-faces")
    observation = alone(PRESETS["lenet-faces"], [[0], [1]], model)
    config = configure("mi-face", {"steps": 60, "total_variation": 0.05})
    search = MiFace(observation, config, 0)
    search.begin(torch.zeros(2, *search.bench.shape))
    for step in range(60):
        search.step(step)
    for label in (0, 1):
        wanted = plain_mi_face(model, PRESETS["lenet-faces"], label, 60, 0.05)
        assert float((wanted - 0.5).abs().max()) > 0.02  # it went somewhere
        assert torch.allclose(search.unit_images()[label, 0], wanted, atol=1e-5)


def test_mi_face_reaches_its_class_and_another_model_sees_it_too() -> None:
    """The easy case: the class's picture convinces ConvNet, which had no part in it, more than the prior's does."""
    observation = alone(PRESETS["lenet-faces"], [[1], [0]], preset("lenet-faces"))
    found = run("mi-face", observation, {})
    assert found.status == ("ok", "ok")
    start = np.full((1, 32, 32, 3), 128, dtype=np.uint8)
    control = ATTACKS["mi-face"].reconstruct(observation, prior_alone(configure("mi-face", {})), seed=3)
    assert np.array_equal(control.images[0, 0], start)
    assert control.status[0] == "ok"
    for n, label in enumerate((1, 0)):
        assert float(confidence("lenet-faces", found.images[n, 0], label)) >= 0.9895  # .99 before rounding to 8 bits
        assert float(found.losses[n, 0]) == pytest.approx(
            1 - float(confidence("lenet-faces", found.images[n, 0], label)), abs=1e-5
        )
    before, after = (float(confidence("convnet-faces", one, 1)) for one in (start, found.images[0, 0]))
    assert before < 0.1
    assert after > 2 * before


def test_on_softmax_regression_the_picture_is_of_its_class() -> None:
    """Linear model of class means: the picture is nearer to its class's mean than the start is, in every class."""
    spec = ModelSpec("mlp", 3, height=6, width=6, arguments={"hidden": [16], "activation": "tanh"})
    source = np.random.default_rng(0)
    means = torch.from_numpy(source.random((3, 3, 6, 6))).float()
    model = build_model(spec)
    labels = torch.arange(3).repeat(30)
    data = (means[labels] + 0.1 * torch.from_numpy(source.standard_normal((90, 3, 6, 6))).float()).clamp(0, 1)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(150):
        optimiser.zero_grad()
        F.cross_entropy(model(normalise(data, spec)), labels).backward()
        optimiser.step()
    found = run("mi-face", alone(spec, [[0], [1], [2]], model), {})
    for n in range(3):
        picture = torch.from_numpy(found.images[n, 0, 0]).permute(2, 0, 1).float() / 255
        assert float((picture - means[n]).norm()) < float((0.5 - means[n]).norm())
        distances = [float((picture - mean).norm()) for mean in means]
        assert int(np.argmin(distances)) == n


def test_a_picture_without_gain_stops_and_says_so() -> None:
    observation = alone(LENET, [[0]])
    found = run("mi-face", observation, {"lr": 1e-6, "confidence": 1.0, "patience": 7, "steps": 400})
    assert found.iterations[0, 0] < 400
    assert found.status[0].startswith("stalled: no gain in 7 steps, confidence 0.")
    short = run("mi-face", observation, {"confidence": 1.0, "steps": 5})
    assert short.iterations[0, 0] == 5
    assert short.status[0].startswith("all steps used: confidence 0.")


def test_the_log_cost_moves_where_the_confidence_does_not() -> None:
    """A class that the model takes for impossible: 1 − confidence is flat in float32, −log confidence is not."""
    model = build_model(LENET)
    with torch.no_grad():
        model.get_parameter(list(dict(model.named_parameters()))[-1])[:] = torch.tensor([0.0, 0.0, 0.0, -150.0])
    observation = alone(LENET, [[3]], model)
    flat = run("mi-face", observation, {"steps": 150})
    assert flat.status[0].startswith("stalled")
    assert int(flat.images.max()) == int(flat.images.min()) == 128
    moved = run("mi-face", observation, {"steps": 150, "cost": "log"})
    assert int(moved.images.max()) > int(moved.images.min())


def test_further_restarts_start_elsewhere_and_the_lowest_loss_is_kept() -> None:
    found = run("mi-face", alone(LENET, [[2]]), {"restarts": 3, "steps": 3})
    assert len({found.images[0, r].tobytes() for r in range(3)}) == 3
    assert found.chosen[0] == found.losses[0].argmin()


# --- DeepInversion -------------------------------------------------------------------------------------------
def plain_terms(model: nn.Module, images: Tensor, labels: list[int]) -> dict[str, Tensor]:
    """The terms of the paper for the pictures (B, C, H, W) of one problem, by hooks and loops."""
    seen: list[tuple[nn.Module, Tensor]] = []
    layers = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    hooks = [layer.register_forward_pre_hook(lambda layer, given: seen.append((layer, given[0]))) for layer in layers]
    logits = model(images)
    for hook in hooks:
        hook.remove()
    distances = []
    for layer, x in seen:
        rows = x.transpose(0, 1).reshape(x.shape[1], -1)
        mean, variance = rows.sum(1) / rows.shape[1], ((rows - rows.mean(1, keepdim=True)) ** 2).mean(1)
        distances.append(
            ((mean - layer.running_mean) ** 2).sum().sqrt() + ((variance - layer.running_var) ** 2).sum().sqrt()
        )
    h, w = images.shape[-2:]
    tv = images.new_zeros(())
    for down, across in ((0, 1), (1, 0), (1, 1), (1, -1)):
        a = images[..., down:, max(0, across) : w + min(0, across)]
        b = images[..., : h - down, max(0, -across) : w - max(0, across)]
        tv = tv + ((a - b) ** 2).sum().sqrt()
    return {
        "class": F.cross_entropy(logits, torch.tensor(labels)),
        "statistics": torch.stack(distances),
        "tv": tv,
        "l2": images.square().sum().sqrt(),
    }


@pytest.mark.parametrize(("companions", "whole"), [(0, [[0, 1, 1], [2, 3, 0]]), (2, [[3, 0, 1], [1, 2, 3]])])
def test_deep_inversion_s_objective_and_gradient_are_those_of_the_paper(
    companions: int, whole: list[list[int]]
) -> None:
    """Companions are of the classes that follow the target's in turn."""
    model = build_model(SMALL, _trained_a_little(SMALL).state_dict()).double()
    labels = [row[: 3 - companions] for row in whole]
    settings = {
        "companions": companions,
        "matching": 2,
        "batchnorm": 3,
        "first_layer": 10,
        "total_variation": 0.5,
        "l2": 0.25,
    }
    search = DeepInversion(alone(SMALL, labels, model), configure("deep-inversion", settings), 0)
    search.bench.model.double()
    images = torch.randn(2, 3, 3, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    images.requires_grad_(True)
    ours = search.objective(images, torch.arange(2))
    gradient = torch.autograd.grad(ours.sum(), images)[0]
    for n in range(2):
        own = images[n].detach().requires_grad_(True)
        terms = plain_terms(model, own, whole[n])
        distances = terms["statistics"]
        cost = 2 * terms["class"] + 3 * (distances.sum() + 9 * distances[0]) + 0.5 * terms["tv"] + 0.25 * terms["l2"]
        assert float(ours[n].detach()) == pytest.approx(float(cost.detach()), rel=1e-9)
        assert torch.allclose(gradient[n], torch.autograd.grad(cost, own)[0], rtol=1e-7, atol=1e-12)


def test_flat_pictures_have_a_finite_gradient() -> None:
    flat = torch.zeros(1, 1, 3, 4, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(neighbour_norms(flat).sum(), flat)
    assert bool(gradient.isfinite().all())


def test_deep_inversion_s_steps_are_adam_s() -> None:
    """Shifted and mirrored by the step's own draw, against torch's Adam with a cosine schedule."""
    model, steps = _trained_a_little(SMALL), 12
    config = configure("deep-inversion", {"steps": steps, "flip": True, "batchnorm": 0.1, "companions": 0})
    search = DeepInversion(alone(SMALL, [[1, 2]], model), config, 5)
    start = torch.randn(1, *search.bench.shape, generator=torch.Generator().manual_seed(0))
    search.begin(start.clone())
    x = start[0].clone().requires_grad_(True)
    adam = torch.optim.Adam([x], lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    mean, std = (torch.tensor(values)[:, None, None] for values in (SMALL.mean, SMALL.std))
    mirrors = 0
    for step in range(steps):
        down, across, mirrored = search._jitter(step)
        mirrors += mirrored
        shown = torch.roll(x.flip(-1) if mirrored else x, (down, across), (-2, -1))
        terms = plain_terms(model, shown, [1, 2])
        cost = terms["class"] + 0.1 * terms["statistics"].sum() + 2.5e-5 * terms["tv"] + 1e-5 * terms["l2"]
        adam.zero_grad()
        cost.backward()
        search.step(step)
        assert float(search.losses[0]) == pytest.approx(float(cost.detach()), rel=1e-3)
        adam.step()
        schedule.step()
        with torch.no_grad():
            x.copy_(torch.maximum(torch.minimum(x, (1 - mean) / std), -mean / std))
    assert 0 < mirrors < steps
    assert float(((search.image[0] - x).abs() < 1e-2).float().mean()) > 0.98


def test_deep_inversion_matches_the_statistics_and_the_class() -> None:
    """The easy case: ConvNet for faces, two pictures made together."""
    spec, model = PRESETS["convnet-faces"], preset("convnet-faces")
    labels = [[1, 0]]
    observation = alone(spec, labels, model)
    settings = {"steps": 40, "companions": 0}
    found = run("deep-inversion", observation, settings)
    begun = run("deep-inversion", observation, settings | {"steps": 1, "lr": 1e-6})
    control = ATTACKS["deep-inversion"].reconstruct(
        observation, prior_alone(configure("deep-inversion", settings)), seed=3
    )

    def terms(images: np.ndarray) -> tuple[float, float]:
        with torch.no_grad():
            pictures = normalise(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255, spec)
            found = plain_terms(model, pictures, labels[0])
        return float(found["statistics"].sum()), float(found["class"])

    (far, _), (near, fits), (_, unasked) = (terms(one.images[0, 0]) for one in (begun, found, control))
    assert near < far / 2
    assert fits < unasked  # without its class term the same search has the priors alone
    assert found.status == ("ok",)
    assert found.iterations.tolist() == [[40]]


@pytest.mark.parametrize("name", ["mi-face", "deep-inversion"])
def test_the_mismatched_control_is_asked_for_another_class(name: str) -> None:
    observation = alone(SMALL, [[0], [1]])
    swapped = mismatched(observation.select([0]), observation.select([1]))
    settings = {"steps": 4}
    assert (
        run(name, swapped, settings).images.tobytes()
        == run(name, alone(SMALL, [[1]]), settings, targets=(0,)).images.tobytes()
    )


# --- both ----------------------------------------------------------------------------------------------------
SETTINGS = {
    "mi-face": {"steps": 12, "restarts": 2, "confidence": 1.0},
    "deep-inversion": {"steps": 12, "restarts": 2, "batchnorm": 0.1, "companions": 1},
}


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_same_seed_same_bytes_and_resume(name: str) -> None:
    observation = Observation.from_bytes(alone(SMALL, [[0, 1], [3, 3]]).to_bytes())
    straight = run(name, observation, SETTINGS[name])
    assert straight.images.shape == (2, 2, 2, 12, 12, 3)
    assert straight.labels[:, 1].tolist() == [[0, 1], [3, 3]]
    listener = Listener(every=5, stop=5)
    with pytest.raises(AttackCancelled):
        run(name, observation, SETTINGS[name], progress=listener)
    assert listener.frames[0][1].shape == (2, 2, 12, 12, 3)
    again = run(name, observation, SETTINGS[name], progress=Listener(resume=listener.checkpoints[-1][1]))
    assert again.images.tobytes() == straight.images.tobytes()
    assert again.losses.tobytes() == straight.losses.tobytes()
    assert again.iterations.tolist() == straight.iterations.tolist() == [[12, 12], [12, 12]]


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_a_target_is_the_same_in_another_shard(name: str) -> None:
    observation = alone(SMALL, [[0], [1], [2]])
    together = run(name, observation, SETTINGS[name])
    single = run(name, observation.select([2]), SETTINGS[name], targets=(2,))
    assert single.losses[0].tolist() == pytest.approx(together.losses[2].tolist(), rel=1e-4)
    off = np.abs(single.images[0].astype(int) - together.images[2].astype(int))
    assert (off <= 1).mean() > 0.99


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_a_target_that_is_not_finite_leaves_the_others(name: str) -> None:
    observation = alone(SMALL, [[0], [1]])
    kind = {"mi-face": MiFace, "deep-inversion": DeepInversion}[name]
    both = [kind(observation, configure(name, SETTINGS[name] | {"restarts": 1}), 0) for _ in range(2)]
    for search in both:
        search.begin(torch.randn(2, *search.shape, generator=torch.Generator().manual_seed(2)))
        for step in range(3):
            search.step(step)
    best = both[0].best[0].clone()
    both[0].image[0, ..., 0, 0] = torch.nan
    for step in range(3, 6):
        for search in both:
            search.step(step)
    assert both[0].status(0, 0.0) == "diverged: loss is not finite"
    assert not any(search.status(1, 0.0).startswith("diverged") for search in both)
    assert torch.equal(both[0].best[0], best)
    assert bool(both[0].unit_images().isfinite().all())
    assert torch.equal(both[0].unit_images()[1], both[1].unit_images()[1])
    assert both[0].unit_images().shape == (2, 1, 3, 12, 12)  # companions are not handed back
    assert both[0].steps_made().tolist()[1] == 6


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_running_statistics_that_are_denied_are_asked_for_in_one_sentence(name: str) -> None:
    denied = alone(SMALL, [[0]], batchnorm="train", running_statistics=False)
    with pytest.raises(UserError, match="this threat model denies them; grant them"):
        run(name, denied, SETTINGS[name])
    spared = alone(LENET, [[0]], batchnorm="train", running_statistics=False)  # no BatchNorm: nothing to deny
    assert run(name, spared, SETTINGS[name] | ({"batchnorm": 0} if name == "deep-inversion" else {})).status


def test_without_batchnorm_its_prior_must_be_off() -> None:
    with pytest.raises(UserError, match=r"this model has none; .* set batchnorm to 0"):
        run("deep-inversion", alone(LENET, [[0]]), {"steps": 2})
    assert run("deep-inversion", alone(LENET, [[0]]), {"steps": 2, "batchnorm": 0}).status == ("ok",)


def test_without_classes_there_is_nothing_to_make() -> None:
    with pytest.raises(UserError, match="needs the classes"):
        run("mi-face", replace(alone(LENET, [[0]]), labels=None), {})

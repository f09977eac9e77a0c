"""The adaptive attacker: at the true image its two sides agree, and it sees far more than one who is not told."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from core.attacks import ATTACKS, configure
from core.attacks.compiled import trace
from core.attacks.costs import squared_l2
from core.attacks.engine import one_hot, set_up
from core.images.load import load_images
from core.leakage.defences import DEFENCES, configure_defence
from core.leakage.defences.adapt import adapted
from core.leakage.defences.base import Match
from core.leakage.observation import Observation
from core.leakage.threat import ChosenDefence, ThreatModel
from core.leakage.victim import normalise, observe
from core.models.build import build_model
from core.models.spec import ModelSpec

SPEC = ModelSpec("lenet", 4, height=16, width=16)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def faces(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(N, 3, H, W) in [0, 1] and labels (N,)."""
    prepared = load_images("lfw", spec=SPEC, limit=count)
    pixels = torch.from_numpy(np.stack([image.original for image in prepared])).permute(0, 3, 1, 2)
    return pixels.float() / 255, torch.arange(count) % 4


def shared(threat: ThreatModel, updates: int = 1) -> tuple[Observation, torch.Tensor, torch.Tensor]:
    """The observation of updates of faces, their images (N, B, C, H, W) and labels (N, B)."""
    images, labels = faces(updates * threat.batch_size)
    images, labels = images.unflatten(0, (updates, -1)), labels.reshape(updates, -1)
    return observe(build_model(SPEC), SPEC, images, labels, threat)[0], images, labels


def mismatch(threat: ThreatModel) -> float:
    """Σ (ours − observed)² / Σ observed² at the true images."""
    observation, images, labels = shared(threat)
    problems = set_up(observation, 1)
    probabilities = one_hot(labels, 4, images)
    cost = problems.matching(squared_l2, normalise(images, SPEC), probabilities, torch.arange(1))
    return float(cost.detach() / sum(g.square().sum() for g in observation.gradients.values()))


def chosen(*pairs: tuple[str, dict[str, object]]) -> tuple[ChosenDefence, ...]:
    return tuple(ChosenDefence(name, settings) for name, settings in pairs)


@pytest.mark.parametrize(
    ("defences", "size"),
    [
        (chosen(("clip", {"norm": 0.1})), 1),
        (chosen(("dp-sgd", {"clip": 0.1, "noise": 0})), 1),
        (chosen(("top-k", {"share": 0.1})), 2),
        (chosen(("top-k", {"share": 0.1, "scope": "global"})), 2),
        (chosen(("prune", {"share": 0.9})), 2),
        (chosen(("prune", {"share": 0.9}), ("gaussian", {"std": 0})), 2),  # zeros hidden: pruned by the attacker
        (chosen(("soteria", {"share": 0.8})), 1),
        (chosen(("soteria", {"share": 0.8}), ("gaussian", {"std": 0})), 1),
        (chosen(("label-smoothing", {"share": 0.5})), 3),
        (chosen(("mixup", {"weight": 0.6})), 3),
        (chosen(("label-smoothing", {"share": 0.3}), ("prune", {"share": 0.8}), ("clip", {"norm": 0.05})), 2),
    ],
    ids=lambda value: "+".join(one.name for one in value) if isinstance(value, tuple) else str(value),
)
def test_at_the_true_images_the_adapted_match_is_perfect(defences: tuple[ChosenDefence, ...], size: int) -> None:
    threat = ThreatModel(size, defences=defences)
    assert mismatch(threat) < 1e-9
    assert mismatch(replace(threat, adaptive=False)) > 1e-3


def test_signs_that_agree_cost_nearly_nothing() -> None:
    threat = ThreatModel(defences=chosen(("sign", {})))
    assert mismatch(threat) < 0.1  # entries within the margin of zero
    assert mismatch(replace(threat, adaptive=False)) > 0.3
    adapt = DEFENCES["sign"].adapt
    assert adapt is not None
    ours, observed = torch.tensor([[3.0, -2.0, 1.0, 2.0]]), torch.tensor([[1.0, -1.0, -1.0, 0.0]])
    (found,), _ = adapt([ours], [observed], configure_defence("sign", {}), Match(("a",), 4, True))
    # The mean magnitude is 2 and so the margin 0.004; what is shared has the size 3/4.
    torch.testing.assert_close(found, 0.75 * torch.tensor([[1.0, -1.0, 250.0, 0.0]]))


def test_without_defences_nothing_is_adapted() -> None:
    for defences in ((), chosen(("gaussian", {})), chosen(("quantise", {"bits": 4}))):
        assert adapted(shared(ThreatModel(defences=defences))[0]) is None
    assert set_up(shared(ThreatModel())[0], 1).adaptation is None


def test_where_pairs_are_not_known_mixup_takes_the_mean() -> None:
    threat = ThreatModel(3, labels="inferred", defences=chosen(("mixup", {"weight": 0.6})))
    adaptation = adapted(shared(threat)[0])
    assert adaptation is not None
    targets = torch.eye(4)[None, :3]
    found = adaptation.targets(targets)
    torch.testing.assert_close(found, 0.6 * targets + 0.4 * torch.tensor([1 / 3, 1 / 3, 1 / 3, 0.0]))
    torch.testing.assert_close(found.sum(1), targets.sum(1))


@pytest.mark.parametrize("name", ["clip", "prune", "top-k", "sign", "soteria"])
def test_the_adapted_match_has_the_right_derivative(name: str) -> None:
    """Central differences in float64, away from kinks; every problem for itself."""
    draw = torch.Generator().manual_seed(2)
    names, shapes = ("body.weight", "head.weight"), ((2, 3, 5), (2, 4, 6))
    ours = [torch.randn(shape, generator=draw, dtype=torch.float64) for shape in shapes]
    observed = [torch.randn(shape, generator=draw, dtype=torch.float64) for shape in shapes]
    observed = [o * (o.abs() > 0.5) for o in observed]
    adapt, config = DEFENCES[name].adapt, configure_defence(name, {})
    assert adapt is not None

    def cost(*tensors: torch.Tensor) -> torch.Tensor:
        return squared_l2(*adapt(list(tensors), observed, config, Match(names, 4, zeros_kept=name != "prune")))

    assert torch.autograd.gradcheck(cost, [g.requires_grad_(True) for g in ours])
    whole = cost(*ours)
    assert not torch.equal(whole, squared_l2(ours, observed))
    observed = [o[1:] for o in observed]
    torch.testing.assert_close(cost(*[g[1:] for g in ours]), whole[1:])


def median_psnr(defences: tuple[ChosenDefence, ...], adaptive: bool = True) -> float:
    observation, images, _ = shared(ThreatModel(defences=defences, adaptive=adaptive), updates=2)
    found = ATTACKS["dlg"].reconstruct(observation, configure("dlg", {"iterations": 120, "restarts": 1}), seed=0)
    rebuilt = torch.from_numpy(found.images[:, 0]).movedim(-1, -3) / 255
    return float(np.median(-10 * (rebuilt - images).square().flatten(1).mean(1).log10().numpy()))


def test_who_is_told_of_pruning_sees_far_more_and_strong_noise_hides() -> None:
    pruned = chosen(("prune", {"share": 0.7}))
    told, not_told = median_psnr(pruned), median_psnr(pruned, adaptive=False)
    plain, hidden = median_psnr(()), median_psnr(chosen(("gaussian", {"std": 3.0, "scale": "relative"})))
    assert told > not_told + 10
    assert plain > 25
    assert hidden < 12


@pytest.mark.parametrize(
    "defences",
    [
        chosen(("clip", {}), ("sign", {})),
        chosen(("top-k", {"scope": "global"}), ("quantise", {})),
        chosen(("prune", {}), ("gaussian", {})),
        chosen(("soteria", {}), ("top-k", {})),
        chosen(("mixup", {}), ("label-smoothing", {})),
    ],
    ids=lambda value: "+".join(one.name for one in value),
)
def test_the_adapted_match_can_be_recorded(defences: tuple[ChosenDefence, ...]) -> None:
    """Traced at one point and run at another, as the recorded steps on a GPU are."""
    observation, images, labels = shared(ThreatModel(2, defences=defences), updates=2)
    problems, probabilities = set_up(observation, 1), one_hot(labels, 4, images)

    def work(points: torch.Tensor, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        points = points.detach().requires_grad_(True)
        cost = problems.matching(squared_l2, points, probabilities[rows], rows)
        return cost.detach(), torch.autograd.grad(cost.sum(), points)[0]

    rows, draw = torch.arange(2), torch.Generator().manual_seed(0)
    module, held = trace(work, torch.randn(images.shape, generator=draw), rows)
    elsewhere = torch.randn(images.shape, generator=draw)
    for ours, right in zip(module(elsewhere, rows, *held), work(elsewhere, rows), strict=True):
        torch.testing.assert_close(ours, right)

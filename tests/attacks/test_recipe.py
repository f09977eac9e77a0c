"""The parts of the descent: distances, step sizes, noise, group consistency and ends, against independent forms."""

from dataclasses import fields
from itertools import product

import numpy as np
import pytest
import torch
from scipy import stats

from core.attacks import ATTACKS, recipe
from core.attacks.active import CONVERGED, RUNNING, Active
from core.attacks.consistency import consensus, pull, registered
from core.attacks.costs import COSTS
from core.attacks.engine import set_up
from core.attacks.recipe import Recipe
from core.attacks.schedules import Plateau, direction, drops, step_size
from core.attacks.starts import first_images, noise, noise_keys
from tests.attacks.conftest import LENET

OURS = [torch.tensor([[3.0, 0.0], [1.0, 2.0]]), torch.tensor([[4.0], [0.5]])]
OBSERVED = [torch.tensor([[3.0, 4.0], [-2.0, 1.0]]), torch.tensor([[-2.0], [0.0]])]


@pytest.mark.parametrize(
    ("cost", "expected"),
    [
        ("l2", [16 + 36, 9 + 1 + 0.25]),
        ("l2-layers", [4 + 6, 10**0.5 + 0.5]),
        ("l1", [4 + 6, 3 + 1 + 0.5]),
        ("l1-layers", [2 + 6, 2 + 0.5]),
        # layers of the first: 1 − 9/15 and 1 + 1; of the second (−2 + 2 = 0): 1, and the zero one does not count
        ("cosine-layers", [(0.4 + 2) / 2, 1.0]),
        # σ² of (3, 4) is 1/4 and of (−2, 1) is 9/4; one entry has none: its square, 4, or nothing to compare with
        ("sapag", [((1 - np.exp(-8 / 0.25)) + (1 - np.exp(-36 / 4))) / 2, 1 - np.exp(-5 / 2.25)]),
    ],
)
def test_distances_by_hand(cost: str, expected: list[float]) -> None:
    assert COSTS[cost](OURS, OBSERVED).tolist() == pytest.approx(expected)
    assert COSTS[cost](OBSERVED, OBSERVED).tolist() == pytest.approx([0.0, 0.0], abs=1e-6)


def test_the_masked_cosine_leaves_pruned_entries_out() -> None:
    ours, observed = [torch.tensor([[3.0, 100.0, 4.0]])], [torch.tensor([[3.0, 0.0, 4.0]])]
    assert COSTS["cosine-masked"](ours, observed).tolist() == pytest.approx([0.0], abs=1e-6)
    assert COSTS["cosine"](ours, observed).item() > 0.9


@pytest.mark.parametrize("cost", sorted(COSTS))
def test_every_distance_has_a_finite_derivative_at_a_perfect_match(cost: str) -> None:
    ours = [g.clone().requires_grad_(True) for g in OBSERVED]
    COSTS[cost](ours, [g.detach().clone() for g in OBSERVED]).sum().backward()
    assert all(bool(g.grad is not None and g.grad.isfinite().all()) for g in ours)


def test_the_knobs_offer_what_there_is() -> None:
    assert set(recipe.COSTS) == set(COSTS)
    for name in ("gradinversion", "gradinversion-paper", "huang-bn", "huang-bn-paper", "cpl-sapag", "modern"):
        config = ATTACKS[name].config
        unknown = {field.name for field in fields(config)} - {field.name for field in fields(Recipe)}
        assert unknown == set()  # a knob that the loop does not read would do nothing


def test_step_sizes_are_those_of_torch() -> None:
    weight = torch.zeros(1, requires_grad=True)
    for schedule in ("cosine", "steps"):
        asked = Recipe(steps=80, schedule=schedule)
        optimiser = torch.optim.SGD([weight], lr=0.1)
        theirs = (
            torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 80)
            if schedule == "cosine"
            else torch.optim.lr_scheduler.MultiStepLR(optimiser, [int(80 // d) for d in (2.667, 1.6, 1.142)])
        )
        for done in range(80):
            assert step_size(asked, done) * 0.1 ** drops(asked, done) == pytest.approx(theirs.get_last_lr()[0])
            optimiser.step()
            theirs.step()
    warm = Recipe(steps=80, schedule="cosine", warm_up=4)
    assert [step_size(warm, done) for done in range(5)] == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1])


def test_signs() -> None:
    gradient = torch.tensor([-3.0, 0.0, 0.5])
    assert direction(Recipe(sign="hard"), gradient, 3).tolist() == [-1, 0, 1]
    assert direction(Recipe(sign="none"), gradient, 3).tolist() == gradient.tolist()
    half = direction(Recipe(sign="soft", steps=10), gradient, 5)  # s = 1/2
    assert half.tolist() == pytest.approx([2 * np.tanh(-1.5), 0, 2 * np.tanh(0.25)])


def test_noise_is_normal_seeded_and_knows_no_shard() -> None:
    keys = noise_keys(5, [0, 1, 7], 2)
    assert len(set(keys.tolist())) == 6
    values = noise(keys, 3, (3, 40, 40))
    assert values.shape == (6, 3, 40, 40)
    assert stats.kstest(values.flatten().numpy(), "norm").pvalue > 1e-3
    flat = values.flatten(1)
    neighbours = torch.stack([flat[0], noise(keys, 4, (3, 40, 40)).flatten(1)[0], *flat[1:], flat[0].roll(1)])
    off = torch.corrcoef(neighbours) - torch.eye(len(neighbours))
    assert float(off.abs().max()) < 5 / 4800**0.5  # five standard errors of no correlation
    alone = noise(noise_keys(5, [7], 2), 3, (3, 40, 40))
    assert torch.equal(alone, values[4:])
    assert not torch.equal(noise(noise_keys(6, [7], 2), 3, (3, 40, 40)), alone)


def test_noise_is_what_the_published_generator_gives() -> None:
    """SplitMix64 in plain whole numbers, from its paper's constants."""

    def mix(word: int) -> int:
        word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        word = (word ^ (word >> 27)) * 0x94D049BB133111EB % 2**64
        return word ^ (word >> 31)

    key, step, size = 0xFEDCBA9876543210, 2, 4
    found = noise(torch.tensor([key - 2**64]), step, (size,))
    for place in range(size):
        bits = mix((mix(key) + (step * size + place + 1) * 0x9E3779B97F4A7C15) % 2**64)
        one, two = ((bits >> 40) + 0.5) / 2**24, ((bits >> 16) % 2**24) / 2**24
        assert float(found[0, place]) == pytest.approx((-2 * np.log(one)) ** 0.5 * np.cos(2 * np.pi * two), abs=2e-5)


def test_registration_is_the_best_of_all_moves() -> None:
    images = torch.rand(2, 3, 2, 3, 7, 6, generator=torch.Generator().manual_seed(0))
    target = torch.rand(2, 1, 2, 3, 7, 6, generator=torch.Generator().manual_seed(1))
    found = registered(images, target, 2)
    for n, r, b in product(range(2), range(3), range(2)):
        moves = [images[n, r, b].roll((dy, dx), (1, 2)) for dy in range(-2, 3) for dx in range(-2, 3)]
        nearest = min(moves, key=lambda moved: float((moved - target[n, 0, b]).square().sum()))
        assert torch.equal(found[n, r, b], nearest)
    assert torch.equal(registered(target.roll((1, -2), (-2, -1)), target, 2), target)


def test_the_pull_is_the_derivative_of_the_distance_to_the_consensus() -> None:
    images = torch.rand(1, 3, 2, 3, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    counted = torch.tensor([[True, True, False]])
    images[0, 2, 0, 0, 0, 0] = torch.nan  # a diverged one has no say
    mean = consensus(images, counted, 0)
    assert torch.allclose(mean[0, 0], images[0, :2].mean(0))
    free = images[:, :2].clone().requires_grad_(True)
    (free - mean).flatten(3).norm(dim=3).sum().backward()
    assert torch.allclose(pull(images, counted, 0)[:, :2], free.grad)
    same = images[:, :1].expand_as(images)
    assert float(pull(same, torch.ones_like(counted), 1).abs().max()) < 1e-3  # the rounding of a mean of three


def test_a_problem_that_stalls_is_slowed_three_times_and_then_done() -> None:
    asked = Recipe(steps=100, schedule="none", patience=5, gain=0.1)
    active, plateau = Active(2, torch.device("cpu")), Plateau(asked, 2, torch.device("cpu"))
    ended = None
    for done in range(60):
        losses = torch.tensor([1.0, 0.9**done])  # one that gains nothing, one that gains 41 % in five steps
        active.judge(losses[active.rows], torch.zeros(len(active.rows), 1))
        plateau.judge(active, done)
        if ended is None and active.codes[0] == CONVERGED:
            ended = done
    # marked at 5, cut at 10, 15 and 20, done at 25
    assert ended == 25
    assert active.codes.tolist() == [CONVERGED, RUNNING]
    assert plateau.factor(torch.tensor([1]), 59).tolist() == [1.0]
    steps = Plateau(Recipe(steps=80, patience=5), 1, torch.device("cpu"))
    assert steps.factor(torch.tensor([0]), 79).tolist() == pytest.approx([1e-3])  # the schedule's drops count


def test_starts(make) -> None:  # type: ignore[no-untyped-def]
    observation, _, _ = make(LENET, 2)
    problems = set_up(observation, 2)

    def first(**asked: object) -> torch.Tensor:
        return first_images(problems, Recipe(restarts=2, **asked), 3, [0, 4])  # type: ignore[arg-type]

    tiles = first(start="tiles", tile=3)
    assert tiles.shape == (4, 1, 3, 8, 8)
    assert torch.equal(tiles[..., 3:6, :3], tiles[..., :3, :3])
    assert torch.equal(tiles[..., 6:, 6:], tiles[..., :2, :2])
    assert not torch.equal(tiles[0], tiles[1])
    assert torch.equal(first(start="tiles", tile=0)[..., 4:, :4], first(start="tiles", tile=4)[..., :4, :4])
    assert torch.equal(first(start="grey"), problems.normalised(torch.full((4, 1, 3, 8, 8), 0.5)))

"""Costs and label recovery against values worked out by hand."""

from collections import Counter

import pytest
import torch

from core.attacks.basis import SmoothBasis
from core.attacks.costs import cosine_distance, squared_l2, total_variation
from core.attacks.labels import from_bias, from_row_sums, last_layer, recover_labels
from core.errors import UserError
from core.leakage.threat import ThreatModel
from core.models.spec import ModelSpec
from tests.attacks.conftest import LENET


def test_total_variation_of_a_small_image() -> None:
    image = torch.tensor([[0.0, 1.0, 3.0], [2.0, 2.0, 2.0]])[None, None, None]
    # across: |1|+|2|+0+0 over 4 differences = .75; down: |2|+|1|+|-1| over 3 = 4/3
    assert total_variation(image).tolist() == pytest.approx([0.75 + 4 / 3])


def test_costs_by_hand() -> None:
    ours = [torch.tensor([[3.0, 0.0], [1.0, 0.0]]), torch.tensor([[4.0], [0.0]])]
    observed = [torch.tensor([[3.0, 0.0], [-2.0, 0.0]]), torch.tensor([[0.0], [0.0]])]
    assert squared_l2(ours, observed).tolist() == [16.0, 9.0]
    # first: ⟨(3,0,4), (3,0,0)⟩ / (5 · 3) = .6; second: opposite directions
    assert cosine_distance(ours, observed).tolist() == pytest.approx([0.4, 2.0])


@pytest.mark.parametrize("learned", [False, True], ids=["observed given", "observed learned too"])
def test_derivatives_of_costs_are_those_of_their_formulas(learned: bool) -> None:
    source = torch.Generator().manual_seed(0)
    shapes = [(3, 4, 2), (3, 5), (3, 1)]
    ours, observed = (
        [torch.randn(s, generator=source, dtype=torch.float64).requires_grad_(want) for s in shapes]
        for want in (True, learned)
    )
    a, b = (torch.cat([t.flatten(1) for t in tensors], dim=1) for tensors in (ours, observed))
    formulas = {squared_l2: ((a - b) ** 2).sum(1), cosine_distance: 1 - torch.cosine_similarity(a, b, dim=1)}
    weights = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    for cost, right in formulas.items():
        found = cost(ours, observed)
        torch.testing.assert_close(found, right, rtol=1e-12, atol=1e-12)
        wanted = [*ours, *observed] if learned else ours
        for one, other in zip(*(torch.autograd.grad((v * weights).sum(), wanted) for v in (found, right)), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_idlg_picks_the_negative_row() -> None:
    # one image of class 2: row c of the weight gradient is (p_c − y_c) · features, features ≥ 0
    p, features = torch.tensor([0.2, 0.5, 0.3]), torch.tensor([0.1, 0.0, 2.0])
    gradient = (p - torch.tensor([0.0, 0.0, 1.0]))[:, None] * features
    assert from_row_sums(gradient[None], 1).tolist() == [[2]]


def test_a_batch_with_a_class_twice_is_recovered_from_the_bias() -> None:
    # classes 1, 1, 3 of 4, every probability 1/4: mean p − share of the batch
    gradient = torch.full((1, 4), 0.25) - torch.tensor([[0.0, 2.0, 0.0, 1.0]]) / 3
    assert from_bias(gradient, 3).tolist() == [[1, 1, 3]]


def test_a_batch_is_recovered_from_row_sums() -> None:
    # 10 classes at 1/10 each, features that sum to 5: row sums 5 · (1/10 − share)
    share = torch.zeros(10)
    share[[2, 7]] = torch.tensor([0.25, 0.75])
    sums = 5 * (0.1 - share)
    # impact = −(3.25 + .75) · 1.1 / 4 = −1.1 an image, close to the true −5/4
    assert from_row_sums(sums[None, :, None], 4).tolist() == [[2, 7, 7, 7]]


def test_every_negative_row_is_picked_before_any_is_picked_twice() -> None:
    # Both negative rows prove their class. Impact = −10.5 · (1 + 1/3) / 2 = −7: after one pick row 0 has −3 left, which
    # is below −.5, so a greedy without a first pass would say 0, 0.
    sums = torch.tensor([[-10.0, -0.5, 4.0]])
    assert from_row_sums(sums[..., None], 2).tolist() == [[0, 1]]
    # three images: the impact is −10.5 · (4/3) / 3 = −14/3; row 0 has −16/3 left after the first pass, row 1 is above 0
    assert from_row_sums(sums[..., None], 3).tolist() == [[0, 0, 1]]
    # features below 0 can make more rows negative than there are images: the most negative ones count
    assert from_row_sums(torch.tensor([[-1.0, -3.0, -2.0]])[..., None], 2).tolist() == [[1, 2]]
    # updates of one call that end their first pass at different picks: −10.1 · (4/3) / 2 and −10 · (4/3) / 2
    both = torch.tensor([[-10.0, -0.1, 4.0], [-10.0, 0.1, 4.0]])
    assert from_row_sums(both[..., None], 2).tolist() == [[0, 1], [0, 0]]


def _in_common(found: torch.Tensor, labels: torch.Tensor) -> int:
    pairs = zip(found.tolist(), labels.tolist(), strict=True)
    return sum((Counter(ours) & Counter(true)).total() for ours, true in pairs)


@pytest.mark.parametrize("batch", [2, 4])
def test_the_first_pass_recovers_more_labels_of_random_updates(make, batch: int) -> None:  # type: ignore[no-untyped-def]
    observation, _, labels = make(LENET, 100, ThreatModel(batch_size=batch))
    _, weight = last_layer(observation)
    sums = weight.sum(-1)
    # sigmoid features are not negative: a negative row is never of an absent class
    present = torch.zeros_like(sums, dtype=torch.bool).scatter_(1, labels, True)
    assert bool((present | (sums >= 0)).all())
    left, greedy = sums.clone(), []  # the same impact, without the first pass
    impact = sums.clamp(max=0).sum(1) * (1 + 1 / 4) / batch
    for _ in range(batch):
        greedy.append(left.argmin(1))
        left[torch.arange(100), greedy[-1]] -= impact
    found = from_row_sums(weight, batch)
    assert _in_common(found, labels) > _in_common(torch.stack(greedy, 1), labels)
    if batch == 2:  # either both classes have a negative row, or the only negative row is of both images
        assert torch.equal(found, labels.sort(1).values)


@pytest.mark.parametrize("rule", ["auto", "idlg", "wainakh"])
def test_real_updates_give_their_labels_away(make, rule: str) -> None:  # type: ignore[no-untyped-def]
    observation, _, labels = make(LENET, 4)  # sigmoid features are not negative
    assert torch.equal(recover_labels(observation, rule), labels)


def test_batches_of_an_untrained_model_give_their_labels_away(make) -> None:  # type: ignore[no-untyped-def]
    spec = ModelSpec("mlp", 20, height=8, width=8)  # small weights: probabilities near 1/20
    observation, _, labels = make(spec, 3, ThreatModel(batch_size=4, labels="inferred"))
    assert observation.labels is None
    assert torch.equal(recover_labels(observation), labels.sort(1).values)


def test_no_last_layer_is_said(make) -> None:  # type: ignore[no-untyped-def]
    observation, _, _ = make(LENET)
    headless = {k: v for k, v in observation.gradients.items() if not k.startswith("head")}
    from dataclasses import replace

    with pytest.raises(UserError, match="no last linear layer"):
        recover_labels(replace(observation, gradients=headless))


def test_the_smooth_basis_loses_nothing_and_its_first_cosine_is_flat() -> None:
    like = torch.zeros(1, dtype=torch.float64)
    basis = SmoothBasis(6, 9, 0.75, like)
    images = torch.rand(2, 3, 6, 9, dtype=torch.float64)
    assert torch.allclose(basis.to_images(basis.to_coefficients(images)), images, atol=1e-12)
    only = torch.zeros(6, 9, dtype=torch.float64)
    only[0, 0] = 1.0
    flat = basis.to_images(only)
    assert torch.allclose(flat, flat[0, 0].expand(6, 9))
    assert basis.weight[0, 0] > basis.weight[0, 1] > basis.weight[5, 8]

"""Donors by hand, gradients swapped and nothing else, and pairings against every permutation."""

from itertools import permutations

import numpy as np
import pytest
import torch

from core.attacks import configure
from core.errors import UserError
from core.leakage.controls import easy_case, favourable, mismatched, pick_donors, pick_other_classes
from core.leakage.pairing import pair_batches, pair_nearest
from core.leakage.threat import ChosenDefence, ThreatModel
from core.leakage.victim import observe
from core.models.build import build_model
from core.models.spec import ModelSpec


def test_donors_share_the_class_where_they_can() -> None:
    labels = [[0], [1], [0], [2], [1]]
    # 0 -> 2 (class 0); 1 -> 4 (class 1); 3: no other of class 2, so the next one; 4 -> 1
    assert pick_donors(labels, [0, 1, 3, 4]) == (2, 4, 4, 1)


def test_donors_of_batches_share_as_many_classes_as_they_can() -> None:
    assert pick_donors([[0, 0], [0, 1], [0, 0], [1, 2]], [0, 1]) == (2, 2)


def test_no_donor_holds_a_picture_of_the_target() -> None:
    labels = [[0], [0], [0], [1]]
    # 0 and 1 are one picture, so each takes 2, the other of its class; 2 takes the next of its class, 0
    assert pick_donors(labels, [0, 1, 2], [["a"], ["a"], ["b"], ["c"]]) == (2, 2, 0)
    # three copies: class 1 is the only other picture; nothing is left for a job of copies
    assert pick_donors(labels, [0, 3], [["a"], ["a"], ["a"], ["c"]]) == (3, 0)
    assert pick_donors([[0], [0]], [0, 1], [["a"], ["a"]]) == (None, None)
    # one shared picture rules a batch out, whatever label it has there
    assert pick_donors([[0, 1], [0, 1], [2, 2]], [0, 1, 2], [["a", "b"], ["c", "a"], ["d", "e"]]) == (2, 2, 0)


def test_one_update_has_no_donor() -> None:
    with pytest.raises(UserError, match="only one"):
        pick_donors([[0]], [0])


def test_mismatched_swaps_gradients_and_keeps_labels() -> None:
    spec = ModelSpec("lenet", 3, height=8, width=8)
    images = torch.rand((3, 1, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    observation, _ = observe(build_model(spec), spec, images, torch.tensor([[0], [1], [2]]), ThreatModel())
    control = mismatched(observation.select([0, 1]), observation.select([2, 0]))
    assert control.labels is not None
    assert control.labels.tolist() == [[0], [1]]
    for name, gradient in control.gradients.items():
        assert torch.equal(gradient[0], observation.gradients[name][2])
    with pytest.raises(UserError, match="as many updates"):
        mismatched(observation.select([0, 1]), observation.select([2]))


def test_another_class_is_asked_for_only_where_there_is_one() -> None:
    # 0 and 1 share a class with each other; 3 holds class 1 too, so the next without class 1 is 2
    assert pick_other_classes([[0, 1], [1], [2], [1]], [0, 1, 2, 3]) == (2, 2, 3, 2)
    assert pick_other_classes([[0], [0]], [0, 1]) == (None, None)


def test_the_nearest_original_of_the_class_by_hand() -> None:
    """Grey pictures: of class 7 are the levels 10, 90 and 90 again; class 3 has 52, nearer but of another class."""
    levels, labels = [10, 52, 90, 90], [7, 3, 7, 7]
    originals = [np.full((2, 2, 1), level, dtype=np.uint8) for level in levels]
    made = np.array([[51, 49], [80, 200]], dtype=np.uint8)  # (R, B): restarts × places
    images = np.broadcast_to(made[None, :, :, None, None, None], (1, 2, 2, 2, 2, 1))
    pairing = pair_nearest(originals, labels, images, np.array([[7, 3]]))
    assert pairing.permutation.tolist() == [[[2, 1], [2, 1]]]  # 51 is nearer to 90 than to 10; of equals the first
    assert (pairing.method, pairing.cost_name) == ("nearest", "mse")
    expected = [[[39**2, 3**2], [10**2, 148**2]]]
    assert pairing.costs == pytest.approx(np.array(expected) / 255**2)


def test_nearest_pairings_that_cannot_be_made_are_refused() -> None:
    images = np.zeros((1, 1, 1, 2, 2, 1), dtype=np.uint8)
    originals = [np.zeros((2, 2, 1), dtype=np.uint8)]
    with pytest.raises(UserError, match="No original is of class 4"):
        pair_nearest(originals, [0], images, np.array([[4]]))
    with pytest.raises(UserError, match="one label an original"):
        pair_nearest(originals, [0, 1], images, np.array([[0]]))
    with pytest.raises(UserError, match="differ"):
        pair_nearest([np.zeros((3, 2, 1), dtype=np.uint8)], [0], images, np.array([[0]]))
    with pytest.raises(UserError, match="not by 'vibes'"):
        pair_nearest(originals, [0], images, np.array([[0]]), cost="vibes")


def test_a_shuffled_batch_is_put_in_order() -> None:
    source = np.random.default_rng(0)
    originals = source.integers(0, 256, (2, 4, 3, 3, 3), dtype=np.uint8)
    order = np.array([[2, 0, 3, 1], [1, 3, 0, 2]])
    shuffled = np.stack([originals[n][order[n]] for n in range(2)])[:, None]
    pairing = pair_batches(originals, shuffled)
    assert np.array_equal(pairing.permutation[:, 0], order)
    assert pairing.costs.max() == 0
    assert (pairing.method, pairing.cost_name) == ("assignment", "mse")


def test_the_assignment_is_the_cheapest_of_all() -> None:
    source = np.random.default_rng(1)
    originals = source.integers(0, 256, (1, 4, 2, 2, 1), dtype=np.uint8)
    guesses = source.integers(0, 256, (1, 2, 4, 2, 2, 1), dtype=np.uint8)
    pairing = pair_batches(originals, guesses)
    for restart in range(2):
        sums = [
            sum(((guesses[0, restart, b] / 255 - originals[0, o] / 255) ** 2).mean() for b, o in enumerate(order))
            for order in permutations(range(4))
        ]
        assert pairing.costs[0, restart].sum() == pytest.approx(min(sums))
        assert sorted(pairing.permutation[0, restart]) == [0, 1, 2, 3]


def test_batch_one_is_given() -> None:
    black, white = np.zeros((1, 1, 2, 2, 3), np.uint8), np.full((1, 1, 1, 2, 2, 3), 255, np.uint8)
    pairing = pair_batches(black, white)
    assert (pairing.method, pairing.cost_name, pairing.permutation.item()) == ("given", "", 0)
    assert pairing.costs.item() == 1.0  # every value differs by the whole range


def test_other_shapes_and_costs_are_refused() -> None:
    images = np.zeros((1, 2, 2, 2, 3), np.uint8)
    with pytest.raises(UserError, match="Expected originals"):
        pair_batches(images, images)
    with pytest.raises(UserError, match="one of mse"):
        pair_batches(images, images[:, None], cost="vibes")


def test_the_easy_case_takes_everything_away_that_protects() -> None:
    defended = ThreatModel(batch_size=4, labels="inferred", defences=(ChosenDefence("prune", {"share": 0.7}),))
    assert easy_case(defended, ("gradients", "weights")) == ThreatModel()
    assert easy_case(ThreatModel(batchnorm="train", batch_statistics=True), ("gradients",)) == ThreatModel()
    federated = ThreatModel(4, update="weights", local_batch=2, local_epochs=3, local_lr=0.5)
    assert easy_case(federated, ("gradients", "weights")) == ThreatModel()
    # An attack on FedAvg alone: one image, one step, the learning rate as it was.
    assert easy_case(federated, ("weights",)) == ThreatModel(update="weights", local_lr=0.5)


def test_the_easy_case_asks_for_no_statistics_of_a_private_batch() -> None:
    """The easy case grants none: an attack that insists on them would be refused there, and the whole run with it."""
    assert favourable(configure("huang-bn", {"statistics": "batch"})) == configure("huang-bn", {})
    for config in (configure("huang-bn", {"statistics": "running"}), configure("dlg", {})):
        assert favourable(config) == config


def test_what_is_easy_already_has_no_easier_case() -> None:
    assert easy_case(ThreatModel(), ("gradients", "weights")) is None
    assert easy_case(ThreatModel(adaptive=False), ("gradients",)) is None  # nothing to be told of
    assert easy_case(ThreatModel(local_epochs=9), ("gradients",)) is None  # says nothing of FedSGD
    assert easy_case(ThreatModel(update="weights", local_lr=0.5), ("weights",)) is None
    assert easy_case(ThreatModel(update="none"), ("none",)) is None

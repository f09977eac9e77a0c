"""The observed gradients that a step compares with: a view where problems follow one another, bit for bit the same."""

import pytest
import torch

from core.attacks import engine
from core.attacks.costs import cosine_distance
from core.attacks.engine import draw, one_hot, set_up
from core.attacks.passes import step


@pytest.mark.parametrize(
    ("restarts", "rows", "viewed"),
    [
        (1, [0, 1, 2], True),
        (1, [1, 2], True),
        (1, [2], True),
        (1, [0, 2], False),
        (1, [2, 1, 0], False),
        (1, [1, 1], False),
        (2, [0, 1, 2, 3, 4, 5], False),
        (2, [1, 2], True),  # the second restart of one update and the first of the next
    ],
)
def test_observed_gradients_are_viewed_where_they_can_be_and_results_are_the_same_to_the_bit(
    make, monkeypatch, restarts, rows, viewed
):
    observation, _, labels = make(updates=3)
    problems = set_up(observation, restarts)
    kept = {name: tensor.clone() for name, tensor in observation.gradients.items()}
    shape, chosen, seen = problems.image_shape, torch.tensor(rows), []
    starts = draw("normal", 0, range(3), restarts, torch.Size(shape).numel()).reshape(-1, *shape)[chosen]
    targets = one_hot(labels, observation.spec.num_classes, starts)[problems.owner]

    def cost(ours, observed):
        seen.append(observed)
        return cosine_distance(ours, observed)

    def run():
        return step(lambda images, at: problems.matching(cost, images, targets[at], at), starts, chosen)

    ours = run()
    monkeypatch.setattr(engine, "_range_of", lambda owner: owner)  # the definition: a copy by index
    right = run()
    for one, other in zip((*ours, *seen[0]), (*right, *seen[1]), strict=True):
        assert torch.equal(one, other)
    owned = [observation.gradients[name].untyped_storage().data_ptr() for name in problems.field.names]
    assert [part.untyped_storage().data_ptr() in owned for part in seen[0]] == [viewed] * len(owned)
    assert all(torch.equal(kept[name], tensor) for name, tensor in observation.gradients.items())

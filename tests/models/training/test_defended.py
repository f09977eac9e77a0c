"""Defences on the gradient of a training are those on an update, of core.leakage.defences."""

import numpy as np
import pytest
import torch
from torch import nn

from core.leakage.defences.base import ClientStep
from core.leakage.defences.noise import GaussianConfig, add_gaussian
from core.leakage.defences.sparse import PruneConfig, prune
from core.models.training.stepper import add_gaussian_, prune_

SHAPES = [(7,), (4, 3, 5, 5), (10, 33), (1,)]


def gradients() -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(5)
    return [torch.randn(shape, generator=draw) for shape in SHAPES]


def client(tensors: list[torch.Tensor]) -> ClientStep:
    named = {str(place): tensor.clone() for place, tensor in enumerate(tensors)}
    return ClientStep(gradients=named, model=nn.Identity(), images=torch.zeros(1), targets=torch.zeros(1))


def test_gaussian() -> None:
    ours = gradients()
    expected = add_gaussian(client(ours), GaussianConfig(std=0.02), torch.Generator().manual_seed(9))
    add_gaussian_(ours, 0.02, torch.Generator().manual_seed(9))
    for found, right in zip(ours, expected.values(), strict=True):
        torch.testing.assert_close(found, right)


@pytest.mark.parametrize("share", [0.1, 0.7, 0.999])
def test_prune(share: float) -> None:
    ours = gradients()
    expected = prune(client(ours), PruneConfig(share=share), torch.Generator())
    # And by the percentile of the paper's code.
    cut = [torch.where(g.abs() < float(np.percentile(g.abs().numpy(), 100 * share)), 0.0, g) for g in ours]
    prune_(ours, share)
    for found, right, by_percentile in zip(ours, expected.values(), cut, strict=True):
        assert torch.equal(found, right)
        assert torch.equal(found, by_percentile)


def test_prune_in_the_memory_order_of_convolutions() -> None:
    (tensor,) = [g for g in gradients() if g.ndim == 4]
    other = tensor.clone(memory_format=torch.channels_last)
    prune_([tensor], 0.7)
    prune_([other], 0.7)
    assert torch.equal(tensor, other)

"""Diagnostics of the attack's fit, with contexts made by hand."""

import numpy as np
import pytest
import torch

from core.errors import UserError
from core.metrics.base import Context
from core.metrics.registry import METRICS, availability
from core.metrics.scoring import score_pairs
from core.metrics.victim import attack_loss, feature_distance
from core.settings import Settings


def grey(*levels: int) -> np.ndarray:
    return np.stack([np.full((4, 4, 3), level, np.uint8) for level in levels])


def test_feature_distance_by_hand(bare: Settings) -> None:
    # features of a constant grey g in [0, 1]: (3g, 4g), so two greys are 5 |g - h| apart; 51/255 = .2
    def features(x: torch.Tensor) -> torch.Tensor:
        assert x.shape[1:] == (1, 4, 4)  # a victim of grey images gets the first channel
        level = x.mean((1, 2, 3))
        return torch.stack([3 * level, 4 * level], 1)

    context = Context(features=features, channels=1)
    scores = score_pairs(grey(0, 51, 255), grey(51, 51, 0), ["victim_feature_distance"], bare, context=context)
    assert [s.value for s in scores["victim_feature_distance"]] == pytest.approx([1.0, 0.0, 5.0], abs=1e-6)


def test_attack_loss_keeps_its_row_and_its_gaps(bare: Settings) -> None:
    # pairs of two sizes are scored in two batches, so the losses must follow their rows
    small, large = np.zeros((4, 4, 3), np.uint8), np.zeros((8, 8, 3), np.uint8)
    images = [small, large, small, large]
    context = Context(losses=np.array([0.5, -1.0, np.nan, 3.0]))
    scores = score_pairs(images, images, ["attack_loss"], bare, context=context)["attack_loss"]
    assert [s.value for s in scores] == [0.5, -1.0, None, 3.0]
    assert scores[2].reason


def test_unavailable_without_context(bare: Settings) -> None:
    for context in (None, Context()):
        found = availability(bare, context)
        assert "only an audit has" in found["victim_feature_distance"]
        assert "audit only" in found["attack_loss"]
    x = torch.zeros(1, 3, 4, 4)
    for compute in (feature_distance, attack_loss):
        with pytest.raises(UserError, match="audit"):
            compute(x, x, Context())


def test_none_of_them_is_leakage() -> None:
    names = {name for name in METRICS if name.startswith("victim_")} | {"attack_loss"}
    assert len(names) == 4
    assert all(METRICS[name].diagnostic for name in names)


def test_names_follow_their_rows() -> None:
    context = Context(names=("a", None, "c"), classes=("x", "y", None)).of(np.array([2, 0]))
    assert context.names == ("c", "a")
    assert context.classes == (None, "x")

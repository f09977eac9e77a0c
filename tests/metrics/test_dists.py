"""DISTS against torchmetrics itself, on real pairs and made-up VGG weights, as no trained ones are bundled."""

import math
from collections.abc import Callable
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torchmetrics.functional.image import dists as peer

from core.errors import UserError
from core.metrics import dists
from core.metrics.registry import METRICS, unavailable, weights_hash
from core.metrics.scoring import score_pairs
from core.settings import Settings
from tests.metrics.pairs import real_pairs, thinned, two_hundred


def values(scores: list) -> np.ndarray:
    return np.array([s.value for s in scores], dtype=float)


def tensors(*images: np.ndarray) -> list[torch.Tensor]:
    return [torch.from_numpy(i / 255).permute(0, 3, 1, 2).float() for i in images]


def peer_dists(settings: Settings) -> torch.nn.Module:
    """torchmetrics's DISTS with its own alpha and beta, and our file's VGG where it would ask torchvision for one."""
    import torchvision
    from safetensors.torch import load_file

    with torch.device("meta"):
        features = torchvision.models.vgg16(weights=None).features
    state = load_file(settings.weights / "vgg16-imagenet-features.safetensors")
    features.load_state_dict({k.removeprefix("features."): v for k, v in state.items()}, assign=True)
    with patch.object(peer, "vgg16", lambda weights: SimpleNamespace(features=features)):
        return peer.DISTSNetwork().eval()


@pytest.mark.parametrize("pairs", [two_hundred, lambda: real_pairs(65, 20)])
def test_agrees_with_torchmetrics(made_up: Settings, pairs: Callable) -> None:
    # the peer in float64: in float32 its covariance, E[xy] - E[x]E[y], is off by up to 3e-5 on nearly flat crops
    originals, reconstructions = pairs()
    found = values(score_pairs(originals, reconstructions, ["dists"], made_up, batch=7)["dists"])
    theirs = peer_dists(made_up).double()(*(x.double() for x in tensors(originals, reconstructions))).detach().numpy()
    assert np.abs(found - theirs).max() < 1e-6
    assert found.max() > 0.1
    assert found.std() > 0.01  # the pairs are not all alike


def test_resized_is_native_of_the_resized_image(made_up: Settings) -> None:
    originals, reconstructions = thinned(2)
    found = values(score_pairs(originals, reconstructions, ["dists_256"], made_up)["dists_256"])
    big = [
        torch.nn.functional.interpolate(i, (256, 256), mode="bilinear", antialias=True)
        for i in tensors(originals, reconstructions)
    ]
    peer = peer_dists(made_up)
    theirs = [float(peer(x[None], y[None]).detach()) for x, y in zip(*big, strict=True)]
    assert np.abs(found - theirs).max() < 1e-5  # in float32


def test_identity_symmetry_bounds_and_batch(made_up: Settings) -> None:
    originals, reconstructions = real_pairs(32, 5)
    names = ["dists"]
    assert (values(score_pairs(originals, originals, names, made_up)["dists"]) == 0).all()
    there = values(score_pairs(originals, reconstructions, names, made_up)["dists"])
    back = values(score_pairs(reconstructions, originals, names, made_up)["dists"])
    alone = values(score_pairs(originals, reconstructions, names, made_up, batch=1)["dists"])
    assert there == pytest.approx(back, abs=1e-6)
    assert there == pytest.approx(alone, abs=1e-6)
    assert ((there > 0) & (there < 2)).all()


def test_more_blur_is_less_alike(made_up: Settings) -> None:
    from scipy import ndimage

    original, _ = real_pairs(64, 1)
    blurred = np.concatenate(
        [np.rint(ndimage.gaussian_filter(original.astype(float), (0, s, s, 0))).astype(np.uint8) for s in (0.5, 1, 3)]
    )
    found = values(score_pairs(np.repeat(original, 3, 0), blurred, ["dists"], made_up)["dists"])
    assert (np.diff(found) > 0).all()


def test_pooling_by_hand() -> None:
    # window (1, 2, 1)/4 in both directions on a constant c: inside c; at a corner the outer row and column are zeros,
    # so (3/4)² of the squares is left and the root is 3c/4
    pooled = dists.l2_pool(torch.full((1, 2, 6, 6), 2.0))
    assert pooled.shape == (1, 2, 3, 3)
    assert float(pooled[0, 0, 1, 1]) == pytest.approx(2.0, abs=1e-6)
    assert float(pooled[0, 1, 0, 0]) == pytest.approx(1.5, abs=1e-6)


def test_bounds_are_those_of_the_weights() -> None:
    # texture is in [0, 1] as means of images and ReLUs are not negative, structure in [0, 2]; all weights are positive
    alpha, beta = dists._weights("cpu")
    assert min(float(part.min()) for part in (*alpha, *beta)) >= 0
    assert sum(float(part.sum()) for part in alpha) + 2 * sum(float(part.sum()) for part in beta) <= 2
    assert math.isclose(sum(float(part.sum()) for part in (*alpha, *beta)), 1, rel_tol=1e-5)


def test_minimum_size_is_where_the_last_stage_has_structure(made_up: Settings) -> None:
    layers, _ = dists.network(dists.VGG, made_up, "cpu")
    for size, cells in ((dists.MINIMUM, 4), (dists.MINIMUM - 1, 1)):
        *_, last = dists._stages(torch.zeros(1, 3, size, size), layers)
        assert last.shape[2] * last.shape[3] == cells
    originals, reconstructions = real_pairs(16, 1)
    scores = score_pairs(originals, reconstructions, ["dists"], made_up)["dists"]
    assert scores[0].reason == "unavailable: needs at least 17 px, got 16"


def test_unavailable_without_weights(
    bare: Settings, made_up: Settings, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (made_up.weights / "vgg16-imagenet-features.safetensors").rename(tmp_path / "away")
    assert "vgg16-imagenet-features" in unavailable(METRICS["dists"], made_up)
    (tmp_path / "away").rename(made_up.weights / "vgg16-imagenet-features.safetensors")
    assert unavailable(METRICS["dists"], made_up) == ""
    before = weights_hash("dists", made_up)
    assert before != weights_hash("lpips_vgg", made_up)
    monkeypatch.setattr(dists.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="torchmetrics"):
        dists.weights_sha256()

"""LPIPS's map of where two pictures differ, against lpips itself."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from core.errors import UserError
from core.images.samples import photos
from core.metrics.base import Context
from core.metrics.lpips import BACKBONES, distance, spatial_map
from core.settings import Settings
from tests.metrics.peers import peer_lpips

ALEX = BACKBONES[0]


def pair(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Four photographs, and the same with noise in the left half only."""
    pixels = np.stack([one.pixels[:height, :width] for one in photos()[:4]]).astype(np.float32) / 255
    originals = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    noise = torch.randn(originals.shape, generator=torch.Generator().manual_seed(0)) * 0.2
    noise[..., width // 2 :] = 0
    return originals, (originals + noise).clamp(0, 1)


@pytest.mark.parametrize(("height", "width"), [(96, 96), (32, 32), (31, 96), (64, 47)])
def test_it_is_lpips_s_own_spatial_map(settings: Settings, shared: Path, height: int, width: int) -> None:
    x, y = pair(height, width)
    peer = peer_lpips("alex", shared / "weights")
    peer.spatial = True
    with torch.inference_mode():
        ours = spatial_map(x, y, Context(settings=settings), backbone=ALEX)
        theirs = peer(x, y, normalize=True)[:, 0]
    assert ours.shape == (4, height, width)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)  # float32; lpips scales its input in another order


def test_it_is_zero_where_nothing_differs_and_near_the_score_on_average(settings: Settings) -> None:
    x, y = pair(96, 96)
    context = Context(settings=settings)
    assert not spatial_map(x, x, context, backbone=ALEX).any()
    found = spatial_map(x, y, context, backbone=ALEX)
    assert float(found.min()) >= 0
    assert (found[..., :40].mean((1, 2)) > 3 * found[..., -40:].mean((1, 2))).all()  # the noise is on the left
    score = distance(x, y, context, backbone=ALEX, size=None)
    torch.testing.assert_close(found.mean((1, 2)), score, rtol=0.05, atol=0)
    assert not torch.equal(found.mean((1, 2)), score)


def test_without_weights_it_is_a_sentence(bare: Settings) -> None:
    x, y = pair(32, 32)
    with pytest.raises(UserError, match="alexnet-imagenet-features"):
        spatial_map(x, y, Context(settings=replace(bare, weights=bare.home / "none")), backbone=ALEX)

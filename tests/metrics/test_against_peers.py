"""Every metric against an independent implementation, on real pairs."""

import math

import numpy as np
import pytest
import torch
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    structural_similarity_index_measure,
)

from core.metrics.scoring import score_pairs
from core.settings import Settings
from tests.metrics.pairs import real_pairs
from tests.metrics.peers import peer_lpips


def values(scores: list) -> np.ndarray:
    return np.array([s.value for s in scores], dtype=float)


@pytest.mark.parametrize(("size", "count"), [(32, 50), (65, 10)])
def test_pixels_and_ssim_agree_with_scikit_image(bare: Settings, size: int, count: int) -> None:
    originals, reconstructions = real_pairs(size, count)
    found = score_pairs(originals, reconstructions, ["mse", "mae", "psnr", "ssim", "ssim_uniform"], bare)
    x, y = originals / 255, reconstructions / 255
    peers = {
        "mse": [mean_squared_error(a, b) for a, b in zip(x, y, strict=True)],
        "mae": [np.abs(a - b).mean() for a, b in zip(x, y, strict=True)],
        "psnr": [peak_signal_noise_ratio(a, b, data_range=1) for a, b in zip(x, y, strict=True)],
        "ssim": [
            structural_similarity(
                a, b, channel_axis=2, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
            )
            for a, b in zip(x, y, strict=True)
        ],
        "ssim_uniform": [structural_similarity(a, b, channel_axis=2, data_range=1) for a, b in zip(x, y, strict=True)],
    }
    for name, peer in peers.items():
        assert np.abs(values(found[name]) - peer).max() < 1e-10, name


def test_ssim_agrees_with_torchmetrics_inside(bare: Settings) -> None:
    # torchmetrics averages over reflected borders too, so it is asked for the map and its border is cut off
    originals, reconstructions = real_pairs(65, 5)
    found = values(score_pairs(originals, reconstructions, ["ssim"], bare)["ssim"])
    x, y = (torch.from_numpy(a / 255).permute(0, 3, 1, 2) for a in (originals, reconstructions))
    _, full = structural_similarity_index_measure(y, x, data_range=1.0, reduction="none", return_full_image=True)
    assert np.abs(full[..., 5:-5, 5:-5].mean((1, 2, 3)).numpy() - found).max() < 1e-6


def test_ms_ssim_agrees_with_torchmetrics_one_at_a_time(bare: Settings) -> None:
    originals, reconstructions = real_pairs(176, 3)
    found = values(score_pairs(originals, reconstructions, ["ms_ssim"], bare, batch=2)["ms_ssim"])
    for i in range(3):
        x, y = (torch.from_numpy(a[i : i + 1] / 255).permute(0, 3, 1, 2) for a in (originals, reconstructions))
        peer = multiscale_structural_similarity_index_measure(y, x, data_range=1.0, normalize="relu")
        assert found[i] == pytest.approx(float(peer), abs=5e-6)  # the peer in float64


def test_ms_ssim_of_a_dimmed_image_by_hand(bare: Settings) -> None:
    # a constant image x against y = x/2 has contrast and structure (0 + C2)/(0 + C2) = 1 at every scale, so only the
    # luminance of the last one is left: ((2xy + C1)/(x² + y² + C1))^.1333
    originals = np.full((1, 192, 192, 3), 200, np.uint8)
    reconstructions = np.full((1, 192, 192, 3), 100, np.uint8)
    x, y, c1 = 200 / 255, 100 / 255, 0.01**2
    found = score_pairs(originals, reconstructions, ["ms_ssim"], bare)["ms_ssim"][0].value
    assert found == pytest.approx(((2 * x * y + c1) / (x**2 + y**2 + c1)) ** 0.1333, abs=1e-6)


@pytest.mark.parametrize("size", [32, 64])
def test_lpips_alex_agrees_with_lpips(settings: Settings, size: int) -> None:
    originals, reconstructions = real_pairs(size, 50)
    found = values(score_pairs(originals, reconstructions, ["lpips_alex"], settings, batch=7)["lpips_alex"])
    x, y = (torch.from_numpy(a / 127.5 - 1).permute(0, 3, 1, 2).float() for a in (originals, reconstructions))
    with torch.no_grad():
        peer = peer_lpips("alex", settings.weights)(x, y).flatten().numpy()
    assert np.abs(found - peer).max() < 1e-5
    assert found.max() > 0.1  # the pairs are not all alike


@pytest.mark.parametrize("net", ["vgg", "squeeze"])
def test_other_backbones_agree_with_lpips_on_made_up_weights(made_up: Settings, net: str) -> None:
    originals, reconstructions = real_pairs(32, 5)
    found = values(score_pairs(originals, reconstructions, [f"lpips_{net}"], made_up)[f"lpips_{net}"])
    x, y = (torch.from_numpy(a / 127.5 - 1).permute(0, 3, 1, 2).float() for a in (originals, reconstructions))
    with torch.no_grad():
        peer = peer_lpips(net, made_up.weights)(x, y).flatten().numpy()
    assert np.abs(found - peer).max() < 1e-5 * max(1.0, np.abs(peer).max())
    assert found.max() > 0.01


def test_resized_lpips_is_native_lpips_of_the_resized_image(settings: Settings) -> None:
    originals, reconstructions = real_pairs(32, 2)
    found = values(score_pairs(originals, reconstructions, ["lpips_alex_224"], settings)["lpips_alex_224"])
    big = [
        torch.nn.functional.interpolate(
            torch.from_numpy(a / 255).permute(0, 3, 1, 2), (224, 224), mode="bilinear", antialias=True
        )
        .permute(0, 2, 3, 1)
        .clamp(0, 1)
        .numpy()
        for a in (originals, reconstructions)
    ]
    native = values(score_pairs(big[0], big[1], ["lpips_alex"], settings)["lpips_alex"])
    assert np.abs(found - native).max() < 1e-5
    assert (
        np.abs(found - values(score_pairs(originals, reconstructions, ["lpips_alex"], settings)["lpips_alex"])).min()
        > 1e-3
    )


def test_psnr_by_hand(bare: Settings) -> None:
    # every pixel off by 51/255 = .2: MSE .04, PSNR 10 log10(25)
    black, grey = np.zeros((1, 4, 4, 3), np.uint8), np.full((1, 4, 4, 3), 51, np.uint8)
    found = score_pairs(black, grey, ["mse", "mae", "psnr"], bare)
    assert found["mse"][0].value == pytest.approx(0.04, abs=1e-15)
    assert found["mae"][0].value == pytest.approx(0.2, abs=1e-15)
    assert found["psnr"][0].value == pytest.approx(10 * math.log10(25), abs=1e-12)
    assert score_pairs(black, black, ["psnr"], bare)["psnr"][0].value == math.inf

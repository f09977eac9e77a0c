"""Every metric against an independent implementation, on 200 real pairs: 40 reconstructions, 160 damaged photographs.

The tolerances are those of double rounding (1e-10) where the peer computes in float64, and of single rounding (1e-5)
where it, or we, compute in float32. Multi-scale SSIM needs larger pictures: its 200 pairs are damaged photographs, and
the 40 reconstructions enlarged.
"""

import math
import sys
from collections.abc import Callable

import numpy as np
import piq
import pytest
import torch
from scipy.signal import convolve2d
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    structural_similarity_index_measure,
)

from core.metrics.registry import METRICS
from core.metrics.scoring import score_pairs
from core.settings import Settings
from tests.metrics.pairs import real_pairs, reconstructions, thinned, two_hundred
from tests.metrics.peers import peer_lpips


def values(scores: list) -> np.ndarray:
    return np.array([s.value for s in scores], dtype=float)


def planes(images: np.ndarray) -> torch.Tensor:
    """(N, H, W, 3) uint8 as (N, 3, H, W) float64 in [0, 1]."""
    return torch.from_numpy(images / 255).permute(0, 3, 1, 2)


@pytest.mark.parametrize("pairs", [two_hundred, lambda: real_pairs(65, 10), lambda: real_pairs(150, 4)])
def test_pixels_and_ssim_agree_with_scikit_image(bare: Settings, pairs: Callable) -> None:
    originals, reconstructions = pairs()
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


@pytest.mark.parametrize("size", [176, 185, 224])
def test_ms_ssim_agrees_with_torchmetrics_one_at_a_time(bare: Settings, size: int) -> None:
    originals, reconstructions = real_pairs(size, 3)
    found = values(score_pairs(originals, reconstructions, ["ms_ssim"], bare, batch=2)["ms_ssim"])
    for i in range(3):
        x, y = planes(originals[i : i + 1]), planes(reconstructions[i : i + 1])
        peer = multiscale_structural_similarity_index_measure(y, x, data_range=1.0, normalize="relu")
        assert found[i] == pytest.approx(float(peer), abs=1e-7)  # the peer in float64, its exponents rounded to float32


def test_ms_ssim_agrees_with_torchmetrics_on_two_hundred_pairs(bare: Settings) -> None:
    enlarged = [np.kron(images, np.ones((1, 6, 6, 1), np.uint8))[:, :176, :176] for images in reconstructions()]
    originals, others = (np.concatenate(both) for both in zip(enlarged, real_pairs(176, 160), strict=True))
    found = values(score_pairs(originals, others, ["ms_ssim"], bare)["ms_ssim"])
    with torch.inference_mode():
        peer = torch.cat(
            [
                multiscale_structural_similarity_index_measure(
                    planes(others[i : i + 20]).float(), planes(originals[i : i + 20]).float(), reduction="none",
                    data_range=1.0,
                )
                for i in range(0, 200, 20)
            ]
        )  # fmt: skip
    assert np.abs(found - peer.numpy()).max() < 1e-5  # the peer in float32: 64-bit would take minutes


def test_ms_ssim_of_a_dimmed_image_by_hand(bare: Settings) -> None:
    # a constant image x against y = x/2 has contrast and structure (0 + C2)/(0 + C2) = 1 at every scale, so only the
    # luminance of the last one is left: ((2xy + C1)/(x² + y² + C1))^.1333
    originals = np.full((1, 192, 192, 3), 200, np.uint8)
    reconstructions = np.full((1, 192, 192, 3), 100, np.uint8)
    x, y, c1 = 200 / 255, 100 / 255, 0.01**2
    found = score_pairs(originals, reconstructions, ["ms_ssim"], bare)["ms_ssim"][0].value
    assert found == pytest.approx(((2 * x * y + c1) / (x**2 + y**2 + c1)) ** 0.1333, abs=1e-6)


@pytest.mark.parametrize("pairs", [two_hundred, lambda: real_pairs(33, 10), lambda: real_pairs(64, 10)])
def test_gmsd_and_haarpsi_agree_with_piq(bare: Settings, pairs: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    originals, others = pairs()
    found = score_pairs(originals, others, ["gmsd", "haarpsi"], bare)
    x, y = planes(originals), planes(others)
    assert np.abs(values(found["gmsd"]) - piq.gmsd(x, y, reduction="none").numpy()).max() < 1e-10
    haarpsi = values(found["haarpsi"])
    # piq writes I and Q with four digits where the authors' code has three: 0.5959 for 0.596, and so on
    assert np.abs(haarpsi - piq.haarpsi(x, y, reduction="none").numpy()).max() < 2e-3
    authors = torch.tensor([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]]).double()
    authors = torch.round(authors * 1000) / 1000  # the literals were rounded to float32 on their way
    yiq = lambda images: torch.einsum("ij,njhw->nihw", authors, images)  # noqa: E731
    monkeypatch.setattr(sys.modules["piq.haarpsi"], "rgb2yiq", yiq)
    assert np.abs(haarpsi - piq.haarpsi(x, y, reduction="none").numpy()).max() < 1e-10


@pytest.mark.parametrize(("height", "width"), [(32, 32), (31, 20)])
def test_gmsd_of_the_authors_code_divides_by_one_less(height: int, width: int) -> None:
    """The steps of the authors' MATLAB in scipy's words: conv2 'same', every other pixel, Prewitt / 3, std2."""
    originals, others = (images[:5, :height, :width] for images in two_hundred())
    found = METRICS["gmsd"].compute(planes(originals), planes(others), None).numpy()
    for i in range(5):
        squares = []
        for image in (originals[i], others[i]):
            grey = image.astype(float) @ (0.299, 0.587, 0.114)
            # MATLAB's 'same' of an even mask begins at the second full output, scipy's at the first
            half = convolve2d(grey, np.full((2, 2), 0.25))[1:, 1:][::2, ::2]
            mask = np.outer((1, 1, 1), (1, 0, -1)) / 3
            squares.append(sum(convolve2d(half, m, mode="same") ** 2 for m in (mask, mask.T)))
        similar = (2 * np.sqrt(squares[0] * squares[1]) + 170) / (squares[0] + squares[1] + 170)
        theirs = np.std(similar, ddof=1)  # std2 divides by n - 1
        assert found[i] * math.sqrt(similar.size / (similar.size - 1)) == pytest.approx(theirs, abs=1e-12)


def registered_loop(original: np.ndarray, other: np.ndarray) -> float:
    """PSNR of (H, W, 3) pixels in [0, 1] at the best shift, shift by shift."""
    height, width = original.shape[:2]
    most = min(8, min(height, width) // 16)
    best = -math.inf
    for down in range(-most, most + 1):
        for right in range(-most, most + 1):
            errors = [
                (original[i + down, j + right] - other[i, j]) ** 2
                for i in range(max(0, -down), min(height, height - down))
                for j in range(max(0, -right), min(width, width - right))
            ]
            best = max(best, 10 * math.log10(1 / np.mean(errors)) if np.any(errors) else math.inf)
    return best


def test_registered_psnr_agrees_with_a_plain_loop(bare: Settings) -> None:
    originals, others = two_hundred()
    rows = np.arange(0, 200, 7)  # the loop over pixels takes 60 ms a pair; the loop over shifts below takes all
    found = values(score_pairs(originals[rows], others[rows], ["psnr_registered"], bare)["psnr_registered"])
    peer = np.array([registered_loop(originals[i] / 255, others[i] / 255) for i in rows])
    assert found == pytest.approx(peer, abs=1e-10)


@pytest.mark.parametrize("pairs", [two_hundred, lambda: real_pairs(70, 10), lambda: real_pairs(224, 2)])
def test_registered_psnr_is_the_best_of_scikit_images(bare: Settings, pairs: Callable) -> None:
    originals, others = pairs()
    found = values(score_pairs(originals, others, ["psnr_registered"], bare)["psnr_registered"])
    size = originals.shape[1]
    shifts = range(-min(8, size // 16), min(8, size // 16) + 1)
    for original, other, score in zip(originals / 255, others / 255, found, strict=True):
        peers = []
        for down in shifts:
            for right in shifts:
                x = original[max(0, down) : size + min(0, down), max(0, right) : size + min(0, right)]
                y = other[max(0, -down) : size + min(0, -down), max(0, -right) : size + min(0, -right)]
                same = (x == y).all()  # where scikit-image would divide by zero
                peers.append(math.inf if same else peak_signal_noise_ratio(x, y, data_range=1))
        assert score == pytest.approx(max(peers), abs=1e-10)


@pytest.mark.parametrize("pairs", [two_hundred, lambda: real_pairs(64, 50)])
def test_lpips_alex_agrees_with_lpips(settings: Settings, pairs: Callable) -> None:
    originals, reconstructions = pairs()
    found = values(score_pairs(originals, reconstructions, ["lpips_alex"], settings, batch=7)["lpips_alex"])
    x, y = (torch.from_numpy(a / 127.5 - 1).permute(0, 3, 1, 2).float() for a in (originals, reconstructions))
    with torch.no_grad():
        peer = peer_lpips("alex", settings.weights)(x, y).flatten().numpy()
    assert np.abs(found - peer).max() < 1e-5
    assert found.max() > 0.1  # the pairs are not all alike


@pytest.mark.parametrize("net", ["vgg", "squeeze"])
def test_other_backbones_agree_with_lpips_on_made_up_weights(made_up: Settings, net: str) -> None:
    originals, reconstructions = two_hundred()
    found = values(score_pairs(originals, reconstructions, [f"lpips_{net}"], made_up)[f"lpips_{net}"])
    x, y = (torch.from_numpy(a / 127.5 - 1).permute(0, 3, 1, 2).float() for a in (originals, reconstructions))
    with torch.no_grad():
        peer = peer_lpips(net, made_up.weights)(x, y).flatten().numpy()
    assert np.abs(found - peer).max() < 1e-5 * max(1.0, np.abs(peer).max())
    assert found.max() > 0.01


@pytest.mark.parametrize(
    ("net", "weights", "count"), [("alex", "settings", 200), ("vgg", "made_up", 3), ("squeeze", "made_up", 200)]
)
def test_resized_lpips_agrees_with_lpips_on_resized_images(
    net: str, weights: str, count: int, request: pytest.FixtureRequest
) -> None:
    found_here: Settings = request.getfixturevalue(weights)
    originals, reconstructions = thinned(count)
    names = [f"lpips_{net}_224", f"lpips_{net}"]
    found = score_pairs(originals, reconstructions, names, found_here)
    peer = peer_lpips(net, found_here.weights)
    theirs = []
    for pair in zip(planes(originals).float(), planes(reconstructions).float(), strict=True):
        big = [torch.nn.functional.interpolate(x[None], (224, 224), mode="bilinear", antialias=True) for x in pair]
        with torch.no_grad():
            theirs.append(float(peer(*(2 * x - 1 for x in big))))
    resized, native = (values(found[name]) for name in names)
    assert np.abs(resized - theirs).max() < 1e-5 * max(1.0, resized.max())
    assert np.abs(resized - native).max() > 1e-3  # and is another score than the native one


def test_psnr_by_hand(bare: Settings) -> None:
    # every pixel off by 51/255 = .2: MSE .04, PSNR 10 log10(25)
    black, grey = np.zeros((1, 4, 4, 3), np.uint8), np.full((1, 4, 4, 3), 51, np.uint8)
    found = score_pairs(black, grey, ["mse", "mae", "psnr"], bare)
    assert found["mse"][0].value == pytest.approx(0.04, abs=1e-15)
    assert found["mae"][0].value == pytest.approx(0.2, abs=1e-15)
    assert found["psnr"][0].value == pytest.approx(10 * math.log10(25), abs=1e-12)
    assert score_pairs(black, black, ["psnr"], bare)["psnr"][0].value == math.inf

"""What holds of every metric: identity, symmetry, bounds, direction, batch independence, dtype."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage import data

from core.metrics.base import Metric
from core.metrics.registry import METRICS
from core.metrics.scoring import score_pairs
from core.settings import Settings
from tests.metrics.pairs import real_pairs

# all that AlexNet's weights allow, at a size that all of them take; vgg and squeeze are compared with lpips itself
NAMES = [n for n, m in METRICS.items() if set(m.needs) <= {"alexnet-imagenet-features"} and not (m.packages or m.lacks)]
AT_IDENTITY = {"psnr": math.inf, "ssim": 1.0, "ssim_uniform": 1.0, "ms_ssim": 1.0}
SIZE = 176


def values(scores: list) -> np.ndarray:
    return np.array([s.value for s in scores], dtype=float)


def all_scores(originals: np.ndarray, reconstructions: np.ndarray, settings: Settings, **more) -> dict[str, np.ndarray]:
    return {n: values(s) for n, s in score_pairs(originals, reconstructions, NAMES, settings, **more).items()}


def test_identity_symmetry_and_bounds(settings: Settings) -> None:
    originals, reconstructions = real_pairs(SIZE, 3)
    same = all_scores(originals, originals, settings)
    there, back = all_scores(originals, reconstructions, settings), all_scores(reconstructions, originals, settings)
    for name in NAMES:
        low, high = METRICS[name].bounds
        assert same[name] == pytest.approx(
            np.full(3, AT_IDENTITY.get(name, 0.0)), abs=1e-6 if name == "ms_ssim" else 1e-12
        ), name
        assert there[name] == pytest.approx(back[name], abs=1e-6), name
        assert ((low <= there[name]) & (there[name] <= high)).all(), name


@pytest.mark.parametrize("harm", ["blur", "noise"])
def test_direction_under_growing_harm(settings: Settings, harm: str) -> None:
    original = data.astronaut()[:SIZE, 150 : 150 + SIZE]
    noise = np.random.default_rng(1).normal(size=original.shape)
    harmed = [
        ndimage.gaussian_filter(original.astype(float), (s, s, 0)) if harm == "blur" else original + 20 * s * noise
        for s in (0.5, 1.5, 4)
    ]
    reconstructions = np.clip(np.rint(harmed), 0, 255).astype(np.uint8)
    for name, found in all_scores(np.stack([original] * 3), reconstructions, settings).items():
        steps = np.diff(found)
        less_leakage = steps < 0 if METRICS[name].direction == "higher" else steps > 0
        assert less_leakage.all(), (name, found)


def test_scores_do_not_depend_on_the_batch(settings: Settings) -> None:
    originals, reconstructions = real_pairs(64, 5)  # below the minimum of ms_ssim, which test_against_peers splits
    whole = all_scores(originals, reconstructions, settings)
    single = all_scores(originals, reconstructions, settings, batch=1)
    backwards = all_scores(originals[::-1], reconstructions[::-1], settings, batch=3)
    for name in NAMES:
        assert single[name] == pytest.approx(whole[name], abs=1e-6, nan_ok=True), name
        assert backwards[name][::-1] == pytest.approx(whole[name], abs=1e-6, nan_ok=True), name
        assert np.isfinite(whole[name]).all() == (name != "ms_ssim")


def test_float32_is_close_to_float64(bare: Settings) -> None:
    originals, reconstructions = real_pairs(32, 5)
    x, y = (torch.from_numpy(a / 255).permute(0, 3, 1, 2) for a in (originals, reconstructions))
    for name in ("mse", "mae", "psnr", "ssim", "ssim_uniform"):
        compute = METRICS[name].compute
        exact, rough = compute(x, y, None), compute(x.float(), y.float(), None)
        assert (exact.dtype, rough.dtype) == (torch.float64, torch.float32)
        assert rough.double().numpy() == pytest.approx(exact.numpy(), rel=1e-4, abs=1e-4), name


@hypothesis_settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(11, 20), st.integers(11, 20))
def test_any_pixels_stay_within_bounds(seed: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = (torch.from_numpy(rng.integers(0, 256, (2, 3, height, width)) / 255) for _ in range(2))
    for name in ("mse", "mae", "psnr", "ssim", "ssim_uniform"):
        low, high = METRICS[name].bounds
        found = METRICS[name].compute(x, y, None)
        assert found.shape == (2,)
        assert bool(((low <= found) & (found <= high)).all()), name


@pytest.mark.parametrize("name", ["mse", "ssim", "ssim_uniform"])
def test_metrics_have_a_gradient(name: str) -> None:
    x = torch.rand(1, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = (x * 0.5).requires_grad_(True)
    METRICS[name].compute(x, y, None).sum().backward()
    assert y.grad is not None
    assert bool(torch.isfinite(y.grad).all())
    assert float(y.grad.abs().max()) > 0


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_every_record_is_whole(metric: Metric) -> None:
    assert metric.title
    assert metric.version
    assert metric.source
    assert metric.kind == "pair"
    assert metric.minimum_size >= 1
    assert metric.bounds[0] < metric.bounds[1]
    assert metric.diagnostic == metric.name.startswith("victim_")
    assert (metric.input_size is not None) == metric.name.endswith("_224")
    assert bool(metric.needs) == metric.name.startswith("lpips_")


def test_directions_are_those_that_tables_are_read_with() -> None:
    from core.statistics.human_table import DIRECTIONS

    for name, metric in METRICS.items():
        if name in DIRECTIONS:
            assert DIRECTIONS[name] == metric.direction, name

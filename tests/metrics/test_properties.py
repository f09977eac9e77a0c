"""What holds of every metric: identity, symmetry, bounds, direction, batch independence, dtype."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage import data

from core.metrics.base import Metric
from core.metrics.registry import METRICS, directions
from core.metrics.scoring import score_pairs
from core.models.weights import WEIGHTS
from core.settings import Settings
from core.statistics.human_table import DIRECTIONS, parse_table
from tests.metrics.pairs import real_pairs

# all that AlexNet's weights allow, at a size that all of them take; vgg and squeeze are compared with lpips itself
NAMES = [n for n, m in METRICS.items() if set(m.needs) <= {"alexnet-imagenet-features"} and not (m.packages or m.lacks)]
AT_IDENTITY = {"psnr": math.inf, "psnr_registered": math.inf, "ssim": 1.0, "ssim_uniform": 1.0, "ms_ssim": 1.0}
AT_IDENTITY["haarpsi"] = 1.0
DOUBLE = ("mse", "mae", "psnr", "psnr_registered", "ssim", "ssim_uniform", "ms_ssim", "gmsd", "haarpsi")  # no network
SIZE = 176
ORIGINAL = data.astronaut()[:SIZE, 150 : 150 + SIZE]


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
        assert same[name] == pytest.approx(np.full(3, AT_IDENTITY.get(name, 0.0)), abs=1e-12), name
        if METRICS[name].symmetric:
            assert there[name] == pytest.approx(back[name], abs=1e-10 if name in DOUBLE else 1e-6), name
        assert ((low <= there[name]) & (there[name] <= high)).all(), name


def test_constants_and_extremes_stay_within_bounds(settings: Settings) -> None:
    black, white, grey = (np.full((SIZE, SIZE, 3), level, np.uint8) for level in (0, 255, 128))
    board = np.kron(np.indices((SIZE // 2, SIZE // 2)).sum(0) % 2, np.full((2, 2), 255)).astype(np.uint8)
    images = [black, white, grey, np.stack([board] * 3, 2)]
    pairs = [(x, y) for x in images for y in images]
    found = all_scores(np.stack([x for x, _ in pairs]), np.stack([y for _, y in pairs]), settings)
    same = [x is y for x, y in pairs]
    for name, scores in found.items():
        low, high = METRICS[name].bounds
        assert ((low <= scores) & (scores <= high)).all(), (name, scores)
        assert scores[same] == pytest.approx(np.full(4, AT_IDENTITY.get(name, 0.0)), abs=1e-12), name


def harmed(harm: str) -> np.ndarray:
    """Three copies of ORIGINAL, each harmed more than the one before."""
    noise = np.random.default_rng(1).normal(size=ORIGINAL.shape)
    if harm == "shift":  # as a camera would: what leaves on one side is not what comes in on the other
        return np.stack([data.astronaut()[s : s + SIZE, 150 + s : 150 + s + SIZE] for s in (1, 3, 12)])
    images = [
        ndimage.gaussian_filter(ORIGINAL.astype(float), (s, s, 0)) if harm == "blur" else ORIGINAL + 20 * s * noise
        for s in (0.5, 1.5, 4)
    ]
    return np.clip(np.rint(images), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("harm", ["blur", "noise", "shift"])
def test_direction_under_growing_harm(settings: Settings, harm: str) -> None:
    for name, found in all_scores(np.stack([ORIGINAL] * 3), harmed(harm), settings).items():
        if (name, harm) == ("psnr_registered", "shift"):
            continue  # that it does not fall is what it is for: see the next test
        steps = np.diff(found)
        less_leakage = steps < 0 if METRICS[name].direction == "higher" else steps > 0
        assert less_leakage.all(), (name, found)


@pytest.mark.parametrize(("size", "most"), [(16, 1), (31, 1), (32, 2), (64, 4), (127, 7), (128, 8), (176, 8)])
def test_a_shift_within_its_range_costs_registered_psnr_nothing(bare: Settings, size: int, most: int) -> None:
    photo = data.astronaut()[:, 150:]
    steps = ((0, 0), (0, most), (most, 0), (most, most), (most + 1, 0), (0, most + 1))
    moved = np.stack([photo[d : d + size, r : r + size] for d, r in steps])
    first = np.stack([moved[0]] * len(steps))
    there = values(score_pairs(first, moved, ["psnr_registered"], bare)["psnr_registered"])
    back = values(score_pairs(moved, first, ["psnr_registered"], bare)["psnr_registered"])
    assert (there[:4] == math.inf).all()
    assert np.isfinite(there[4:]).all()
    assert there == pytest.approx(back, abs=1e-10)
    plain = values(score_pairs(first, moved, ["psnr"], bare)["psnr"])
    assert (there >= plain).all()  # no shift is one of the shifts


def test_scores_do_not_depend_on_the_batch(settings: Settings) -> None:
    originals, reconstructions = real_pairs(64, 5)  # below the minimum of ms_ssim, which test_against_peers splits
    whole = all_scores(originals, reconstructions, settings)
    single = all_scores(originals, reconstructions, settings, batch=1)
    backwards = all_scores(originals[::-1], reconstructions[::-1], settings, batch=3)
    for name in NAMES:
        assert single[name] == pytest.approx(whole[name], abs=1e-6, nan_ok=True), name
        assert backwards[name][::-1] == pytest.approx(whole[name], abs=1e-6, nan_ok=True), name
        assert np.isnan(whole[name]).any() == (name == "ms_ssim")


def test_float32_is_close_to_float64(bare: Settings) -> None:
    originals, reconstructions = real_pairs(SIZE, 5)
    x, y = (torch.from_numpy(a / 255).permute(0, 3, 1, 2) for a in (originals, reconstructions))
    for name in DOUBLE:
        compute = METRICS[name].compute
        exact, rough = compute(x, y, None), compute(x.float(), y.float(), None)
        assert (exact.dtype, rough.dtype) == (torch.float64, torch.float32)
        assert rough.double().numpy() == pytest.approx(exact.numpy(), rel=1e-4, abs=1e-4), name


@pytest.mark.parametrize("name", [n for n, m in METRICS.items() if m.compute_bytes is not None])
@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (32, 32), (90, 31)])
def test_bytes_give_what_floats_give(name: str, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    pairs = [rng.integers(0, 256, (4, *shape, 3), dtype=np.uint8) for _ in range(2)]
    pairs[0][0], pairs[1][0] = 0, 255  # the largest error that there is
    pairs[0][1] = pairs[1][1]
    compute_bytes = METRICS[name].compute_bytes
    assert compute_bytes is not None
    found = compute_bytes(*(torch.from_numpy(images) for images in pairs))
    x, y = (torch.from_numpy(images / 255).permute(0, 3, 1, 2) for images in pairs)
    assert found.dtype == torch.float64
    assert found.numpy() == pytest.approx(METRICS[name].compute(x, y, None).numpy(), abs=1e-13)


@hypothesis_settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(16, 25), st.integers(16, 25))
def test_any_pixels_stay_within_bounds(seed: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = (torch.from_numpy(rng.integers(0, 256, (2, 3, height, width)) / 255) for _ in range(2))
    for name in (n for n in DOUBLE if n != "ms_ssim"):
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
    assert metric.diagnostic == metric.name.startswith(("victim_", "attack_"))
    resized = metric.name.rpartition("_")[2]
    assert (str(metric.input_size) if metric.input_size else "") == (resized if resized.isdecimal() else "") or (
        metric.name == "dreamsim"  # has one size only
    )
    assert set(metric.needs) <= set(WEIGHTS)


def test_directions_are_those_that_tables_are_read_with() -> None:
    expected = {name: metric.direction for name, metric in METRICS.items()}
    answers = {"config": ["a", "b"], "image_id": [1, 1], "true_class": [1, 1], "annotator_1": [1, -1]}
    frame = pd.DataFrame(answers | {name: [0.5, 0.25] for name in METRICS})
    assert parse_table(frame, directions()).directions == expected
    # published tables: what bears the name of a metric of ours is that metric, and nothing of ours stands there twice
    ours = {name: direction for name, direction in DIRECTIONS.items() if name in METRICS}
    assert ours == {name: expected[name] for name in ("mse", "psnr", "ssim", "dreamsim")}

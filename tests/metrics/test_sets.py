"""Set metrics: each statistic against an independent implementation, by hand, and on features of real pictures."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import kernel_mmd
from torch_fidelity.metric_prc import calculate_precision_recall_full
from torchmetrics.image.fid import _compute_fid
from torchmetrics.image.kid import poly_mmd

from core.errors import UserError
from core.metrics.set_features import set_features
from core.metrics.set_statistics import frechet_distance, kernel_distance, neighbours, statistics
from core.metrics.sets import SET_METRICS, look_up_set_metric, missing_for_set, set_weights_hash, warning_of
from core.models.weights import WEIGHTS, FoundWeights, find_weights
from core.settings import Settings, load_settings
from tests.filled_store import photographs

NAMES = ("fid", "kid", "precision", "recall", "density", "coverage")


def clouds(n: int, m: int, d: int, shift: float = 0.3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two correlated clouds, the second moved and narrower."""
    random = np.random.default_rng(seed)
    mixing = random.normal(size=(d, d))
    return random.normal(size=(n, d)) @ mixing, 0.8 * random.normal(size=(m, d)) @ mixing + shift


@pytest.mark.parametrize(("n", "m", "d"), [(60, 60, 8), (200, 90, 8), (9, 30, 16), (10, 12, 64), (2, 2, 3)])
def test_the_frechet_distance_is_that_of_torchmetrics_and_torch_fidelity(n: int, m: int, d: int) -> None:
    x, y = clouds(n, m, d)
    found = frechet_distance(x, y)
    mean_x, mean_y = torch.from_numpy(x.mean(0)), torch.from_numpy(y.mean(0))
    cov_x, cov_y = (torch.from_numpy(np.cov(one, rowvar=False)) for one in (x, y))
    # both take a root of Σ₁Σ₂ itself, whose eigenvalues of 0 come out as ±1e-13: a root of that is 1e-6 each
    loose = 1e-9 if min(n, m) > d else 1e-4
    assert found == pytest.approx(float(_compute_fid(mean_x, cov_x, mean_y, cov_y)), rel=loose)
    theirs = [fid_features_to_statistics(torch.from_numpy(one)) for one in (x, y)]
    assert found == pytest.approx(fid_statistics_to_metric(*theirs, verbose=False)["frechet_inception_distance"], loose)


def test_the_frechet_distance_of_normal_samples_by_hand() -> None:
    # D = 1, N = 3: {−1, 0, 1} has mean 0 and variance 1, {1, 3, 5} mean 3 and variance 4:
    # (0 − 3)² + 1 + 4 − 2 √(1 · 4) = 10
    assert frechet_distance(np.array([[-1.0], [0], [1]]), np.array([[1.0], [3], [5]])) == pytest.approx(10)
    # D = 2, uncorrelated, variances (2/3, 2/3) by (±1, 0), (0, ±1) over 3, and four times that: sum of (√a − √b)²
    cross = np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
    assert frechet_distance(cross, 2 * cross) == pytest.approx(2 * (math.sqrt(8 / 3) - math.sqrt(2 / 3)) ** 2)
    assert frechet_distance(cross, cross[::-1].copy()) == pytest.approx(0, abs=1e-12)


def test_the_frechet_distance_nears_that_of_the_distributions() -> None:
    # N(0, I) against N(0.5, 4 I) in 4 dimensions: 4 · 0.25 + 4 · (1 − 2)² = 5; 40,000 samples give it to 2 %
    random = np.random.default_rng(1)
    x, y = random.normal(size=(40_000, 4)), 0.5 + 2 * random.normal(size=(40_000, 4))
    assert frechet_distance(x, y) == pytest.approx(5, rel=0.02)


@pytest.mark.parametrize(("n", "d"), [(40, 6), (700, 32), (2, 4)])
def test_the_kernel_distance_is_that_of_torchmetrics_and_torch_fidelity(n: int, d: int) -> None:
    x, y = clouds(n, n, d)
    theirs = float(poly_mmd(torch.from_numpy(x), torch.from_numpy(y)))  # degree 3, γ = 1/D, coefficient 1
    assert kernel_distance(x, y) == pytest.approx(theirs, rel=1e-9)
    assert kernel_distance(x, y) == pytest.approx(
        float(kernel_mmd(x, y, kid_kernel="poly", kid_kernel_poly_degree=3, kid_kernel_poly_gamma=None,
                         kid_kernel_poly_coef0=1)), rel=1e-9,
    )  # fmt: skip


def test_the_kernel_distance_by_hand_and_with_unequal_numbers() -> None:
    # D = 1, k(a, b) = (ab + 1)³. x = {0, 1}: off the diagonal 2 · 1; y = {2, 0, 0}: 2 · (1 + 1 + 1) = 6;
    # across: k(0, ·) = 1, 1, 1 and k(1, ·) = 27, 1, 1: 32. 2/(2·1) + 6/(3·2) − 2 · 32/6
    assert kernel_distance(np.array([[0.0], [1]]), np.array([[2.0], [0], [0]])) == pytest.approx(1 + 1 - 64 / 6)
    draws = [kernel_distance(*np.split(np.random.default_rng(s).normal(size=(40, 3)), 2)) for s in range(200)]
    assert min(draws) < 0  # unbiased: around 0 for one distribution
    assert abs(np.mean(draws)) < 3 * np.std(draws) / math.sqrt(200)


def brute_force(x: np.ndarray, y: np.ndarray, k: int) -> dict[str, float]:
    """The definitions, point by point."""

    def radius(points: np.ndarray, place: int) -> float:
        others = [math.dist(points[place], other) for i, other in enumerate(points) if i != place]
        return sorted(others)[k - 1]

    balls = [(centre, radius(x, i)) for i, centre in enumerate(x)]
    own = [(centre, radius(y, i)) for i, centre in enumerate(y)]
    hits = [[math.dist(centre, point) <= reach for centre, reach in balls] for point in y]
    return {
        "precision": float(np.mean([any(row) for row in hits])),
        "recall": float(np.mean([any(math.dist(centre, point) <= reach for centre, reach in own) for point in x])),
        "density": float(np.mean([sum(row) for row in hits]) / k),
        "coverage": float(np.mean(np.any(hits, axis=0))),
    }


@pytest.mark.parametrize(("n", "m", "d", "k"), [(30, 30, 2, 5), (30, 17, 3, 5), (6, 6, 2, 5), (40, 25, 8, 3)])
def test_neighbours_are_those_of_a_loop_over_points_and_of_torch_fidelity(n: int, m: int, d: int, k: int) -> None:
    x, y = clouds(n, m, d, seed=n)
    found = neighbours(x, y, k=k)
    assert found == pytest.approx(brute_force(x, y, k))
    theirs = calculate_precision_recall_full(torch.from_numpy(y), torch.from_numpy(x), k)
    assert (found["precision"], found["recall"]) == pytest.approx(theirs, abs=1e-6)


def test_neighbours_by_hand_in_the_plane() -> None:
    # Originals at 0, 1, 3 on a line, k = 1: radii 1, 1, 2. Reconstructions at 1.5, 2, 9: radii 0.5, 0.5, 7.
    # 1.5 lies in the balls of 1 and of 3 (|1.5 − 3| = 1.5 ≤ 2), 2 in those of 1 (on its edge) and 3, 9 in none.
    x = np.array([[0.0, 0], [1, 0], [3, 0]])
    y = np.array([[1.5, 0], [2, 0], [9, 0]])
    # coverage: 0 has none within 1; 1 and 3 have. recall: 0 and 1 by none but 9's ball (2 … 16)? 0.5 around 1.5 holds 1
    # on its edge; 3 lies in 9's ball; 0 in none
    assert neighbours(x, y, k=1) == pytest.approx(
        {"precision": 2 / 3, "recall": 2 / 3, "density": 4 / 3, "coverage": 2 / 3}
    )


def test_equal_sets_far_sets_and_copies() -> None:
    x = np.random.default_rng(3).normal(size=(600, 5))  # more than one block of rows
    same = statistics(x, x.copy(), NAMES)
    assert same["fid"] == pytest.approx(0, abs=1e-9)
    assert (same["precision"], same["recall"], same["coverage"]) == (1, 1, 1)
    # each point lies in its own ball and in those of which it is one of the 5 nearest: 6 on average, over k = 5
    assert same["density"] == pytest.approx(6 / 5)
    far = statistics(x, x + 100, NAMES)
    assert (far["precision"], far["recall"], far["density"], far["coverage"]) == (0, 0, 0, 0)
    assert far["fid"] == pytest.approx(5 * 100**2)
    assert far["kid"] > same["kid"]
    copies = np.repeat(x[:1], 20, axis=0)  # balls of radius 0: a copy lies in them all the same
    assert neighbours(copies, copies)["precision"] == 1


def test_each_statistic_moves_as_its_direction_says() -> None:
    x, _ = clouds(200, 200, 6)
    noise, spread = np.random.default_rng(5).normal(size=x.shape), np.std(x)
    close, apart = statistics(x, x + 0.1 * spread * noise, NAMES), statistics(x, x + 4 * spread, NAMES)
    for metric in SET_METRICS.values():
        sign = 1 if metric.direction == "higher" else -1
        assert sign * close[metric.statistic] > sign * apart[metric.statistic], metric.name
        assert all(metric.bounds[0] <= v[metric.statistic] <= metric.bounds[1] for v in (close, apart))
    scattered = statistics(x, x + 2 * spread * noise, NAMES)
    assert scattered["recall"] > 0.9 > scattered["precision"]  # as its record says: wide balls cover anything


@pytest.mark.parametrize(
    ("x", "y", "match"),
    [
        (np.zeros((1, 3)), np.zeros((5, 3)), "at least 2 pictures in each set, got 1"),
        (np.zeros((5, 3)), np.zeros((5, 4)), "float64 features"),
        (np.zeros((5, 3), np.float32), np.zeros((5, 3)), "float64 features"),
        (np.full((5, 3), np.nan), np.zeros((5, 3)), "NaN or infinite"),
    ],
)
def test_features_that_cannot_be_compared_are_refused(x: np.ndarray, y: np.ndarray, match: str) -> None:
    for statistic in (frechet_distance, kernel_distance):
        with pytest.raises(ValueError, match=match):
            statistic(x, y)
    with pytest.raises(ValueError, match="at least 6 pictures"):
        neighbours(np.zeros((5, 2)), np.zeros((50, 2)))


def test_work_is_told_block_by_block() -> None:
    x = np.random.default_rng(0).normal(size=(1100, 2))
    beats: list[int] = []
    statistics(x, x, NAMES, beat=lambda: beats.append(1))
    assert len(beats) == 2 + 3 * 3 + 3 * 3  # both ends of fid; 3 kernels and 3 distances of 3 blocks each


# --- features ---------------------------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Nothing of torch's own cache, and an empty folder of weights."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "none"))
    return replace(load_settings({"SEMSIGHT_HOME": str(tmp_path)}), torch_cache=None)


def seeded_inception(settings: Settings) -> None:
    """Drawn weights in the true format: names, shapes and float32 as in the published file."""
    draw = torch.Generator().manual_seed(0)
    tensors = {}
    for name, shape in WEIGHTS["inception-fid"].shapes.items():
        tensor = torch.randn(shape, generator=draw) / math.sqrt(max(1, math.prod(shape[1:])))
        tensors[name] = tensor.abs() + 0.5 if name.endswith(("running_var", "bn.weight")) else tensor
    settings.weights.mkdir(parents=True, exist_ok=True)
    save_file(tensors, settings.weights / "inception-fid.safetensors")


def test_inception_features_are_torch_fidelitys_own(here: Settings, tmp_path: Path) -> None:
    seeded_inception(here)
    found = find_weights("inception-fid", here)
    assert isinstance(found, FoundWeights)
    pictures = np.stack(photographs(5))
    state = torch.random.get_rng_state()
    features = set_features(pictures, "inception", here)
    assert torch.equal(state, torch.random.get_rng_state())  # no draw of ours shows outside
    assert (features.shape, features.dtype) == ((5, 2048), np.float64)
    # their own class, given a file of the same tensors
    from safetensors.torch import load_file

    torch.save(load_file(found.path), tmp_path / "theirs.pth")
    theirs = FeatureExtractorInceptionV3("x", ["2048"], feature_extractor_weights_path=str(tmp_path / "theirs.pth"))
    with torch.inference_mode():
        (wanted,) = theirs(torch.from_numpy(pictures).permute(0, 3, 1, 2))
    np.testing.assert_allclose(features, wanted.numpy(), rtol=1e-4, atol=1e-5)
    assert np.ptp(wanted.numpy(), axis=0).max() > 1e-3  # they tell the pictures apart


def test_alexnet_features_are_its_layers_by_name(shared: Path) -> None:
    settings = replace(load_settings({"SEMSIGHT_WEIGHTS": str(shared / "weights")}), torch_cache=None)
    pictures = photographs(3)
    told: list[int] = []
    features = set_features(pictures, "alexnet", settings, beat=told.append)
    assert (features.shape, told) == ((3, 256), [3])
    from safetensors.torch import load_file
    from torch.nn import functional as F
    from torchvision.transforms.functional import normalize, resize

    w = load_file(shared / "weights" / "alexnet-imagenet-features.safetensors")
    x = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2) / 255
    x = normalize(resize(x, [224, 224], antialias=True), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    for place, (stride, padding, pool) in {
        0: (4, 2, True), 3: (1, 2, True), 6: (1, 1, False), 8: (1, 1, False), 10: (1, 1, False)
    }.items():  # fmt: skip
        x = F.relu(F.conv2d(x, w[f"features.{place}.weight"], w[f"features.{place}.bias"], stride, padding))
        x = F.max_pool2d(x, 3, 2) if pool else x
    np.testing.assert_allclose(features, x.mean((2, 3)).numpy(), rtol=1e-3, atol=1e-4)


def test_without_weights_there_is_a_reason_and_no_hash(here: Settings) -> None:
    for metric in SET_METRICS.values():
        assert metric.needs[0] in missing_for_set(metric, here)
        assert set_weights_hash(metric, here) == ""
    with pytest.raises(UserError, match=r"inception-fid\.safetensors"):
        set_features(np.zeros((1, 8, 8, 3), np.uint8), "inception", here)
    with pytest.raises(UserError, match="did you mean fid_alex"):
        look_up_set_metric("fid_alexx")


def test_records_are_complete_and_warn_below_their_sample() -> None:
    assert set(SET_METRICS) == {f"{name}{end}" for name in NAMES for end in ("", "_alex")}
    for metric in SET_METRICS.values():
        assert metric.kind == "set"
        assert all(text.endswith(".") and len(text) > 40 for text in (metric.sees, metric.misses))
        assert metric.least == (2 if metric.statistic in ("fid", "kid") else 6)
        assert ("not comparable with published" in metric.title) == metric.name.endswith("_alex")
        assert warning_of(metric, metric.minimum_sample) == ""
        assert f"fewer than {metric.minimum_sample:,}" in warning_of(metric, 12)
    assert SET_METRICS["fid"].minimum_sample == 2048  # as many as dimensions: a covariance of fewer is singular

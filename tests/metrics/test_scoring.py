"""What cannot be scored says why, and the rest is scored all the same."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from core.errors import UserError
from core.metrics.base import Context, Score
from core.metrics.lpips import BACKBONES, _load, network
from core.metrics.registry import METRICS, availability, default_metrics, weights_hash
from core.metrics.scoring import score_pairs
from core.settings import Settings
from tests.metrics.pairs import real_pairs


def test_faulty_pairs_get_a_reason_and_the_others_a_score(bare: Settings) -> None:
    good = np.full((16, 16, 3), 100, np.uint8)
    hole = np.full((16, 16, 3), 0.5)
    hole[3, 3, 0] = np.nan
    originals = [good, good, good, good, good, good, good.astype(np.int32), good]
    reconstructions = [
        good,
        good[:8],
        hole,
        good[:, :, :1],
        hole * 0 + 3,
        np.zeros((0, 16, 3), np.uint8),
        good,
        good[::-1],
    ]
    reconstructions[4] = np.full((16, 16, 3), 3.0)
    found = score_pairs(originals, reconstructions, ["mse"], bare)["mse"]
    assert [s.value for s in found] == [0.0, None, None, None, None, None, None, 0.0]
    words = ["16×16 pixels and the reconstruction 16×8", "NaN", "(height, width, 3), got 16×16×1", "outside [0, 1]",
             "no pixels", "int32"]  # fmt: skip
    for score, word in zip(found[1:7], words, strict=True):
        assert word in score.reason


# what an auditor's folder may hold, and the words of its reason ("" where it can be scored)
GOOD = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
PAIRS = {
    "another size": (GOOD, GOOD[:, :16], "32×32 pixels and the reconstruction 16×32"),
    "one channel": (GOOD[:, :, :1], GOOD[:, :, :1], "got 32×32×1"),
    "grey without channels": (GOOD[:, :, 0], GOOD[:, :, 0], "got 32×32"),
    "alpha": (GOOD, np.concatenate([GOOD, GOOD[:, :, :1]], 2), "the reconstruction must be (height, width, 3)"),
    "NaN": (GOOD, np.where(GOOD[0, 0, 0] == GOOD, np.nan, GOOD / 255), "NaN or infinite"),
    "infinite": (np.where(GOOD[0, 0, 0] == GOOD, np.inf, GOOD / 255), GOOD, "NaN or infinite"),
    "no pixels": (GOOD[:0], GOOD[:0], "no pixels"),
    "constant": (np.full_like(GOOD, 7), np.full_like(GOOD, 200), ""),
    "black and white": (np.zeros_like(GOOD), np.full_like(GOOD, 255), ""),
    "identical": (GOOD, GOOD, ""),
    "identical and black": (np.zeros_like(GOOD), np.zeros_like(GOOD), ""),
}


def test_every_metric_answers_every_kind_of_pair_with_a_score_or_its_reason(settings: Settings) -> None:
    names = [*default_metrics(settings), "lpips_vgg"]
    originals, reconstructions = ([pair[i] for pair in PAIRS.values()] for i in range(2))
    found = score_pairs(originals, reconstructions, names, settings)
    for name in names:
        for (kind, (_, _, words)), score in zip(PAIRS.items(), found[name], strict=True):
            expected = words or {"ms_ssim": "needs at least 176 px", "lpips_vgg": "vgg16-imagenet-features"}.get(
                name, ""
            )
            assert (score.value is None) == bool(expected), (name, kind, score)
            assert expected in score.reason, (name, kind)
    same = {name: scores[list(PAIRS).index("identical")].value for name, scores in found.items()}
    assert same["psnr"] == same["psnr_registered"] == np.inf
    assert [same["ssim"], same["haarpsi"]] == pytest.approx([1.0, 1.0], abs=1e-12)
    assert same["gmsd"] == same["lpips_alex"] == 0.0


def test_arrays_that_must_not_be_written_are_scored_and_left_alone(bare: Settings) -> None:
    frozen = np.stack([GOOD, GOOD[::-1]])
    frozen.flags.writeable = False
    before = frozen.copy()
    names = default_metrics(bare)
    whole = score_pairs(frozen, frozen[::-1], names, bare)
    assert whole == score_pairs(list(frozen), list(frozen[::-1]), names, bare)
    assert (frozen == before).all()


def test_an_array_of_faulty_images_has_the_fault_in_each_row(bare: Settings) -> None:
    found = score_pairs(np.zeros((3, 16, 16, 4), np.uint8), np.zeros((3, 16, 16, 4), np.uint8), ["mse"], bare)["mse"]
    assert [score.value for score in found] == [None] * 3
    assert "got 16×16×4" in found[2].reason
    found = score_pairs(np.zeros((2, 16, 16, 3), np.uint8), np.zeros((2, 16, 8, 3), np.uint8), ["mse"], bare)["mse"]
    assert "the reconstruction 8×16" in found[1].reason


def test_below_the_minimum_size(settings: Settings) -> None:
    small = np.zeros((1, 10, 40, 3), np.uint8)
    names = ["mse", "ssim", "ms_ssim", "gmsd", "haarpsi", "psnr_registered", "lpips_alex", "lpips_alex_224"]
    found = score_pairs(small, small, names, settings)
    assert found["gmsd"] == [Score(0.0)]
    assert found["haarpsi"] == [Score(None, "unavailable: needs at least 16 px, got 10")]
    assert found["psnr_registered"] == [Score(None, "unavailable: needs at least 16 px, got 10")]
    assert found["mse"] == [Score(0.0)]
    assert found["ssim"] == [Score(None, "unavailable: needs at least 11 px, got 10")]
    assert found["ms_ssim"] == [Score(None, "unavailable: needs at least 176 px, got 10")]
    assert found["lpips_alex"] == [Score(None, "unavailable: needs at least 31 px, got 10")]
    assert found["lpips_alex_224"][0].value == 0.0


@pytest.mark.parametrize(
    ("name", "same"),
    [("ssim", 1.0), ("ssim_uniform", 1.0), ("ms_ssim", 1.0), ("gmsd", 0.0), ("haarpsi", 1.0),
     ("psnr_registered", np.inf)],
)  # fmt: skip
def test_minimum_sizes_are_the_smallest_that_run(name: str, same: float) -> None:
    metric = METRICS[name]
    x = torch.zeros(1, 3, metric.minimum_size, metric.minimum_size, dtype=torch.float64)
    assert metric.compute(x, x, None).tolist() == pytest.approx([same])
    with pytest.raises((RuntimeError, ValueError)):
        metric.compute(x[..., 1:], x[..., 1:], None)


@pytest.mark.parametrize("backbone", BACKBONES, ids=lambda b: b.name)
def test_minimum_sizes_of_networks(settings: Settings, made_up: Settings, backbone) -> None:
    where = settings if backbone.name == "alex" else made_up
    layers, linear = network(backbone, where, "cpu")
    assert len(linear) == len(backbone.taps)

    def run(size: int) -> torch.Tensor:
        x = torch.zeros(1, 3, size, size)
        for layer in layers:
            x = layer(x)
        return x

    assert min(run(backbone.minimum_size).shape) >= 1
    with pytest.raises(RuntimeError):
        run(backbone.minimum_size - 1)


def test_missing_weights_are_a_reason_never_a_random_network(bare: Settings) -> None:
    originals, reconstructions = real_pairs(32, 5)
    found = score_pairs(originals, reconstructions, ["lpips_alex", "lpips_vgg", "psnr"], bare)
    assert all(s.value is None and "alexnet-imagenet-features" in s.reason for s in found["lpips_alex"])
    assert all(s.value is None and "vgg16-imagenet-features" in s.reason for s in found["lpips_vgg"])
    assert all(s.value is not None for s in found["psnr"])
    with pytest.raises(UserError, match="alexnet-imagenet-features"):
        METRICS["lpips_alex"].compute(torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 32, 32), Context(settings=bare))


def test_availability_and_defaults(settings: Settings, bare: Settings) -> None:
    found = availability(settings)
    assert list(found) == list(METRICS)
    assert found["psnr"] == found["lpips_alex"] == ""
    assert "vgg16-imagenet-features" in found["lpips_vgg"]
    assert "only an audit" in found["victim_prediction"]
    names = default_metrics(settings)
    assert "lpips_alex_224" in names
    assert "lpips_squeeze" not in names
    assert "victim_probability" not in names
    without_weights = ("mse", "mae", "psnr", "psnr_registered", "ssim", "ssim_uniform", "ms_ssim", "gmsd", "haarpsi")
    assert set(without_weights) <= set(default_metrics(bare))
    context = Context(victim=lambda x: x, labels=np.zeros(1, np.int64))
    assert "victim_prediction" in default_metrics(bare, context)


def test_weights_hash_names_the_weights(settings: Settings, made_up: Settings) -> None:
    assert weights_hash("psnr", settings) == ""
    alex = weights_hash("lpips_alex", settings)
    assert len(alex) == 64
    assert weights_hash("lpips_alex_224", settings) == alex
    assert weights_hash("lpips_vgg", made_up) not in (alex, weights_hash("lpips_squeeze", made_up))
    with pytest.raises(UserError, match="did you mean"):
        weights_hash("lpips_alexx", settings)
    with pytest.raises(UserError, match="vgg16-imagenet-features"):
        weights_hash("lpips_vgg", settings)


def test_building_a_network_draws_nothing(settings: Settings) -> None:
    before = torch.random.get_rng_state()
    _load.cache_clear()
    network(BACKBONES[0], settings, "cpu")
    assert torch.equal(before, torch.random.get_rng_state())


def test_unknown_metric_and_unequal_numbers(bare: Settings) -> None:
    image = np.zeros((1, 16, 16, 3), np.uint8)
    with pytest.raises(UserError, match=r"did you mean .*psnr"):
        score_pairs(image, image, ["psnrr"], bare)
    with pytest.raises(UserError, match="1 originals and 0 reconstructions"):
        score_pairs(image, image[:0], ["psnr"], bare)
    assert score_pairs(image[:0], image[:0], ["psnr"], bare) == {"psnr": []}


def test_order_survives_mixed_sizes_and_small_batches(bare: Settings) -> None:
    sizes = [16, 20, 16, 24, 20, 16]
    originals = [np.zeros((s, s, 3), np.uint8) for s in sizes]
    reconstructions = [np.full((s, s, 3), 10 * i, np.uint8) for i, s in enumerate(sizes)]
    seen: list[tuple[int, int]] = []
    found = score_pairs(originals, reconstructions, ["mae"], bare, batch=2, progress=lambda d, t: seen.append((d, t)))
    assert [s.value for s in found["mae"]] == pytest.approx([10 * i / 255 for i in range(6)])
    assert seen == [(2, 6), (3, 6), (5, 6), (6, 6)]


def test_large_images_are_scored_one_at_a_time(bare: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    most = []
    mse = METRICS["mse"].compute
    counted = replace(
        METRICS["mse"], compute=lambda x, y, c: (most.append(len(x)), mse(x, y, c))[1], compute_bytes=None
    )
    monkeypatch.setitem(METRICS, "mse", counted)
    image = np.zeros((4, 520, 520, 3), np.uint8)  # 270,400 pixels: one fits in half of 2^19, two do not
    score_pairs(image, image, ["mse"], bare)
    assert most == [1, 1, 1, 1]
    score_pairs(image[:, :32, :32], image[:, :32, :32], ["mse"], bare)
    assert most[4:] == [4]


def test_an_image_that_is_too_large_has_a_reason(bare: Settings) -> None:
    image = np.zeros((1, 4100, 4100, 3), np.uint8)
    assert "at most 16,777,216 pixels" in score_pairs(image, image, ["mse"], bare)["mse"][0].reason


def test_the_victims_own_prediction(bare: Settings) -> None:
    def victim(images: torch.Tensor) -> torch.Tensor:
        """Bright images are class 1: logit = 8 * brightness - 4."""
        assert images.dtype == torch.float32
        assert images.shape[1] == 1
        bright = images.mean((1, 2, 3))
        return torch.stack([torch.zeros_like(bright), 8 * bright - 4], 1)

    white, black = np.full((16, 16, 3), 255, np.uint8), np.zeros((16, 16, 3), np.uint8)
    context = Context(victim=victim, labels=np.array([1, 1, 0]), channels=1)
    originals, reconstructions = [black] * 3, [white, black, black]
    names = ["victim_prediction", "victim_probability"]
    found = score_pairs(originals, reconstructions, names, bare, context=context, batch=2)
    assert [s.value for s in found["victim_prediction"]] == [1.0, 0.0, 1.0]
    sure = 1 / (1 + np.exp(-4))  # softmax of (0, 4)
    assert [s.value for s in found["victim_probability"]] == pytest.approx([sure, 1 - sure, sure], abs=1e-6)
    assert all(METRICS[n].diagnostic for n in names)
    without = score_pairs(originals, reconstructions, names, bare)
    assert "only an audit" in without["victim_prediction"][0].reason
    strange = score_pairs(originals, reconstructions, names, bare, context=replace(context, labels=np.array([1, 7, 0])))
    assert "classes 0 to 1" in strange["victim_probability"][0].reason


def test_nan_from_a_metric_is_no_value(bare: Settings) -> None:
    image = np.zeros((1, 16, 16, 3), np.uint8)
    context = Context(victim=lambda x: torch.full((len(x), 2), torch.nan), labels=np.array([0]))
    found = score_pairs(image, image, ["victim_probability"], bare, context=context)
    assert found["victim_probability"] == [Score(None, "the metric is not defined for this pair")]


def test_metrics_import_without_torch() -> None:
    code = "import sys, core.metrics.registry, core.metrics.scoring; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_reversed_images_are_scored_as_any_others(bare: Settings) -> None:
    # a slice of one image out of a reversed array is contiguous, and its stride is below 0 all the same
    images = np.arange(3 * 16 * 16 * 3, dtype=np.uint8).reshape(3, 16, 16, 3)
    other = np.full((3, 16, 16, 3), 9, np.uint8)
    forwards = score_pairs(images, other, ["mae"], bare)["mae"]
    assert score_pairs(images[::-1], other, ["mae"], bare, batch=1)["mae"] == forwards[::-1]
    assert score_pairs(images[:, ::-1], other, ["mae"], bare)["mae"] == forwards

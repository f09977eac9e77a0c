"""Augmentation and mixup against loops over single images."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from core.images import policies
from core.models.training import draws
from core.models.training.feed import Feed, crop_and_flip
from core.models.training.simple import normalised
from core.models.training.stepper import loss_of
from core.models.training.transform import transformed
from tests.models.training.helpers import LENET, PLAIN, data

CPU = torch.device("cpu")


def cropped(image: np.ndarray, drawn: np.ndarray, pads: tuple[int, int]) -> np.ndarray:
    """One image (H, W, C), by hand."""
    height, width, channels = image.shape
    wide = np.zeros((height + 2 * pads[0], width + 2 * pads[1], channels), dtype=np.uint8)
    wide[pads[0] : pads[0] + height, pads[1] : pads[1] + width] = image
    part = wide[drawn[0] : drawn[0] + height, drawn[1] : drawn[1] + width]
    return part[:, ::-1] if drawn[2] else part


@pytest.mark.parametrize("shape", [(20, 32, 32, 3), (20, 16, 24, 1)])
def test_crop_and_flip_of_each_image(shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    pads = (shape[1] // 8, shape[2] // 8)
    drawn = draws.crops(3, 5, shape[0], pads)
    found = crop_and_flip(torch.from_numpy(images), torch.from_numpy(drawn), pads).numpy()
    for place in range(shape[0]):
        np.testing.assert_array_equal(found[place], cropped(images[place], drawn[place], pads))


def test_crops_take_every_place_alike() -> None:
    drawn = draws.crops(0, 0, 90_000, (4, 4))
    for column, places in ((0, 9), (1, 9), (2, 2)):
        counts = np.bincount(drawn[:, column], minlength=places)
        assert len(counts) == places
        # Binomial: five standard deviations of √(n p (1 − p)).
        spread = (90_000 / places * (1 - 1 / places)) ** 0.5
        assert np.abs(counts - 90_000 / places).max() < 5 * spread


def test_a_batch_is_cropped_then_transformed_then_normalised() -> None:
    images, labels = data()
    recipe = replace(PLAIN, augment="crop+flip", policies="3-1-7+43-18-18", seed=4)
    rows = np.array([5, 2, 9])
    batch = Feed(LENET, images, labels, recipe, CPU).batch(rows, 11)
    drawn = draws.crops(4, 11, 3, (1, 1))
    which, signs = draws.policy_draws(4, 11, 3, 2, 3)
    expected = []
    for place, row in enumerate(rows):
        image = Image.fromarray(np.ascontiguousarray(cropped(images[row], drawn[place], (1, 1))))
        for position, number in enumerate([[3, 1, 7], [43, 18, 18]][which[place]]):
            image = policies.transform_signed(image, number, int(signs[place, position]))
        expected.append(np.asarray(image))
    assert torch.equal(batch.images, normalised(LENET, np.stack(expected)))
    assert batch.labels.tolist() == labels[rows].tolist()


@pytest.mark.parametrize("channels", [1, 3])
def test_every_transformation_of_a_batch_is_that_of_the_image(channels: int) -> None:
    images = np.random.default_rng(1).integers(0, 256, (6, 32, 32, channels), dtype=np.uint8)
    images[0], images[1, :, :, :] = 77, images[1] // 3  # one colour; a narrow range
    signs = np.array([[1], [-1], [1], [-1], [1], [-1]])
    for number in range(50):
        found = transformed(torch.from_numpy(images), [[number]], np.zeros(6, dtype=np.int64), signs)
        for place in range(6):
            image = Image.fromarray(images[place] if channels == 3 else images[place, ..., 0])
            expected = np.asarray(policies.transform_signed(image, number, int(signs[place, 0])))
            np.testing.assert_array_equal(found[place], expected.reshape(32, 32, channels), str(policies.LIST[number]))


def test_mixup_by_hand() -> None:
    images, labels = data()
    rows = np.arange(6)
    recipe = replace(PLAIN, mixup=0.7, seed=2)
    plain = Feed(LENET, images, labels, PLAIN, CPU).batch(rows, 3).images
    batch = Feed(LENET, images, labels, recipe, CPU).batch(rows, 3)
    share, partners = draws.mixup_draws(2, 3, 6, 0.7)
    assert 0 < share < 1
    torch.testing.assert_close(batch.images, share * plain + (1 - share) * plain[partners])
    # The loss is the cross entropy with the blended targets (arXiv 1710.09412, equation 2).
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    hot = F.one_hot(torch.from_numpy(labels[rows]), 4).double()
    targets = share * hot + (1 - share) * hot[partners]
    expected = -(targets * logits.double().log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(loss_of(logits.double(), batch, 0.0), expected)


def test_mixup_draws_its_shares_from_a_beta() -> None:
    # Beta(α, α) has mean 1/2 and variance 1 / (4 (2α + 1)).
    found = np.array([draws.mixup_draws(0, step, 2, 0.5)[0] for step in range(4000)])
    assert found.mean() == pytest.approx(0.5, abs=5 * (0.125 / 4000) ** 0.5)
    assert found.var() == pytest.approx(1 / 8, rel=0.1)


def test_an_epoch_takes_each_image_once_in_another_order() -> None:
    first, second = draws.order(0, 0, 50), draws.order(0, 1, 50)
    assert sorted(first) == sorted(second) == list(range(50))
    assert first.tolist() != second.tolist()
    assert first.tolist() == draws.order(0, 0, 50).tolist()


def test_poisson_sampling_takes_each_image_at_its_rate() -> None:
    counts = [len(draws.poisson(0, step, 100, 0.1)) for step in range(2000)]
    # Binomial(100, 0.1): mean 10, variance 9.
    assert np.mean(counts) == pytest.approx(10, abs=5 * 3 / 2000**0.5)
    assert np.var(counts) == pytest.approx(9, rel=0.15)

"""Defences on pictures and labels: by hand, alike whoever is beside a picture, and before anything is stored."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from core.commands.audit_run import attack_and_score
from core.images import policies as ats
from core.images.picture import Prepared
from core.jobs.compose import AttackRequest, defend, submit_attack
from core.leakage.defences.pictures import defended
from core.leakage.threat import ChosenDefence, ThreatModel
from core.leakage.victim import normalise, observe
from core.models.build import build_model
from core.models.spec import ModelSpec
from core.settings import load_settings
from core.storage import schema
from core.storage.store import open_store

MLP = ModelSpec("mlp", 3, channels=1, height=8, width=8, mean=(0.5,), std=(0.25,), arguments={"hidden": [6]})


def pictures(count: int, channels: int = 3, size: int = 12) -> tuple[Prepared, ...]:
    random = np.random.default_rng(3)
    pixels = random.integers(0, 256, (count, size, size, channels)).astype(np.uint8)
    return tuple(
        Prepared(f"p{i}", image, np.zeros((5, 5, 3), np.uint8), i % 3, "drawn") for i, image in enumerate(pixels)
    )


def threat(name: str, images: int = 1, clients: int = 1, **values: object) -> ThreatModel:
    return ThreatModel(images, clients=clients, defences=(ChosenDefence(name, dict(values)),))


class Fixed:
    """Draws that are always the same: 0 means +, 1 means −."""

    def __init__(self, value: float) -> None:
        self.random = lambda: value


def grid(size: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (size, size, 3)).astype(np.uint8)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_policy_3_1_7_by_hand(sign: int) -> None:
    """translateX by 150/331 of the side, contrast by 1 ± 1/3, translateY by 2/9 of that shift."""
    pixels, draw = grid(32), Fixed(0.0 if sign == 1 else 1.0)
    found = np.asarray(ats.transform(Image.fromarray(pixels), 3, draw))  # type: ignore[arg-type]
    columns = np.floor(np.arange(32) + 0.5 + sign * 32 * 150 / 331).astype(int)  # the source pixel of each
    inside = (columns >= 0) & (columns < 32)
    np.testing.assert_array_equal(found, np.where(inside[None, :, None], pixels[:, columns.clip(0, 31)], 0))
    assert (~inside).sum() == 14 or (~inside).sum() == 15

    bright = np.asarray(ats.transform(Image.fromarray(pixels), 1, draw)).astype(float)  # type: ignore[arg-type]
    luma = pixels @ np.array([0.299, 0.587, 0.114])
    factor = 1 + sign / 3
    wanted = (luma.mean() + factor * (pixels - luma.mean())).clip(0, 255)
    assert np.abs(bright - wanted).max() <= 2  # Pillow rounds the mean and the result

    down = np.asarray(ats.transform(Image.fromarray(pixels), 7, draw))  # type: ignore[arg-type]
    rows = np.floor(np.arange(32) + 0.5 + sign * 32 * 150 / 331 * 2 / 9).astype(int)
    inside = (rows >= 0) & (rows < 32)
    np.testing.assert_array_equal(down, np.where(inside[:, None, None], pixels[rows.clip(0, 31)], 0))


def test_the_studys_policies_are_what_the_reference_says() -> None:
    assert [ats.LIST[n] for n in (3, 1, 7)] == [("translateX", 9), ("contrast", 6), ("translateY", 2)]
    assert [ats.LIST[n] for n in (43, 18, 18)] == [("translateY", 3), ("contrast", 7), ("contrast", 7)]
    assert len(ats.LIST) == 50
    assert ats.parse("3-1-7+43-18-18") == [[3, 1, 7], [43, 18, 18]]


@pytest.mark.parametrize("channels", [1, 3])
def test_every_transformation_keeps_the_shape(channels: int) -> None:
    for number in range(len(ats.LIST)):
        image = pictures(1, channels)
        (found,) = defended(image, threat("ats", policy=str(number)), seed=0)
        assert found.original.shape == image[0].original.shape, ats.LIST[number]
        assert found.original.dtype == np.uint8


def test_transformations_without_a_magnitude_by_hand() -> None:
    pixels = grid(8)
    image, draw = Image.fromarray(pixels), Fixed(0.0)
    wanted = {
        0: 255 - pixels,
        28: pixels,
        37: np.where(pixels < 256 * 5 / 9, pixels, 255 - pixels),
        11: pixels & 0b11111100,
    }
    for number, by_hand in wanted.items():  # invert; solarize above 256, above 142.2; posterize to 6 bits
        np.testing.assert_array_equal(np.asarray(ats.transform(image, number, draw)), by_hand)  # type: ignore[arg-type]


def test_with_a_plus_each_picture_draws_its_policy() -> None:
    images = pictures(40)
    found = defended(images, threat("ats", policy="0+28"), seed=1)  # invert, or solarize above 256: nothing
    inverted = [np.array_equal(new.original, 255 - old.original) for new, old in zip(found, images, strict=True)]
    same = [np.array_equal(new.original, old.original) for new, old in zip(found, images, strict=True)]
    assert all(a != b for a, b in zip(inverted, same, strict=True))
    assert 8 < sum(inverted) < 32


def test_crop_and_flip_shows_a_window_of_the_padded_picture() -> None:
    images = pictures(30)
    places, flips = set(), 0
    for new, old in zip(defended(images, threat("crop-flip", padding=2), seed=0), images, strict=True):
        wide = np.pad(old.original, ((2, 2), (2, 2), (0, 0)))
        hits = [
            (top, left, flip)
            for top in range(5)
            for left in range(5)
            for flip in (False, True)
            if np.array_equal(new.original[:, ::-1] if flip else new.original, wide[top : top + 12, left : left + 12])
        ]
        assert len(hits) == 1
        places.add(hits[0][:2])
        flips += hits[0][2]
    assert len(places) > 10
    assert 5 < flips < 25


@pytest.mark.parametrize("name", ["ats", "crop-flip"])
def test_a_picture_is_changed_alike_whoever_is_beside_it(name: str) -> None:
    images = pictures(4)
    whole = defended(images, threat(name, 4), seed=2)
    turned = defended(images[::-1], threat(name, 2), seed=2)[::-1]
    for one, other, before in zip(whole, turned, images, strict=True):
        np.testing.assert_array_equal(one.original, other.original)
        assert one.source is before.source
        assert (one.name, one.label) == (before.name, before.label)
    other_seed = defended(images, threat(name, 4), seed=3)
    assert any((a.original != b.original).any() for a, b in zip(whole, other_seed, strict=True))
    assert defended(images, ThreatModel(4), seed=2) == images


def test_mixup_mixes_pictures_and_labels_of_one_client() -> None:
    images = pictures(4, channels=1, size=8)
    mixed = defended(images, threat("mixup", 4, clients=2, weight=0.75), seed=0)
    pixels = [image.original.astype(float) for image in images]
    for place, partner in enumerate([1, 0, 3, 2]):
        wanted = 0.75 * pixels[place] + 0.25 * pixels[partner]
        assert np.abs(mixed[place].original - wanted).max() <= 0.5
    shown = torch.from_numpy(np.stack([image.original for image in mixed])).permute(0, 3, 1, 2)[None].float() / 255
    labels = torch.tensor([[0, 1, 2, 2]])
    model = build_model(MLP)
    found, facts = observe(model, MLP, shown, labels, threat("mixup", 4, clients=2, weight=0.75))
    logits = model(normalise(shown[0], MLP))
    partners = labels[0, [1, 0, 3, 2]]
    loss = 0.75 * F.cross_entropy(logits, labels[0]) + 0.25 * F.cross_entropy(logits, partners)
    wanted_gradients = torch.autograd.grad(loss, list(model.parameters()))
    for ours, right in zip(found.gradients.values(), wanted_gradients, strict=True):
        torch.testing.assert_close(ours[0], right, rtol=1e-4, atol=1e-6)
    assert facts.loss[0] == pytest.approx(float(loss.detach()), rel=1e-5)


def test_label_smoothing_is_torchs() -> None:
    images, labels = torch.rand(1, 2, 1, 8, 8), torch.tensor([[2, 0]])
    model = build_model(MLP)
    found, _ = observe(model, MLP, images, labels, threat("label-smoothing", 2, share=0.2))
    loss = F.cross_entropy(model(normalise(images[0], MLP)), labels[0], label_smoothing=0.2)
    for ours, right in zip(found.gradients.values(), torch.autograd.grad(loss, list(model.parameters())), strict=True):
        torch.testing.assert_close(ours[0], right, rtol=1e-4, atol=1e-6)


def test_the_changed_picture_is_the_original_that_is_stored_and_attacked(home: Path) -> None:
    images = pictures(2, channels=1, size=8)
    chosen = threat("ats", policy="0")  # inverted
    request = AttackRequest(
        MLP, "mlp", None, "own", images, "dlg", {"iterations": 1, "restarts": 1}, chosen, controls=0
    )
    store = open_store(load_settings())
    first, again = submit_attack(store, request), submit_attack(store, request)
    assert again.already
    assert again.job_id == first.job_id
    with store.database.read() as connection:
        rows = connection.execute(schema.originals.select().order_by(schema.originals.c.id)).all()
    for row, image in zip(rows, images, strict=True):
        np.testing.assert_array_equal(store.artifacts.read_png(row.image_sha)[..., :1], 255 - image.original)
        np.testing.assert_array_equal(store.artifacts.read_png(row.source_sha), image.source)
    result = attack_and_score(request)  # the command line's way, without a store
    for audited, image in zip([row for row in result.rows if row.role == "attack"], images, strict=True):
        np.testing.assert_array_equal(audited.original, 255 - image.original)
    assert result.payload["threat"]["defences"] == [{"name": "ats", "settings": {"policy": "0"}}] or (
        result.payload["threat"]["defences"][0]["settings"] == {"policy": "0"}
    )
    assert (defend(request).prepared[0].original == 255 - images[0].original).all()

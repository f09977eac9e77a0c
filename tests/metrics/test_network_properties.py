"""What test_properties asks of every metric, of those whose trained weights are not here: on seeded ones of the true
shapes. Identity, symmetry, bounds, order and batch are properties of the code; that a growing harm moves the score the
right way holds of such networks as well, and would not if a direction or a side were exchanged."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.metrics.registry import METRICS
from core.metrics.scoring import score_pairs
from core.settings import Settings
from tests.metrics.pairs import real_pairs
from tests.metrics.test_properties import NAMES, ORIGINAL, harmed, values
from tests.metrics.test_vit import drawn  # noqa: F401 (a fixture)

# judges and diagnostics need more than two pictures, and DreamSim its package: they have tests of their own
NETWORKS = [n for n, m in METRICS.items() if m.needs and n not in NAMES]
PLACE = slice(40, 104)  # of the astronaut's crop: the face


@pytest.fixture
def seeded(made_up: Settings, drawn: Path, tmp_path: Path) -> Settings:  # noqa: F811
    """VGG, SqueezeNet, DINO and CLIP in one folder."""
    folder = tmp_path / "all"
    folder.mkdir()
    for source in (made_up.weights, drawn):
        for file in source.iterdir():
            (folder / file.name).symlink_to(file)
    return replace(made_up, weights=folder)


def scores(originals: np.ndarray, others: np.ndarray, settings: Settings, **more: int) -> dict[str, np.ndarray]:
    return {n: values(s) for n, s in score_pairs(originals, others, NETWORKS, settings, **more).items()}


def test_all_families_are_here() -> None:
    for family in ("lpips_vgg", "lpips_squeeze", "lpips_vgg_224", "dists", "dists_256", "dino_vits16_224"):
        assert family in NETWORKS
    assert "clip_vitb32_224" in NETWORKS


def test_identity_symmetry_bounds_order_and_batch(seeded: Settings) -> None:
    originals, others = (images[:2] for images in real_pairs(64, 5))
    left = np.stack([originals[0], originals[1], originals[0], others[0]])
    right = np.stack([originals[0], originals[1], others[0], originals[0]])
    whole = scores(left, right, seeded)
    backwards = scores(left[::-1], right[::-1], seeded, batch=3)
    for name, found in whole.items():
        low, high = METRICS[name].bounds
        assert found[:2] == pytest.approx([0.0, 0.0], abs=1e-6), name
        assert METRICS[name].symmetric
        assert found[2] == pytest.approx(found[3], abs=1e-5), name
        assert found[2] > 1e-4, name
        assert ((low <= found) & (found <= high)).all(), name
        assert backwards[name][::-1] == pytest.approx(found, abs=1e-5), name


@pytest.mark.parametrize("harm", ["blur", "noise", "shift"])
def test_direction_under_growing_harm(seeded: Settings, harm: str) -> None:
    originals = np.stack([ORIGINAL[PLACE, PLACE]] * 3)
    for name, found in scores(originals, harmed(harm)[:, PLACE, PLACE], seeded).items():
        steps = np.diff(found)
        less_leakage = steps < 0 if METRICS[name].direction == "higher" else steps > 0
        assert less_leakage.all(), (name, found)

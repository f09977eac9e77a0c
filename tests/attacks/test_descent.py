"""The attacks on the descent: their easy case above a wrong gradient, and the promises that every one of them keeps."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from core.attacks import ATTACKS, configure
from core.attacks.base import AttackCancelled
from core.attacks.descent import Descent
from core.attacks.engine import set_up
from core.attacks.recipe import Recipe
from core.attacks.starts import first_images, noise_keys
from core.errors import UserError
from core.images.load import load_images
from core.leakage.controls import mismatched
from core.leakage.observation import Observation
from core.leakage.threat import ThreatModel
from core.leakage.victim import observe
from core.models.build import build_model
from core.models.spec import ModelSpec
from tests.attacks.conftest import LENET, Listener

CONVNET = ModelSpec("convnet", 4, height=9, width=9, arguments={"base": 8}, mean=(0.47, 0.45, 0.4), std=(0.25,) * 3)
LENET_12 = replace(LENET, height=12, width=12)


def crops(spec: ModelSpec, updates: int) -> tuple[Observation, np.ndarray]:
    """Updates of one photograph each, and their originals (N, H, W, C) in [0, 1]. BatchNorm has seen 16 of them."""
    pictures = np.stack([picture.original for picture in load_images("photos", spec=spec, limit=16)])
    images = torch.from_numpy(pictures).movedim(-1, 1).float() / 255
    mean, std = (torch.tensor(values)[:, None, None] for values in (spec.mean, spec.std))
    model = build_model(spec).train()
    with torch.no_grad():
        for _ in range(30):
            model((images - mean) / std)
    labels = torch.arange(updates)[:, None] % spec.num_classes
    observation, _ = observe(model.eval(), spec, images[:updates, None], labels, ThreatModel())
    return observation, pictures[:updates] / 255


def psnr(name: str, observation: Observation, originals: np.ndarray, **settings: object) -> float:
    """Mean of the chosen restarts."""
    found = ATTACKS[name].reconstruct(observation, configure(name, settings), seed=0)
    assert set(found.status) == {"ok"}
    images = found.images[np.arange(len(originals)), found.chosen, 0] / 255
    return float((-10 * np.log10(((images - originals) ** 2).mean((1, 2, 3)))).mean())


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("inverting-gradients", {}),
        ("inverting-gradients", {"cost": "cosine-layers"}),
        ("inverting-gradients", {"cost": "l1", "signed": False}),
        ("gradinversion", {"batchnorm": 0}),
        ("gradinversion-paper", {"batchnorm": 0, "restarts": 1, "matching": 1.0}),
        ("huang-bn", {"batchnorm": 0}),
        ("cpl-sapag", {}),
        ("cpl-sapag", {"cost": "sapag"}),
        ("modern", {}),
        ("modern", {"cost": "cosine-masked"}),
    ],
)
def test_the_easy_case_is_far_above_a_wrong_gradient(name: str, settings: dict[str, object]) -> None:
    observation, originals = crops(LENET_12, 2)
    wrong = mismatched(observation, observation.select([1, 0]))
    settings = {"steps": 150, **settings}
    assert psnr(name, observation, originals, **settings) > psnr(name, wrong, originals, **settings) + 5


def test_with_batchnorm_a_narrow_convnet_still_leaks() -> None:
    observation, originals = crops(CONVNET, 2)
    wrong = mismatched(observation, observation.select([1, 0]))
    settings = {"steps": 120, "restarts": 1}
    right = psnr("gradinversion", observation, originals, **settings)
    assert right > psnr("gradinversion", wrong, originals, **settings) + 1.2


def test_restarts_in_a_group_agree(make) -> None:  # type: ignore[no-untyped-def]
    observation, _, _ = make(LENET, 2)
    spread = []
    for weight in (0.0, 100.0):
        asked = {"steps": 40, "restarts": 3, "batchnorm": 0, "matching": 0, "consistency": weight, "langevin": 0}
        found = ATTACKS["gradinversion"].reconstruct(observation, configure("gradinversion", asked), seed=0)
        spread.append(found.images.astype(float).std(axis=1).mean(axis=(1, 2, 3, 4)))
    assert (spread[1] < 0.6 * spread[0]).all()


def test_a_target_does_not_depend_on_its_shard(make) -> None:  # type: ignore[no-untyped-def]
    observation, _, _ = make(LENET, 3)
    config = configure("gradinversion-paper", {"steps": 10, "restarts": 2, "batchnorm": 0, "langevin": 0.5})
    attack = ATTACKS["gradinversion-paper"]
    whole = attack.reconstruct(observation, config, seed=1, targets=[3, 5, 9])
    alone = attack.reconstruct(observation.select([1]), config, seed=1, targets=[5])
    assert np.abs(whole.images[1].astype(int) - alone.images[0].astype(int)).max() <= 1
    assert whole.losses[1] == pytest.approx(alone.losses[0], rel=1e-3)
    other = attack.reconstruct(observation.select([1]), config, seed=1, targets=[6])
    assert np.abs(whole.images[1].astype(int) - other.images[0].astype(int)).max() > 20


def test_a_resumed_run_gives_the_same_bytes(make) -> None:  # type: ignore[no-untyped-def]
    observation, _, _ = make(LENET, 2)
    settings = {"steps": 24, "restarts": 2, "batchnorm": 0, "patience": 2, "gain": 0.2, "consistency_from": 0}
    config, attack = configure("gradinversion", settings), ATTACKS["gradinversion"]
    straight = attack.reconstruct(observation, config, seed=1)
    listener = Listener(every=10, stop=10)
    with pytest.raises(AttackCancelled):
        attack.reconstruct(observation, config, seed=1, progress=listener)
    again = attack.reconstruct(observation, config, seed=1, progress=Listener(resume=listener.checkpoints[-1][1]))
    assert again.images.tobytes() == straight.images.tobytes()
    assert again.losses.tobytes() == straight.losses.tobytes()
    assert again.iterations.tolist() == straight.iterations.tolist()
    with pytest.raises(UserError, match="another attack, seed or update"):
        attack.reconstruct(observation, config, seed=2, progress=Listener(resume=listener.checkpoints[-1][1]))


def test_converged_targets_retire_and_lose_nothing() -> None:
    observation, originals = crops(LENET_12, 2)
    found = [
        ATTACKS["inverting-gradients"].reconstruct(
            observation, configure("inverting-gradients", {"steps": 500, "patience": patience}), seed=0
        )
        for patience in (0, 30)
    ]
    assert found[0].iterations.tolist() == [[500], [500]]
    assert 0 < found[1].record["converged_early"] == int((found[1].iterations < 500).sum())
    whole, early = (10 * np.log10(((one.images[:, 0, 0] / 255 - originals) ** 2).mean((1, 2, 3))) for one in found)
    assert (early < whole + 1).all()  # at most 1 dB of error more


def test_a_target_that_is_not_finite_harms_no_other(make) -> None:  # type: ignore[no-untyped-def]
    observation, _, _ = make(LENET, 3)
    broken = {name: value.clone() for name, value in observation.gradients.items()}
    for value in broken.values():
        value[1] = torch.nan
    config = configure("modern", {"steps": 8, "restarts": 2})
    found = ATTACKS["modern"].reconstruct(replace(observation, gradients=broken), config, seed=0)
    assert found.status == ("ok", "diverged: loss is not finite", "ok")
    assert found.iterations.tolist() == [[8, 8], [1, 1], [8, 8]]
    whole = ATTACKS["modern"].reconstruct(observation, config, seed=0)
    for target in (0, 2):
        assert np.abs(found.images[target].astype(int) - whole.images[target].astype(int)).max() <= 1


def test_a_run_of_nothing_but_broken_targets_ends(make) -> None:  # type: ignore[no-untyped-def]
    observation, _, _ = make(LENET, 1)
    broken = {name: torch.full_like(value, torch.nan) for name, value in observation.gradients.items()}
    listener = Listener()
    found = ATTACKS["cpl-sapag"].reconstruct(
        replace(observation, gradients=broken), configure("cpl-sapag", {"steps": 50}), seed=0, progress=listener
    )
    assert found.status == ("diverged: loss is not finite",)
    assert [step[:2] for step in listener.steps] == [(50, 50)]


def test_the_best_image_is_kept_and_the_best_match_is_chosen(make) -> None:  # type: ignore[no-untyped-def]
    observation, _, labels = make(LENET, 2)
    problems = set_up(observation, 2)
    asked = Recipe(restarts=2, steps=12, lr=1.0, schedule="none", keep="best", total_variation=0.5)
    descent = Descent(problems, asked, labels, noise_keys(0, [0, 1], 2))
    descent.begin(first_images(problems, asked, 0, [0, 1]))
    losses, images = [], []
    for step in range(12):
        images.append(descent.image.clone())
        descent.step(step)
        losses.append(descent.losses.clone())
    images.append(descent.image.clone())
    final, match = descent.finish()
    rows = torch.arange(4)
    losses.append(descent.objective(images[-1], rows).detach())
    best = torch.stack(losses).argmin(0)
    assert best.min() < 12  # else the last would do
    assert torch.equal(descent.image, torch.stack(images)[best, rows])
    assert final.tolist() == pytest.approx(torch.stack(losses).amin(0).tolist(), rel=1e-4)
    assert match.tolist() == pytest.approx(descent.match(descent.image, rows).tolist(), rel=1e-4)


def test_batches_and_weight_updates_are_taken(make) -> None:  # type: ignore[no-untyped-def]
    threat = ThreatModel(batch_size=4, labels="inferred", update="weights", local_epochs=2, local_batch=2)
    observation, _, _ = make(LENET, 1, threat)
    for name in ("gradinversion", "huang-bn", "cpl-sapag", "modern", "inverting-gradients"):
        off = {"batchnorm": 0} if hasattr(ATTACKS[name].config, "batchnorm") else {}
        found = ATTACKS[name].reconstruct(observation, configure(name, {"steps": 2, **off}), seed=0)
        assert found.images.shape[2:] == (4, 8, 8, 3)
        assert ATTACKS[name].max_batch == 128
        assert found.status == ("ok",)


def test_a_model_of_one_class_has_no_gradient_to_match(make) -> None:  # type: ignore[no-untyped-def]
    """The catalogue refuses to build one; an observation that comes from elsewhere is refused as well."""
    observation, _, _ = make(LENET, 1)
    single = replace(observation, spec=replace(LENET, num_classes=1))
    with pytest.raises(UserError, match="needs 2 to"):
        ATTACKS["modern"].reconstruct(single, configure("modern", {"steps": 1}), seed=0)


def test_images_smaller_than_the_kernel_are_refused(make) -> None:  # type: ignore[no-untyped-def]
    observation, _, _ = make(LENET, 1)
    small = replace(observation, spec=replace(LENET, height=3, width=3))
    with pytest.raises(UserError, match="needs images of at least 4×4 pixels, not 3×3"):
        ATTACKS["gradinversion"].reconstruct(small, configure("gradinversion", {"steps": 1}), seed=0)

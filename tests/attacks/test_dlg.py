"""DLG and iDLG: exact recovery on small models, seeds, shards, divergence, cancel and resume."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from core.attacks import ATTACKS, configure
from core.attacks.base import AttackCancelled
from core.attacks.engine import CHECKPOINT_VERSION, identity
from core.errors import UserError
from core.leakage.controls import prior_alone
from core.leakage.threat import ThreatModel
from core.leakage.victim import observe_nothing
from core.leakage.wire import OtherVersion, pack, unpack
from core.models.build import build_model
from core.models.spec import ModelSpec
from tests.attacks.conftest import LENET, Listener

# The first layer's ∇W = δ xᵀ and ∇b = δ, so ∇W / ∇b is the image: whoever matches the gradient has it exactly.
LINEAR = ModelSpec("mlp", 4, height=6, width=6, arguments={"hidden": [16]})


def _psnr(one: np.ndarray, other: np.ndarray) -> float:
    error = ((one.astype(float) - other.astype(float)) ** 2).mean() / 255**2
    return float(-10 * np.log10(max(error, 1e-10)))


@pytest.mark.parametrize("name", ["dlg", "idlg"])
def test_an_image_that_is_known_analytically_comes_back(make, name: str) -> None:  # type: ignore[no-untyped-def]
    observation, originals, labels = make(LINEAR, 3)
    config = configure(name, {"tolerance": 1e-11, "iterations": 300})
    found = ATTACKS[name].reconstruct(observation, config, seed=0)
    chosen = found.images[np.arange(3), found.chosen]
    assert int(np.abs(chosen.astype(int) - originals.astype(int)).max()) <= 1
    assert np.array_equal(found.labels[np.arange(3), found.chosen], labels.numpy())
    assert found.images.shape == (3, config.restarts, 1, 6, 6, 3)
    assert found.status == ("ok", "ok", "ok")
    assert found.record["gradients"] == "shared weights, batched products"


def test_lenet_is_reconstructed_and_the_label_with_it(make) -> None:  # type: ignore[no-untyped-def]
    observation, originals, labels = make(LENET, 2, ThreatModel(labels="inferred"))
    found = ATTACKS["dlg"].reconstruct(observation, configure("dlg", {"iterations": 400}), seed=0)
    assert found.record["labels"] == "optimised"
    for n in range(2):
        assert _psnr(found.images[n, found.chosen[n]], originals[n]) > 30
        assert found.labels[n, found.chosen[n], 0] == labels[n, 0]


def test_a_batch_comes_back_in_some_order(make) -> None:  # type: ignore[no-untyped-def]
    from core.leakage.pairing import pair_batches

    observation, originals, _ = make(LENET, 1, ThreatModel(batch_size=2))
    found = ATTACKS["dlg"].reconstruct(observation, configure("dlg", {"iterations": 600, "restarts": 3}), seed=0)
    pairing = pair_batches(originals, found.images)
    assert float(-10 * np.log10(pairing.costs[0, found.chosen[0]].max())) > 25


@pytest.mark.parametrize("name", ["dlg", "idlg", "dlg-paper", "idlg-paper"])
def test_same_seed_same_bytes_and_another_start_otherwise(make, name: str) -> None:  # type: ignore[no-untyped-def]
    observation, _, _ = make(LENET, 2)
    config = configure(name, {"steps": 1} if "paper" in name else {"iterations": 10})
    runs = [ATTACKS[name].reconstruct(observation, config, seed=seed).images for seed in (5, 5, 6)]
    assert np.array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


def test_a_target_does_not_depend_on_its_shard(make) -> None:  # type: ignore[no-untyped-def]
    observation, _, _ = make(LENET, 3)
    config = configure("dlg", {"iterations": 25})
    whole = ATTACKS["dlg"].reconstruct(observation, config, seed=1)
    part = ATTACKS["dlg"].reconstruct(observation.select([2]), config, seed=1, targets=[2])
    # equal but for rounding, which 25 iterations amplify to at most one grey level here
    assert int(np.abs(whole.images[2].astype(int) - part.images[0].astype(int)).max()) <= 1
    assert np.allclose(whole.losses[2], part.losses[0], rtol=1e-2)


def test_the_prior_alone_is_the_start_whatever_the_gradient(make) -> None:  # type: ignore[no-untyped-def]
    observation, _, _ = make(LENET, 2)
    config = prior_alone(configure("dlg", {}))
    assert config.matching == 0
    one = ATTACKS["dlg"].reconstruct(observation, config, seed=0)
    silent = replace(observation, gradients={k: torch.zeros_like(v) for k, v in observation.gradients.items()})
    assert np.array_equal(one.images, ATTACKS["dlg"].reconstruct(silent, config, seed=0).images)
    assert abs(float(one.images.mean()) - 127.5) < 3  # grey with noise of 1 %


def test_a_diverged_target_harms_no_other(make) -> None:  # type: ignore[no-untyped-def]
    observation, _, _ = make(LENET, 2)
    broken = {k: v.clone() for k, v in observation.gradients.items()}
    broken["head.bias"][0] = torch.nan
    config = configure("dlg", {"iterations": 20})
    found = ATTACKS["dlg"].reconstruct(replace(observation, gradients=broken), config, seed=0)
    alone = ATTACKS["dlg"].reconstruct(observation.select([1]), config, seed=0, targets=[1])
    assert found.status[0] == "diverged: loss is not finite"
    assert not found.status[1].startswith("diverged")
    assert int(np.abs(found.images[1].astype(int) - alone.images[0].astype(int)).max()) <= 1


@pytest.mark.parametrize("name", ["dlg", "dlg-paper"])
@pytest.mark.parametrize("stop", [7, 33])
def test_resuming_gives_the_same_bytes(make, name: str, stop: int) -> None:  # type: ignore[no-untyped-def]
    observation, _, _ = make(LENET, 2)
    config = configure(name, {"steps": 3} if name == "dlg-paper" else {"iterations": 60, "trial": 20, "history": 8})
    straight = ATTACKS[name].reconstruct(observation, config, seed=3)
    listener = Listener(every=stop, stop=stop)
    with pytest.raises(AttackCancelled):
        ATTACKS[name].reconstruct(observation, config, seed=3, progress=listener)
    done, state = listener.checkpoints[-1]
    assert done == stop
    later = Listener(resume=state)
    resumed = ATTACKS[name].reconstruct(observation, config, seed=3, progress=later)
    assert later.steps[0][0] == stop + 1
    assert resumed.images.tobytes() == straight.images.tobytes()
    assert resumed.losses.tobytes() == straight.losses.tobytes()
    assert np.array_equal(resumed.iterations, straight.iterations)


def test_a_checkpoint_of_another_run_is_refused(make) -> None:  # type: ignore[no-untyped-def]
    observation, _, _ = make(LENET, 2)
    config = configure("dlg", {"iterations": 20})
    listener = Listener(every=5)
    ATTACKS["dlg"].reconstruct(observation, config, seed=3, progress=listener)
    state = listener.checkpoints[0][1]
    with pytest.raises(UserError, match="another attack, seed or update"):
        ATTACKS["dlg"].reconstruct(observation, config, seed=4, progress=Listener(resume=state))
    with pytest.raises(UserError, match="checkpoint"):
        ATTACKS["dlg"].reconstruct(observation, config, seed=3, progress=Listener(resume=b"junk"))


@pytest.mark.parametrize("name", ["dlg", "inverting-gradients", "mi-face"])
def test_a_checkpoint_of_another_version_is_none(make, name: str) -> None:  # type: ignore[no-untyped-def]
    """The run begins at its first step, ends as if it had none, and says so; an earlier identity is not looked at."""
    observation, _, labels = make(LENET, 2)
    if name == "mi-face":
        observation = observe_nothing(build_model(LENET), LENET, labels, ThreatModel(update="none"))
    config = configure(name, {"iterations": 8} if name == "dlg" else {"steps": 8})
    listener = Listener(every=5)
    straight = ATTACKS[name].reconstruct(observation, config, seed=3, progress=listener)
    state, now = listener.checkpoints[0][1], CHECKPOINT_VERSION
    assert now > 1  # version 1 was that of the first release
    older = state.replace(b'\\"version\\":%d' % now, b'\\"version\\":1')
    assert older != state
    for seed in (3, 4):  # its state is one of seed 3
        later = Listener(resume=older)
        again = ATTACKS[name].reconstruct(observation, config, seed=seed, progress=later)
        assert later.steps[0][0] == 1
        assert again.record["resumed"] == f"from the start: the checkpoint was of version 1, not {now}"
        if seed == 3:
            assert again.images.tobytes() == straight.images.tobytes()
    assert "resumed" not in straight.record
    assert "resumed" not in ATTACKS[name].reconstruct(observation, config, seed=3, progress=Listener(state)).record


def test_bytes_of_another_kind_are_refused_whatever_their_version() -> None:
    tensors = {"image": torch.zeros(2)}
    with pytest.raises(OtherVersion, match="Expected a checkpoint of version 2, got checkpoint of version 1"):
        unpack(pack("checkpoint", 1, {}, tensors), "checkpoint", 2)
    with pytest.raises(UserError, match="got observation of version 1") as caught:
        unpack(pack("observation", 1, {}, tensors), "checkpoint", 2)
    assert not isinstance(caught.value, OtherVersion)


@pytest.mark.parametrize("name", ["dlg", "dlg-paper", "idlg", "idlg-paper", "inverting-gradients"])
def test_gradients_computed_anew_to_other_last_bits_resume(make, name: str) -> None:  # type: ignore[no-untyped-def]
    # a worker computes the update again, and on another CPU, GPU or torch its last bits differ
    observation, _, _ = make(LENET, 2)
    attack = ATTACKS[name]
    config = configure(name, {"iterations": 12} if name in ("dlg", "idlg") else {"steps": 12})
    listener = Listener(every=5, stop=5)
    with pytest.raises(AttackCancelled):
        attack.reconstruct(observation, config, seed=3, progress=listener)
    state = listener.checkpoints[-1][1]
    moved = {k: torch.nextafter(v, torch.full_like(v, torch.inf)) for k, v in observation.gradients.items()}
    assert not any(torch.equal(moved[k], v) for k, v in observation.gradients.items())
    later = Listener(resume=state)
    attack.reconstruct(replace(observation, gradients=moved), config, seed=3, progress=later)
    assert later.steps[0][0] == 6
    with pytest.raises(UserError, match="another attack, seed or update"):
        attack.reconstruct(replace(observation, gradients=moved), config, seed=4, progress=Listener(resume=state))


def test_a_checkpoint_knows_its_attack_config_seed_targets_model_and_labels(make) -> None:  # type: ignore[no-untyped-def]
    observation, _, labels = make(LENET, 2)
    config = configure("dlg", {"restarts": 2})
    spec, gradients = observation.spec, observation.gradients
    own = identity("dlg", observation, config, 3, (0, 1))
    drawn = {k: v * 1.0000002 for k, v in observation.weights.items()}  # drawn anew from the same seed elsewhere
    assert identity("dlg", replace(observation, weights=drawn), config, 3, (0, 1)) == own
    others = [
        identity("idlg", observation, config, 3, (0, 1)),
        identity("dlg", observation, configure("dlg", {"restarts": 3}), 3, (0, 1)),
        identity("dlg", observation, prior_alone(config), 3, (0, 1)),
        identity("dlg", observation, config, 4, (0, 1)),
        identity("dlg", observation, config, 3, (0, 2)),
        *(
            identity("dlg", replace(observation, **change), config, 3, (0, 1))
            for change in (
                {"labels": 3 - labels},
                {"labels": None},
                {"batchnorm": "train"},
                {"batch_size": 2},
                {"spec": replace(spec, init_seed=1)},
                {"spec": replace(spec, weights_sha256="0" * 64)},
                {"gradients": {k: v.repeat(1, *(2,) * (v.ndim - 1)) for k, v in gradients.items()}},
                {"gradients": dict(reversed(gradients.items()))},  # their order decides the order of sums
            )
        ),
    ]
    assert len({own, *others}) == 1 + len(others)


def test_progress_hears_losses_and_sees_frames(make) -> None:  # type: ignore[no-untyped-def]
    observation, _, _ = make(LENET, 2)
    listener = Listener()
    ATTACKS["dlg"].reconstruct(observation, configure("dlg", {"iterations": 10}), seed=0, progress=listener)
    assert [done for done, _, _ in listener.steps] == list(range(1, 11))
    assert all(losses.shape == (2, 2) and total == 10 for _, total, losses in listener.steps)
    assert bool((listener.steps[-1][2].min(1).values < listener.steps[0][2].min(1).values).all())
    assert [(done, frame.shape, frame.dtype) for done, frame in listener.frames] == [
        (5, (2, 1, 8, 8, 3), np.uint8),
        (10, (2, 1, 8, 8, 3), np.uint8),
    ]


def test_idlg_paper_takes_one_image_an_update(make) -> None:  # type: ignore[no-untyped-def]
    observation, _, _ = make(LENET, 1, ThreatModel(batch_size=2))
    with pytest.raises(UserError, match="updates of one image"):
        ATTACKS["idlg-paper"].reconstruct(observation, configure("idlg-paper", {}), seed=0)

"""Attacks on FedAvg: unrolled training against the victim's own, the surrogate by hand, and an easy case of each."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from core.attacks import ATTACKS, configure, engine, simulated
from core.attacks.base import AttackCancelled, Reconstructions
from core.attacks.costs import cosine_distance, total_variation
from core.attacks.fedavg import SimulatedConfig, SmeConfig
from core.attacks.gradients import frozen_copy
from core.attacks.own_weights import by_autograd, by_func, looped
from core.attacks.simulated import EpochDescent, field_maker, matched_mean, slots, trained
from core.attacks.starts import first_images
from core.attacks.surrogate import Surrogate, SurrogateDescent
from core.errors import UserError
from core.images.load import load_images
from core.leakage.controls import mismatched, prior_alone
from core.leakage.local import client_update, shuffles
from core.leakage.observation import LocalTraining, Observation
from core.leakage.pairing import pair_batches
from core.leakage.statistics import batchnorm_mode
from core.leakage.threat import ChosenDefence, ThreatModel
from core.leakage.victim import observe
from core.models.build import build_model
from core.models.spec import ModelSpec
from tests.attacks.conftest import Listener

TANH = ModelSpec("mlp", 10, height=8, width=8, arguments={"hidden": [64], "activation": "tanh"})
SIGMOID = ModelSpec("mlp", 10, height=8, width=8, arguments={"hidden": [64], "activation": "sigmoid"})
CONVNET = ModelSpec("convnet", 10, height=9, width=9, arguments={"base": 2}, mean=(0.4, 0.5, 0.6), std=(0.3, 0.2, 0.25))
FEDAVG = ThreatModel(batch_size=2, update="weights", local_batch=1, local_lr=0.1)


def photos(spec: ModelSpec, updates: int, threat: ThreatModel) -> tuple[Observation, np.ndarray, Tensor]:
    """The observation, originals (N, B, H, W, C) and labels (N, B), all of an update different."""
    pictures = load_images("photos", spec=spec, limit=updates * threat.batch_size)
    originals = np.stack([p.original for p in pictures]).reshape(
        updates, threat.batch_size, *pictures[0].original.shape
    )
    source = np.random.default_rng(1)
    labels = torch.from_numpy(np.stack([source.permutation(spec.num_classes)[: threat.batch_size] for _ in originals]))
    images = torch.from_numpy(originals).permute(0, 1, 4, 2, 3).float() / 255
    return observe(build_model(spec), spec, images, labels, threat)[0], originals, labels


def psnr(found: Reconstructions, originals: np.ndarray) -> np.ndarray:
    """(N,) dB of each update's mean squared error, images paired by it."""
    picked = np.stack([found.images[n, found.chosen[n]] for n in range(len(originals))])[:, None]
    return -10 * np.log10(np.maximum(pair_batches(originals, picked).costs.mean((1, 2)), 1e-9))


def turned(observation: Observation) -> Observation:
    """The mismatched control: every update is that of the next."""
    return mismatched(observation, observation.select([*range(1, observation.count), 0]))


@pytest.mark.parametrize("form", [by_func, by_autograd], ids=["torch.func", "autograd"])
@pytest.mark.parametrize(("spec", "mode"), [(TANH, "eval"), (CONVNET, "eval"), (CONVNET, "train")])
@pytest.mark.parametrize(("epochs", "size"), [(1, 4), (3, 2), (2, 3)])
def test_the_simulated_client_is_the_victim(form: Any, spec: ModelSpec, mode: Any, epochs: int, size: int) -> None:
    """With the private images in each epoch's order, the unrolled training gives the shared update: float64, 1e-9."""
    threat = ThreatModel(
        batch_size=8, clients=2, update="weights", local_epochs=epochs, local_batch=size, local_lr=0.2, batchnorm=mode
    )
    model = build_model(spec).double()
    draw = torch.Generator().manual_seed(0)
    images = torch.randn(8, 3, spec.height, spec.width, generator=draw, dtype=torch.float64)
    targets = F.one_hot(torch.randint(0, 10, (8,), generator=draw), 10).double()
    shared, orders = [], np.zeros((epochs, 2, 4), dtype=np.int64)
    with batchnorm_mode(model, mode):
        for client in range(2):
            own = slice(4 * client, 4 * client + 4)
            order = shuffles(threat, 0, 0, client)
            shared.append(client_update(model, threat, images[own], targets[own], orders=order).step.gradients)
            orders[:, client] = 4 * client + np.stack(order)
    names = [name for name, _ in model.named_parameters()]
    local = LocalTraining(epochs, size, 0.2, threat.local_steps)
    frozen = frozen_copy(model, mode)
    one = trained(frozen, form(frozen), names, local, clients=2)
    places = orders.ravel()
    for name, mine in zip(names, one(images[places], targets[places]), strict=True):
        right = (shared[0][name] + shared[1][name]) / 2
        assert float((mine.detach() - right).norm()) <= 1e-9 * float(right.norm()) + 1e-13


def test_epochs_of_their_own_train_on_their_own_images() -> None:
    """Epoch by epoch with a plain loop of torch.optim.SGD."""
    model = build_model(TANH).double()
    images = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    targets = F.one_hot(torch.tensor([3, 1, 1, 3, 3, 1]), 10).double()
    names = [name for name, _ in model.named_parameters()]
    frozen = frozen_copy(model, "eval")
    found = trained(frozen, by_func(frozen), names, LocalTraining(3, 1, 0.3, 6), 1)(images, targets)
    sent = [p.detach().clone() for p in model.parameters()]
    sgd = torch.optim.SGD(model.parameters(), lr=0.3)
    for place in range(6):
        sgd.zero_grad()
        F.cross_entropy(model(images[place : place + 1]), targets[place : place + 1]).backward()
        sgd.step()
    for ours, before, after in zip(found, sent, model.parameters(), strict=True):
        assert torch.allclose(ours, (before - after.detach()) / (0.3 * 6), rtol=1e-9, atol=1e-14)


def test_a_model_that_vmap_cannot_take_is_looped_and_says_so() -> None:
    class Branch(torch.nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            y = super().forward(x.flatten(1))
            return y if bool(y.detach().sum() > 1e9) else 2 * y  # a branch on the data

    model, names = Branch(12, 10), ["weight", "bias"]
    local = LocalTraining(2, 1, 0.1, 4)
    field = field_maker(local, 1)(model, names, "eval", (2, 3, 2, 2), 10)
    assert "a loop" in field.path
    images, targets = torch.randn(3, 4, 3, 2, 2), torch.full((3, 4, 10), 0.1)
    found, _ = field.evaluate(images, targets)
    one = trained(model, by_autograd(model), names, local, 1)
    assert torch.equal(found[0], looped(one)(images, targets)[0])


def agreeing(kind: str, labels: Tensor, places: Tensor, *, clients: int = 1) -> EpochDescent:
    """labels (N, B) and places (N, E · B), as EpochDescent takes them, with images of their own for every epoch."""
    size = labels.shape[1]
    epochs = places.shape[1] // size
    threat = ThreatModel(size, clients=clients, update="weights", local_epochs=epochs, local_batch=1, local_lr=0.1)
    observation, _, _ = photos(TANH, len(labels), threat)
    local = LocalTraining(epochs, 1, 0.1, threat.local_steps)
    problems = engine.set_up(observation, 1, make_field=field_maker(local, clients), copies=epochs)
    return EpochDescent(problems, SimulatedConfig(agreement_of=kind), labels, places)


ORDERS = torch.tensor([[2, 3, 0, 1], [3, 1, 2, 0]])  # of the second epoch


def test_epochs_that_are_permutations_agree_and_are_matched() -> None:
    """The second epoch's images are the first's in another order, and its labels go with them."""
    draw = torch.Generator().manual_seed(0)
    first = torch.rand(2, 4, 3, 8, 8, generator=draw)
    second = torch.stack([first[p, order] for p, order in enumerate(ORDERS)])
    for labels in (torch.tensor([[0, 3, 5, 8]] * 2), torch.tensor([[1, 1, 7, 7], [2, 2, 2, 2]])):
        places = torch.cat([torch.arange(4).expand(2, 4), ORDERS], 1)
        groups = labels.gather(1, places).reshape(2, 2, 4)
        assert torch.allclose(matched_mean(torch.stack([first, second], 1), groups), first, atol=1e-6)
        apart = matched_mean(torch.stack([first, second + 0.5], 1), groups)
        assert torch.allclose(apart, first + 0.25, atol=1e-6)
        for kind in ("mean", "max-conv"):
            descent, rows = agreeing(kind, labels, places), torch.arange(2)
            assert float(descent.disagreement(torch.cat([first, second], 1), rows).max()) < 1e-10
            assert float(descent.disagreement(torch.cat([first, second + 0.5], 1), rows).min()) > 1e-3
    across = matched_mean(torch.stack([first, first[:, [1, 0, 2, 3]]], 1), torch.arange(4).expand(2, 2, 4))
    assert torch.allclose(across[:, 0], (first[:, 0] + first[:, 1]) / 2, atol=1e-6)  # another class is never matched


@pytest.mark.parametrize("kind", ["mean", "max-conv"])
@pytest.mark.parametrize("clients", [1, 2])
def test_disagreement_is_that_of_a_loop_over_labels(kind: str, clients: int) -> None:
    """Pair by pair of epochs, client by client, label by label: a plain loop, for three epochs with repeated labels."""
    labels = torch.tensor([[0, 4, 4, 9]])
    places = torch.tensor([[0, 1, 2, 3, 1, 0, 3, 2, 0, 1, 3, 2]])
    descent = agreeing(kind, labels, places, clients=clients)
    images = torch.rand(1, 12, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    dealt, size = labels[0][places[0]].tolist(), 4 // clients
    total, pairs = 0.0, [(0, 1), (0, 2), (1, 2)]
    for one, other in pairs:
        for place in range(4):  # of the first epoch: each image counts once
            seen = []
            for epoch in (one, other):
                own = range(place // size * size, place // size * size + size)
                same = [4 * epoch + slot for slot in own if dealt[4 * epoch + slot] == dealt[place]]
                group = images[0, same]
                maps = group if kind == "mean" else F.conv2d(group, descent.filters, padding=1)
                seen.append(maps.mean(0) if kind == "mean" else maps.amax(0))
            total += float((seen[0] - seen[1]).square().mean())
    found = float(descent.disagreement(images, torch.arange(1)))
    assert found == pytest.approx(total / len(pairs) / 4, rel=1e-4)


def test_slots_depend_on_the_update_and_the_restart_alone() -> None:
    threat = ThreatModel(8, update="weights", local_batch=8, local_epochs=3)
    observation, _, _ = photos(TANH, 2, threat)
    problems = engine.set_up(observation, 2)
    both = slots(problems, 0, [3, 5])
    epochs = both.reshape(12, 8).tolist()
    assert [sorted(row) for row in epochs] == [list(range(8))] * 12
    assert len({tuple(row) for row in epochs}) == 12  # an order of its own for every epoch, too
    alone = slots(engine.set_up(observation.select([1]), 2), 0, [5])
    assert torch.equal(both[2:], alone)
    for row, position in ((0, 3), (2, 5)):  # the attacker's draw is not the client's order, though the seed is the same
        orders = shuffles(replace(threat, local_batch=8), 0, position, 0)
        assert both[row].reshape(3, 8).tolist() != np.stack(orders).tolist()


def test_the_partner_of_a_mixed_image_is_of_its_own_epoch() -> None:
    """Mixup of two images, adapted to: each slot has 0.7 of its label and 0.3 of the other's, in every epoch."""
    mixup = ChosenDefence("mixup", {"weight": 0.7})
    threat = replace(FEDAVG, local_epochs=2, defences=(mixup,))
    observation, _, _ = photos(TANH, 1, threat)
    problems = engine.set_up(observation, 1, make_field=field_maker(LocalTraining(2, 1, 0.1, 4), 1), copies=2)
    assert problems.adaptation is not None
    descent = EpochDescent(problems, SimulatedConfig(), torch.tensor([[2, 5]]), torch.tensor([[0, 1, 1, 0]]))
    assert descent.targets[0, :, 2].tolist() == pytest.approx([0.7, 0.3, 0.3, 0.7])
    assert descent.targets[0, :, 5].tolist() == pytest.approx([0.3, 0.7, 0.7, 0.3])


def test_every_client_keeps_its_labels_from_epoch_to_epoch() -> None:
    threat = ThreatModel(8, clients=2, update="weights", local_batch=2, local_epochs=4)
    observation, _, _ = photos(TANH, 1, threat)
    dealt = slots(engine.set_up(observation, 3), 0, [0]).reshape(3, 4, 2, 4)
    kept = dealt.sort(-1).values
    assert bool((kept == kept[:, :1]).all())
    assert len({tuple(row) for row in dealt.reshape(24, 4).tolist()}) > 20  # in an order drawn for each epoch


@pytest.mark.parametrize("own", [True, False], ids=["images of each epoch", "one set"])
def test_a_restart_that_deals_the_orders_of_every_epoch_matches(own: bool) -> None:
    """Two images of two classes, one a step, in opposite orders in the two epochs: no one order for both can match."""
    threat = replace(FEDAVG, local_epochs=2)
    observation, originals, labels = photos(SIGMOID, 1, threat)
    images = torch.from_numpy(originals[0]).permute(0, 3, 1, 2).float() / 255  # mean 0, std 1: as the model takes them
    one_hot = F.one_hot(labels[0], 10).float()
    orders = [np.array([0, 1]), np.array([1, 0])]
    made = client_update(build_model(SIGMOID), threat, images, one_hot, orders=orders).step.gradients
    observation = replace(observation, gradients={name: gradient[None] for name, gradient in made.items()})
    rank = labels[0].argsort().argsort().tolist()  # of each image's label among the sorted ones
    right = [rank[0], rank[1], rank[1], rank[0]]
    config = configure("fedavg-simulated", {"steps": 300 if own else 100, "restarts": 8, "own_images": own})
    local = simulated.local_training(observation)
    problems = engine.set_up(observation, 8, make_field=field_maker(local, 1), copies=2 if own else 1)
    deals = slots(problems, 0, [0]).tolist()
    assert right in deals
    assert [0, 1, 0, 1] in deals or [1, 0, 1, 0] in deals
    found = ATTACKS["fedavg-simulated"].reconstruct(observation, config, seed=0)
    assert deals[int(found.chosen[0])] == right
    losses = found.losses[0]
    best = min(loss for loss, deal in zip(losses, deals, strict=True) if deal == right)
    wrong = min(loss for loss, deal in zip(losses, deals, strict=True) if deal != right)
    assert wrong > 10 * best
    assert psnr(found, originals).min() > 35
    assert found.labels[0, int(found.chosen[0])].tolist() == labels[0].tolist()  # those of the first epoch's slots


def _surrogate(observation: Observation, labels: Tensor, config: SmeConfig) -> SurrogateDescent:
    surrogate = Surrogate()
    problems = engine.set_up(observation, 1, make_field=surrogate.field)
    assert observation.local is not None
    length = observation.local.lr * observation.local.steps
    descent = SurrogateDescent(problems, config, labels, surrogate, length)
    descent.begin(first_images(problems, descent.recipe, 0, [0, 1]))
    return descent


def _plain_sme(observation: Observation, label: Tensor, image: Tensor, alpha: Tensor, row: int) -> Tensor:
    """Objective of one problem, differentiable in the image and alpha, from the paper's description."""
    assert observation.local is not None
    model = build_model(observation.spec, observation.weights)
    shared = [gradient[row] for gradient in observation.gradients.values()]
    way = observation.local.lr * observation.local.steps
    returned = [weight.detach() - way * g for weight, g in zip(model.parameters(), shared, strict=True)]
    between = {
        name: (1 - alpha) * sent.detach() + alpha * end
        for (name, sent), end in zip(model.named_parameters(), returned, strict=True)
    }
    loss = F.cross_entropy(torch.func.functional_call(model, between, (image,)), label)
    gradient = torch.autograd.grad(loss, list(between.values()), create_graph=True)
    cosine = cosine_distance([g[None] for g in gradient], [g[None] for g in shared])[0]
    return cosine + 0.01 * total_variation(image[None])[0]


def test_sme_is_the_paper_s_loop() -> None:
    """Objective, derivative by image and alpha, and three steps of torch's own two Adams."""
    threat = replace(FEDAVG, local_epochs=5)
    observation, _, labels = photos(TANH, 2, threat)
    labels = labels.sort(1).values
    config = SmeConfig(steps=8, lr=0.05, alpha_lr=0.02)
    descent = _surrogate(observation, labels, config)
    starts = descent.image.clone()
    ours = []
    for step in range(4):
        descent.step(step)
        ours.append(descent.losses.clone())
    for row in range(2):
        image, alpha = starts[row].clone().requires_grad_(True), torch.tensor(0.5, requires_grad=True)
        adams = [torch.optim.Adam([image], lr=0.05), torch.optim.Adam([alpha], lr=0.02)]
        drops = [torch.optim.lr_scheduler.MultiStepLR(adam, [2, 4, 7], gamma=0.1) for adam in adams]  # ⌊8 / 2.667⌋ …
        for step in range(4):
            loss = _plain_sme(observation, labels[row], image, alpha, row)
            assert float(ours[step][row]) == pytest.approx(float(loss.detach()), rel=1e-4)
            image.grad, alpha.grad = torch.autograd.grad(loss, [image, alpha])
            for adam, drop in zip(adams, drops, strict=True):
                adam.step()
                drop.step()
            image.data.clamp_(0, 1)
        assert float(descent.alpha[row]) == pytest.approx(float(alpha.detach()), abs=1e-4)
        assert float((descent.image[row] - image.detach()).abs().mean()) < 1e-3
    assert float(descent.alpha.sub(0.5).abs().min()) > 1e-3  # it was learned


def test_alpha_stays_between_the_two_models() -> None:
    observation, _, labels = photos(TANH, 2, FEDAVG)
    descent = _surrogate(observation, labels, SmeConfig(steps=5, alpha=0.0, alpha_lr=1.0))
    descent.step(0)
    first = descent.alpha.clone()
    for step in range(1, 5):
        descent.step(step)
    assert all(min(alpha, 1 - alpha) < 1e-5 for alpha in first.tolist())  # a step of length 1, cut off at 0
    assert bool(((descent.alpha >= 0) & (descent.alpha <= 1)).all())
    fixed = _surrogate(observation, labels, SmeConfig(steps=5, alpha=0.25, alpha_lr=0.0))
    fixed.step(0)
    assert fixed.alpha.tolist() == [0.25, 0.25]


def test_simulated_training_finds_images_and_the_order() -> None:
    """Two images in two steps of unknown order: one of four made-up orders is right, and the match tells which."""
    observation, originals, _ = photos(SIGMOID, 2, FEDAVG)
    config = configure("fedavg-simulated", {"steps": 100})
    attack = ATTACKS["fedavg-simulated"]
    found = attack.reconstruct(observation, config, seed=0)
    assert psnr(found, originals).min() > 40
    assert psnr(attack.reconstruct(turned(observation), config, seed=0), originals).max() < 15
    assert psnr(attack.reconstruct(observation, prior_alone(config), seed=0), originals).max() < 20
    assert (found.losses.max(1) > 100 * found.losses.min(1)).all()  # the wrong order does not fit
    assert found.status == ("ok", "ok")
    assert "unrolled" in found.record["gradients"]


@pytest.mark.parametrize("own", [True, False], ids=["images of each epoch", "one set"])
def test_simulated_epochs_are_above_the_mismatched_control(own: bool) -> None:
    observation, originals, labels = photos(SIGMOID, 2, replace(FEDAVG, local_epochs=2))
    config = configure("fedavg-simulated", {"steps": 60, "restarts": 8, "own_images": own})
    attack = ATTACKS["fedavg-simulated"]
    found = attack.reconstruct(observation, config, seed=0)  # each restart deals one of 4 ways through two epochs
    assert found.images.shape == (2, 8, 2, 8, 8, 3)
    wrong = attack.reconstruct(turned(observation), config, seed=0)
    assert (psnr(found, originals) > psnr(wrong, originals) + 6).all()
    assert np.sort(found.labels, -1).tolist() == [[row] * 8 for row in labels.sort(1).values.tolist()]


def test_sme_is_far_above_the_mismatched_control_and_the_mean_gradient() -> None:
    """Ten epochs of two steps: the gradient at the sent weights is off, at the learned surrogate it fits."""
    threat = ThreatModel(batch_size=4, update="weights", local_batch=2, local_lr=0.02, local_epochs=10)
    observation, originals, _ = photos(TANH, 2, threat)
    attack, settings = ATTACKS["sme"], {"steps": 100, "total_variation": 1e-4}
    config = configure("sme", settings)
    found = attack.reconstruct(observation, config, seed=0)
    naive = attack.reconstruct(observation, configure("sme", settings | {"alpha": 0, "alpha_lr": 0}), seed=0)
    wrong = attack.reconstruct(turned(observation), config, seed=0)
    assert psnr(found, originals).min() > 25
    assert (psnr(found, originals) > psnr(naive, originals) + 5).all()
    assert psnr(wrong, originals).max() < 15
    assert all(0.3 < alpha < 0.7 for alpha in found.record["alpha"])


def test_a_gradient_attack_takes_the_mean_gradient_of_a_short_training() -> None:
    """One epoch with a small step: what FedAvg shares is nearly a gradient, so DLG needs no change."""
    observation, originals, _ = photos(SIGMOID, 2, replace(FEDAVG, local_lr=0.01))
    config = configure("dlg", {"iterations": 80})
    found = ATTACKS["dlg"].reconstruct(observation, config, seed=0)
    wrong = ATTACKS["dlg"].reconstruct(turned(observation), config, seed=0)
    assert (psnr(found, originals) > psnr(wrong, originals) + 10).all()
    assert psnr(found, originals).min() > 20


RUNS: dict[str, dict[str, object]] = {
    "fedavg-simulated": {"steps": 6, "restarts": 2},
    "sme": {"steps": 6, "restarts": 2},
}


@pytest.mark.parametrize("name", RUNS)
def test_same_seed_same_bytes_and_resume(name: str) -> None:
    observation, _, _ = photos(TANH, 2, replace(FEDAVG, local_epochs=2, labels="inferred"))
    config, attack = configure(name, RUNS[name]), ATTACKS[name]
    straight = attack.reconstruct(observation, config, seed=1)
    assert straight.images.shape == (2, 2, 2, 8, 8, 3)
    assert not np.array_equal(straight.images[0, 0], straight.images[0, 1])
    listener = Listener(every=3, stop=5)
    with pytest.raises(AttackCancelled):
        attack.reconstruct(observation, config, seed=1, progress=listener)
    assert listener.frames[0][1].shape == (2, 2, 8, 8, 3)
    again = attack.reconstruct(observation, config, seed=1, progress=Listener(resume=listener.checkpoints[-1][1]))
    assert again.images.tobytes() == straight.images.tobytes()
    assert again.losses.tobytes() == straight.losses.tobytes()
    assert straight.labels.shape == (2, 2, 2)
    assert straight.record["labels"].startswith("recovered")


@pytest.mark.parametrize("name", RUNS)
def test_a_diverged_update_harms_no_other(name: str) -> None:
    observation, _, _ = photos(TANH, 2, FEDAVG)
    config, attack = configure(name, RUNS[name]), ATTACKS[name]
    whole = attack.reconstruct(observation, config, seed=0)
    broken = {key: tensor.clone() for key, tensor in observation.gradients.items()}
    broken["head.weight"][0] = torch.nan
    found = attack.reconstruct(replace(observation, gradients=broken), config, seed=0)
    assert found.status == ("diverged: loss is not finite", "ok")
    assert np.array_equal(found.images[1], whole.images[1])


@pytest.mark.parametrize("name", RUNS)
def test_what_is_no_fedavg_update_is_refused(name: str) -> None:
    observation, _, _ = photos(TANH, 1, ThreatModel())
    with pytest.raises(UserError, match="needs new weights"):
        ATTACKS[name].reconstruct(observation, ATTACKS[name].config, seed=0)
    assert ATTACKS[name].updates == ("weights",)

"""Clients and FedAvg against a plain training loop with torch's own SGD, in float64."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.errors import UserError
from core.leakage.controls import mismatched
from core.leakage.local import noise_generator, shuffles
from core.leakage.observation import LocalTraining
from core.leakage.threat import ThreatModel
from core.leakage.victim import observe, observe_nothing
from core.models.build import build_model
from core.models.spec import ModelSpec

State = dict[str, Tensor]
PLAIN = ModelSpec("lenet", 4, height=8, width=8, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
NORMED = ModelSpec("convnet", 4, height=9, width=9, arguments={"base": 2}, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
FEDAVG = ThreatModel(batch_size=5, update="weights", local_batch=2, local_lr=0.3)


def model_of(spec: ModelSpec) -> nn.Module:
    return build_model(spec).double()


def pictures(spec: ModelSpec, updates: int, batch: int) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(3)
    shape = (updates, batch, 3, spec.height, spec.width)
    images = torch.randint(0, 256, shape, generator=draw).double() / 255
    return images, torch.randint(0, 4, (updates, batch), generator=draw)


def trained(spec: ModelSpec, images: Tensor, labels: Tensor, threat: ThreatModel, orders: list[np.ndarray]) -> State:
    """(sent − returned) / (lr × steps) of one client: torch.optim.SGD over the images in the order given."""
    mean, std = (torch.tensor(values, dtype=torch.float64)[:, None, None] for values in (spec.mean, spec.std))
    model = model_of(spec).train(threat.batchnorm == "train")
    sent = {name: p.detach().clone() for name, p in model.named_parameters()}
    sgd = torch.optim.SGD(model.parameters(), lr=threat.local_lr)
    steps = 0
    for order in orders:
        for first in range(0, len(order), threat.local_batch):
            places = order[first : first + threat.local_batch]
            sgd.zero_grad()
            F.cross_entropy(model((images[places] - mean) / std), labels[places]).backward()
            sgd.step()
            steps += 1
    return {name: (sent[name] - p.detach()) / (threat.local_lr * steps) for name, p in model.named_parameters()}


def assert_close(ours: State, right: State, row: int = 0) -> None:
    assert list(ours) == list(right)
    for name, tensor in right.items():
        # 1e-13: before BatchNorm in train mode a bias has no effect, so its gradient is rounding
        assert float((ours[name][row] - tensor).norm()) <= 1e-9 * float(tensor.norm()) + 1e-13, name
    assert float(right["head.weight"].norm()) > 1e-3


@pytest.mark.parametrize("spec", [PLAIN, NORMED], ids=["lenet", "convnet"])
@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize(
    ("epochs", "size"), [(1, 5), (1, 1), (1, 2), (3, 5), (2, 2), (2, 3)], ids=lambda value: str(value)
)
def test_fedavg_is_torchs_own_sgd(spec: ModelSpec, mode: str, epochs: int, size: int) -> None:
    threat = replace(FEDAVG, batchnorm=mode, local_epochs=epochs, local_batch=size)  # type: ignore[arg-type]
    images, labels = pictures(spec, 2, 5)
    model = model_of(spec)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    observation, facts = observe(model, spec, images, labels, threat, seed=8, positions=[4, 11])
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    for row, position in enumerate((4, 11)):
        orders = shuffles(threat, 8, position, 0)
        right = trained(spec, images[row], labels[row], threat, orders)
        assert_close(observation.gradients, right, row)
        norm = sum(float(tensor.square().sum()) for tensor in right.values()) ** 0.5
        assert facts.gradient_norm[row] == pytest.approx(norm, rel=1e-9)
    assert observation.local == LocalTraining(epochs, size, 0.3, epochs * -(-5 // size))
    assert observation.labels is not None
    assert observation.labels.tolist() == [sorted(row) for row in labels.tolist()]
    mean, std = (torch.tensor(values, dtype=torch.float64)[:, None, None] for values in (spec.mean, spec.std))
    with torch.no_grad():
        loss = F.cross_entropy(model_of(spec).train(mode == "train")((images[1] - mean) / std), labels[1])
    assert facts.loss[1] == pytest.approx(float(loss), rel=1e-9)


@pytest.mark.parametrize("spec", [PLAIN, NORMED], ids=["lenet", "convnet"])
def test_fedsgd_is_fedavg_of_one_step(spec: ModelSpec) -> None:
    images, labels = pictures(spec, 2, 5)
    one, _ = observe(model_of(spec), spec, images, labels, ThreatModel(batch_size=5, batchnorm="train"))
    other, _ = observe(model_of(spec), spec, images, labels, replace(FEDAVG, local_batch=5, batchnorm="train"), seed=5)
    assert_close(one.gradients, {name: tensor[0] for name, tensor in other.gradients.items()}, 0)
    assert (one.local, one.update, other.update) == (None, "gradients", "weights")


@pytest.mark.parametrize("update", ["gradients", "weights"])
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_clients_are_averaged_each_with_its_own_batches(update: str, mode: str) -> None:
    threat = ThreatModel(
        batch_size=6, clients=3, update=update, batchnorm=mode, local_epochs=2, local_batch=2, local_lr=0.2
    )  # type: ignore[arg-type]
    images, labels = pictures(NORMED, 1, 6)
    observation, facts = observe(model_of(NORMED), NORMED, images, labels, threat, seed=2)
    clients = []
    for client in range(3):
        own = slice(2 * client, 2 * client + 2)
        orders = shuffles(threat, 2, 0, client) if update == "weights" else [np.arange(2)]
        clients.append(trained(NORMED, images[0, own], labels[0, own], threat, orders))
    assert_close(observation.gradients, {name: sum(c[name] for c in clients) / 3 for name in clients[0]})
    assert observation.labels is not None
    assert observation.labels[0].tolist() == sorted(labels[0].tolist())  # the order would tell whose are whose
    alone = replace(threat, clients=1, batch_size=2)
    losses = [
        observe(model_of(NORMED), NORMED, images[:, c : c + 2], labels[:, c : c + 2], alone)[1].loss[0]
        for c in (0, 2, 4)
    ]
    assert facts.loss[0] == pytest.approx(np.mean(losses), rel=1e-9)


def test_in_train_mode_clients_are_not_one_large_batch() -> None:
    images, labels = pictures(NORMED, 1, 6)
    found = [
        observe(
            model_of(NORMED), NORMED, images, labels, ThreatModel(batch_size=6, clients=clients, batchnorm="train")
        )[0].gradients["body.0.weight"]
        for clients in (1, 3)
    ]
    assert float((found[0] - found[1]).norm()) > 0.01 * float(found[0].norm())


def test_orders_are_seeded_permutations_that_depend_on_nothing_else() -> None:
    threat = replace(FEDAVG, batch_size=40, clients=2, local_epochs=3)
    orders = shuffles(threat, 1, 2, 0)
    assert [sorted(order.tolist()) for order in orders] == [list(range(20))] * 3
    others = [orders[0], orders[1], orders[2], shuffles(threat, 1, 2, 1)[0], shuffles(threat, 1, 3, 0)[0]]
    others += [shuffles(threat, 2, 2, 0)[0]]
    assert len({tuple(order.tolist()) for order in others}) == 6
    assert [order.tolist() for order in shuffles(threat, 1, 2, 0)] == [order.tolist() for order in orders]
    # a shard that holds only the second update gives the same update
    images, labels = pictures(PLAIN, 2, 5)
    both, _ = observe(model_of(PLAIN), PLAIN, images, labels, FEDAVG, seed=6, positions=[3, 7])
    second, _ = observe(model_of(PLAIN), PLAIN, images[1:], labels[1:], FEDAVG, seed=6, positions=[7])
    assert torch.equal(both.gradients["head.weight"][1], second.gradients["head.weight"][0])
    # the streams of order, noise and an attack's start differ
    numbers = torch.rand(3, generator=noise_generator(1, 2, 0)), torch.rand(3, generator=noise_generator(1, 2, 1))
    assert not torch.equal(*numbers)
    start = np.random.default_rng(np.random.SeedSequence([1, 2, 0]))
    assert start.permutation(20).tolist() != orders[0].tolist()


def test_a_shuffled_client_tells_the_same_but_for_the_order_of_its_steps() -> None:
    """Nothing of the order is in the observation: two orders differ in the weights that come back and nothing else."""
    images, labels = pictures(PLAIN, 1, 5)
    one, _ = observe(model_of(PLAIN), PLAIN, images, labels, FEDAVG, seed=0)
    turned, _ = observe(model_of(PLAIN), PLAIN, images.flip(1), labels.flip(1), FEDAVG, seed=1)
    assert torch.equal(one.labels, turned.labels)  # type: ignore[arg-type]
    assert (one.local, one.spec, one.batch_size) == (turned.local, turned.spec, turned.batch_size)
    assert not torch.equal(one.gradients["head.bias"], turned.gradients["head.bias"])


def test_private_batch_statistics_are_what_batchnorm_saw_of_each_client() -> None:
    threat = ThreatModel(batch_size=6, clients=2, batchnorm="train", batch_statistics=True)
    images, labels = pictures(NORMED, 1, 6)
    observation, _ = observe(model_of(NORMED), NORMED, images, labels, threat)
    assert set(observation.statistics) == {f"body.{n}.{what}" for n in LAYERS for what in ("mean", "var")}
    mean, std = (torch.tensor(values, dtype=torch.float64)[:, None, None] for values in (NORMED.mean, NORMED.std))
    first = model_of(NORMED).get_submodule("body.0")
    with torch.no_grad():
        maps = (
            first((images[0] - mean) / std).reshape(2, 3, 2, 81).transpose(1, 2).flatten(2)
        )  # client, channel, values
    assert torch.allclose(observation.statistics["body.1.mean"][0], maps.mean(2).mean(0), rtol=1e-9)
    spread = (maps - maps.mean(2, keepdim=True)).square().mean(2).mean(0)
    assert torch.allclose(observation.statistics["body.1.var"][0], spread, rtol=1e-9)
    denied = replace(threat, batch_statistics=False)
    assert observe(model_of(NORMED), NORMED, images, labels, denied)[0].statistics == {}


LAYERS = (1, 4, 7, 10, 13, 16, 20, 23)


def test_fedavg_statistics_are_the_mean_over_local_steps() -> None:
    """torch's own running statistics tell them: with momentum None they are the mean over the batches seen."""
    threat = ThreatModel(batch_size=4, update="weights", batchnorm="train", local_batch=2, local_lr=0.2, local_epochs=2)
    images, labels = pictures(NORMED, 1, 4)
    observation, _ = observe(model_of(NORMED), NORMED, images, labels, replace(threat, batch_statistics=True), seed=1)
    mean, std = (torch.tensor(values, dtype=torch.float64)[:, None, None] for values in (NORMED.mean, NORMED.std))
    model = model_of(NORMED).train()
    counts = {}
    for name, layer in model.named_modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None
            layer.register_forward_hook(
                lambda _l, inputs, _o, name=name: counts.update({name: inputs[0][:, 0].numel()})
            )
    sgd = torch.optim.SGD(model.parameters(), lr=0.2)
    for order in shuffles(threat, 1, 0, 0):
        for places in (order[:2], order[2:]):
            sgd.zero_grad()
            F.cross_entropy(model((images[0, places] - mean) / std), labels[0, places]).backward()
            sgd.step()
    for name, count in counts.items():
        layer = model.get_submodule(name)
        assert torch.allclose(observation.statistics[f"{name}.mean"][0], layer.running_mean, rtol=1e-9, atol=1e-12)
        biased = layer.running_var * (count - 1) / count  # torch keeps the unbiased one
        assert torch.allclose(observation.statistics[f"{name}.var"][0], biased, rtol=1e-9)


def test_running_statistics_that_are_not_granted_are_fresh() -> None:
    model = model_of(NORMED)
    with torch.no_grad():
        for buffer in model.buffers():
            buffer.copy_(torch.full_like(buffer, 3))
    images, labels = pictures(NORMED, 1, 2)
    threat = ThreatModel(batch_size=2, batchnorm="train")
    granted, _ = observe(model, NORMED, images, labels, threat)
    denied, _ = observe(model, NORMED, images, labels, replace(threat, running_statistics=False))
    fresh = build_model(NORMED).state_dict()
    assert float(granted.weights["body.1.running_mean"][0]) == 3
    assert not denied.running_statistics
    for name, tensor in denied.weights.items():
        expected = fresh[name] if "running" in name or "tracked" in name else granted.weights[name]
        assert torch.equal(tensor, expected.to(tensor)), name
    for name in granted.gradients:
        assert torch.equal(granted.gradients[name], denied.gradients[name])


def test_mismatched_swaps_all_that_comes_from_the_update() -> None:
    threat = ThreatModel(batch_size=2, batchnorm="train", batch_statistics=True)
    images, labels = pictures(NORMED, 2, 2)
    observation, _ = observe(model_of(NORMED), NORMED, images, labels, threat)
    one, other = observation.select([0]), observation.select([1])
    control = mismatched(one, other)
    assert torch.equal(control.labels, one.labels)  # type: ignore[arg-type]
    for name in observation.statistics:
        assert torch.equal(control.statistics[name], other.statistics[name])
    for name in observation.gradients:
        assert torch.equal(control.gradients[name], other.gradients[name])
    with pytest.raises(UserError, match="as many updates"):
        mismatched(one, replace(other, statistics={}))
    fedavg, _ = observe(
        model_of(NORMED), NORMED, images[:1], labels[:1], replace(threat, update="weights", local_batch=2)
    )
    with pytest.raises(UserError, match="same model, batch size and kind"):
        mismatched(one, fedavg)


def test_the_model_alone_comes_with_the_classes_that_are_wanted() -> None:
    threat = ThreatModel(batch_size=2, update="none")
    observation = observe_nothing(model_of(PLAIN), PLAIN, torch.tensor([[3, 1], [0, 0]]), threat)
    assert observation.gradients == {}
    assert (observation.update, observation.count) == ("none", 2)
    assert observation.labels is not None
    assert observation.labels.tolist() == [[3, 1], [0, 0]]
    assert type(observation).from_bytes(observation.to_bytes()).to_bytes() == observation.to_bytes()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"update": "none"}, "no update to observe"),
        ({"clients": 2}, "cannot be shared equally by 2 clients"),
        ({"local_batch": 6}, "local batches of 1 to 5"),
        ({"local_lr": 0.0}, "learning rate above 0"),
        ({"running_statistics": False}, "whoever has the model has them"),
        ({"batch_statistics": True}, "Only BatchNorm in train mode"),
    ],
)
def test_threat_models_that_contradict_themselves_get_one_sentence(change: dict[str, object], sentence: str) -> None:
    images, labels = pictures(NORMED, 1, 5)
    with pytest.raises(UserError) as caught:
        observe(model_of(NORMED), NORMED, images, labels, replace(FEDAVG, **change))  # type: ignore[arg-type]
    assert sentence in str(caught.value)


def test_a_local_batch_of_one_value_a_channel_is_refused_in_train_mode() -> None:
    spec = ModelSpec("resnet20-4", 4, height=4, width=4, arguments={"base": 2})
    images, labels = pictures(spec, 1, 5)  # 5 images in steps of 2: the last step has one
    with pytest.raises(UserError, match="with BatchNorm in train mode needs images of at least"):
        observe(model_of(spec), spec, images, labels, replace(FEDAVG, batchnorm="train"))


def test_a_model_only_attack_is_refused_an_update_and_classes_that_are_none() -> None:
    with pytest.raises(UserError, match="shares an update"):
        observe_nothing(model_of(PLAIN), PLAIN, torch.tensor([[0]]), ThreatModel())
    with pytest.raises(UserError, match="outside of the 4 classes"):
        observe_nothing(model_of(PLAIN), PLAIN, torch.tensor([[4]]), ThreatModel(update="none"))

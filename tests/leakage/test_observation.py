"""Observations as bytes: the same there and back, and hostile ones refused."""

import dataclasses
import json
import struct

import pytest
import torch

from core.errors import UserError
from core.leakage.observation import LocalTraining, Observation
from core.leakage.threat import MAX_BATCH, ChosenDefence, ThreatModel
from core.leakage.victim import observe
from core.models.build import build_model
from core.models.spec import ModelSpec

SPEC = ModelSpec("lenet", 3, height=8, width=8)


@pytest.fixture
def observation() -> Observation:
    images, labels = torch.full((2, 2, 3, 8, 8), 0.5), torch.tensor([[0, 1], [2, 2]])
    return observe(build_model(SPEC), SPEC, images, labels, ThreatModel(batch_size=2))[0]


def test_there_and_back(observation: Observation) -> None:
    data = observation.to_bytes()
    again = Observation.from_bytes(data)
    assert again.to_bytes() == data
    assert again.spec == SPEC
    assert (again.batch_size, again.batchnorm, again.count) == (2, "eval", 2)
    assert all(torch.equal(again.gradients[name], tensor) for name, tensor in observation.gradients.items())
    assert list(again.weights) == list(observation.weights)
    assert list(again.gradients) == list(observation.gradients)


def test_it_carries_nothing_but_what_its_fields_say(observation: Observation) -> None:
    names = {field.name for field in dataclasses.fields(Observation)}
    assert names == {
        *("spec", "weights", "gradients", "batch_size", "batchnorm", "labels", "reduction", "update", "clients"),
        *("local", "running_statistics", "statistics", "defences"),
    }
    data = observation.to_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    table = json.loads(data[8 : 8 + length])
    assert {name.split("/")[0] for name in table} == {"__metadata__", "weights", "gradients", "labels"}
    header = json.loads(table["__metadata__"]["header"])
    assert set(header) == (names - {"weights", "gradients", "labels"}) | {"kind", "version", "parameters", "state"}
    assert header["statistics"] == []


def test_all_that_a_wider_threat_model_shares_and_grants_goes_there_and_back() -> None:
    spec = ModelSpec("convnet", 3, height=9, width=9, arguments={"base": 2})
    threat = ThreatModel(
        **{"batch_size": MAX_BATCH, "clients": 2, "update": "weights", "local_epochs": 2, "local_batch": 32},
        **{"local_lr": 0.25, "batchnorm": "train", "batch_statistics": True, "running_statistics": False},
    )
    images = torch.rand((1, MAX_BATCH, 3, 9, 9), generator=torch.Generator().manual_seed(0))
    labels = torch.arange(MAX_BATCH).remainder(3)[None]
    ours, _ = observe(build_model(spec), spec, images, labels, threat)
    ours = dataclasses.replace(ours, defences=(ChosenDefence("clip", {"norm": 2.0, "tensors": "all"}),))
    data = ours.to_bytes()
    again = Observation.from_bytes(data)
    assert again.to_bytes() == data
    assert again.local == LocalTraining(epochs=2, batch=32, lr=0.25, steps=4)
    assert (again.update, again.clients, again.running_statistics) == ("weights", 2, False)
    assert again.defences == ours.defences
    assert list(again.statistics) == list(ours.statistics)
    assert all(torch.equal(again.statistics[name], tensor) for name, tensor in ours.statistics.items())
    assert torch.equal(again.select([0, 0]).statistics["body.1.mean"][1], ours.statistics["body.1.mean"][0])


@pytest.mark.parametrize(
    "damage",
    [
        lambda o: dataclasses.replace(o, local=LocalTraining(1, 2, 0.1, 3)),  # 4 images in steps of 2 are 2 steps
        lambda o: dataclasses.replace(o, local=LocalTraining(1, 2, -0.1, 2)),
        lambda o: dataclasses.replace(o, local=LocalTraining(1, 2, float("nan"), 2)),
        lambda o: dataclasses.replace(o, local=LocalTraining(0, 2, 0.1, 0)),
        lambda o: dataclasses.replace(o, local=LocalTraining(1, 5, 0.1, 1)),
        lambda o: dataclasses.replace(o, local=LocalTraining("1", 2, 0.1, 2)),  # type: ignore[arg-type]
        lambda o: dataclasses.replace(o, local=None),
        lambda o: dataclasses.replace(o, update="gradients"),
        lambda o: dataclasses.replace(o, update="none"),
        lambda o: dataclasses.replace(o, clients=3),
        lambda o: dataclasses.replace(o, clients=0),
        lambda o: dataclasses.replace(o, clients=True),
        lambda o: dataclasses.replace(o, batch_size=MAX_BATCH + 1),
        lambda o: dataclasses.replace(o, statistics={"body.1.mean": torch.zeros(2)}),
        lambda o: dataclasses.replace(o, statistics={"body.1.mean": torch.zeros(2, 3, dtype=torch.int64)}),
        lambda o: dataclasses.replace(o, statistics={"body.1.mean": torch.zeros(3, 3)}),
        lambda o: dataclasses.replace(o, running_statistics="yes"),
    ],
)
def test_an_update_that_contradicts_itself_is_refused(damage) -> None:  # type: ignore[no-untyped-def]
    threat = ThreatModel(batch_size=4, update="weights", local_batch=2, local_lr=0.1)
    images, labels = torch.full((2, 4, 3, 8, 8), 0.5), torch.zeros((2, 4), dtype=torch.int64)
    ours, _ = observe(build_model(SPEC), SPEC, images, labels, threat)
    Observation.from_bytes(ours.to_bytes())
    with pytest.raises(UserError):
        Observation.from_bytes(damage(ours).to_bytes())


def test_select_takes_rows(observation: Observation) -> None:
    part = observation.select([1, 0, 1])
    assert part.count == 3
    assert part.labels is not None
    assert part.labels.tolist() == [[2, 2], [0, 1], [2, 2]]
    assert torch.equal(part.gradients["head.bias"][0], observation.gradients["head.bias"][1])


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: b"",
        lambda d: b"1234567",
        lambda d: d[:-1],
        lambda d: d + b"\0",
        lambda d: d[: len(d) // 2],
        lambda d: struct.pack("<Q", 2**63) + d[8:],
        lambda d: bytes(256) + d,
        lambda d: d.replace(b'"F32"', b'"F16"'),
        lambda d: d.replace(b"weights/head.bias", b"weights/head.blas"),
        lambda d: d.replace(b'\\"batch_size\\":2', b'\\"batch_size\\":9'),
        lambda d: d.replace(b'\\"batch_size\\":2', b'\\"batch_size\\":1'),
        lambda d: d.replace(b'\\"kind\\":\\"observation', b'\\"kind\\":\\"checkpoint!'),
        lambda d: d.replace(b'\\"num_classes\\":3', b'\\"num_classes\\":2'),
        lambda d: d.replace(b'\\"spec\\":', b'\\"spam\\":'),
        lambda d: d.replace(b'"__metadata__"', b'"__metadate__"'),
    ],
)
def test_damaged_and_hostile_bytes_are_refused(observation: Observation, damage) -> None:  # type: ignore[no-untyped-def]
    data = observation.to_bytes()
    assert damage(data) != data
    with pytest.raises(UserError):
        Observation.from_bytes(damage(data))

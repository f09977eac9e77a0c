"""Observations as bytes: the same there and back, and hostile ones refused."""

import dataclasses
import json
import struct

import pytest
import torch

from core.errors import UserError
from core.leakage.observation import Observation
from core.leakage.threat import ThreatModel
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
    assert names == {"spec", "weights", "gradients", "batch_size", "batchnorm", "labels", "reduction"}
    data = observation.to_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    table = json.loads(data[8 : 8 + length])
    assert {name.split("/")[0] for name in table} == {"__metadata__", "weights", "gradients", "labels"}


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

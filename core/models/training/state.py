"""A training's state as bytes: safetensors with a JSON header. Holds no code, is never unpickled."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

VERSION = 2  # 2: the device stands apart from the fingerprint
FORMAT = "semsight training"


def pack(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> bytes:
    """Bytes of a JSON-able header and named tensors, from any device. NaN and ±∞ survive as Python writes them."""
    # Cloned: a saved tensor must own its memory, and no two may share it.
    dense = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    text = json.dumps({"format": FORMAT, "version": VERSION, **header})
    data: bytes = save(dense, metadata={"header": text})
    return data


def unpack(data: bytes) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors written by `pack`; ValueError for anything else, and for another version."""
    try:
        tensors = {name: tensor.clone() for name, tensor in load(data).items()}
        (length,) = struct.unpack("<Q", data[:8])
        header = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["header"])
    except (SafetensorError, struct.error, KeyError, ValueError) as error:
        raise ValueError("These bytes are no checkpoint of a training.") from error
    if header.get("format") != FORMAT or header.get("version") != VERSION:
        raise ValueError("This checkpoint of a training was written by another version of SemSight.")
    return header, tensors


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimiser's state as flat tensors and a JSON-able rest; the groups' settings come from the recipe again."""
    tensors: dict[str, Tensor] = {}
    rest: dict[str, Any] = {}
    for place, values in optimiser.state_dict()["state"].items():
        for name, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"optimiser.{place}.{name}"] = value
            else:
                rest[f"{place}.{name}"] = value
    return tensors, rest


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor], rest: Mapping[str, Any]) -> None:
    """Put back what `optimiser_tensors` took."""
    state: dict[int, dict[str, Any]] = {}
    for key, value in [*tensors.items(), *(("optimiser." + key, value) for key, value in rest.items())]:
        if key.startswith("optimiser."):
            _, place, name = key.split(".", 2)
            state.setdefault(int(place), {})[name] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})

"""Weights that were cut off or are malformed are no weights: one sentence, whatever their header says."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from core.jobs.compute_scores import hashes
from core.models import weights as weights_module
from core.models.weights import FoundWeights, MissingWeights, WeightsRecord, find_weights
from core.settings import Settings, load_settings

TINY = WeightsRecord("tiny", "A tiny network", {"a": (2, 3), "b": (2,)}, "https://127.0.0.1/tiny.pth", "", "none", 1)
WHOLE = save({"a": torch.ones(2, 3), "b": torch.ones(2)}, metadata={"origin": "here"})
HUGE = 1 << 62


@pytest.fixture
def settings(home: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setitem(weights_module.WEIGHTS, TINY.name, TINY)
    return load_settings()


def found(settings: Settings, data: bytes) -> FoundWeights | MissingWeights:
    settings.weights.mkdir(parents=True, exist_ok=True)
    (settings.weights / "tiny.safetensors").write_bytes(data)
    return find_weights("tiny", settings)


def refused(settings: Settings, data: bytes) -> str:
    """The sentence."""
    missing = found(settings, data)
    assert isinstance(missing, MissingWeights)
    assert missing.reason.startswith("tiny.safetensors ")
    assert missing.reason.endswith("; replace it or remove it.")
    assert "\n" not in missing.reason
    return missing.reason


def file_of(header: Any, numbers: int = 32) -> bytes:
    text = header.encode() if isinstance(header, str) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(numbers)


def entry(shape: Any, *offsets: Any, dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": list(offsets)}


GOOD = {"a": entry([2, 3], 0, 24), "b": entry([2], 24, 32)}


def test_whole_files_are_found(settings: Settings) -> None:
    assert isinstance(found(settings, WHOLE), FoundWeights)
    assert isinstance(found(settings, file_of(GOOD)), FoundWeights)
    swapped = {"b": entry([2], 0, 8), "a": entry([2, 3], 8, 32)}
    assert isinstance(found(settings, file_of(swapped)), FoundWeights)


@pytest.mark.parametrize("left", [len(WHOLE) - 1, len(WHOLE) - 31, len(WHOLE) - 32, 60, 9, 8, 7, 1, 0])
def test_a_file_that_was_cut_off_is_not_found(left: int, settings: Settings) -> None:
    assert isinstance(found(settings, WHOLE), FoundWeights)
    assert "damaged" in (reason := refused(settings, WHOLE[:left])) or "cut short" in reason


@pytest.mark.parametrize(
    "header",
    [
        GOOD | {"b": entry([2], 16, 24)},  # overlaps, and 8 bytes are nobody's
        {"a": entry([2, 3], 8, 32), "b": entry([2], 0, 4)},  # too few bytes for its shape
        GOOD | {"b": entry([2], 24, 36)},  # too many
        GOOD | {"b": entry([2], 28, 36)},  # beyond the end
        GOOD | {"b": entry([2], 32, 24)},
        GOOD | {"b": entry([-2], 24, 32)},
        GOOD | {"b": entry([2], -8, 0)},
        GOOD | {"b": entry(None, 24, 32)},
        GOOD | {"b": entry("2", 24, 32)},
        GOOD | {"b": entry([[2]], 24, 32)},
        GOOD | {"b": entry([2.0], 24, 32)},
        GOOD | {"b": entry([True], 24, 32)},
        GOOD | {"b": entry([HUGE, HUGE], 24, 32)},
        GOOD | {"b": entry([2], 24, 10**4000)},
        GOOD | {"b": entry([2], None, 32)},
        GOOD | {"b": entry([2])},
        GOOD | {"b": {"dtype": "F32", "shape": [2], "data_offsets": None}},
        GOOD | {"b": {"dtype": "F32", "data_offsets": [24, 32]}},
        GOOD | {"b": entry([2], 24, 32, dtype=None)},
        GOOD | {"b": entry([2], 24, 32, dtype=["F32"])},
        GOOD | {"b": entry([4], 24, 32, dtype="F16")},
        GOOD | {"b": 3},
        GOOD | {"c": entry([0], 32, 32)},
        {},
        None,
        [GOOD],
        "[" * 200_000,
        '{"a":' * 100_000,
        '{"a": {"dtype": "F32", "shape": [1' + "0" * 5000 + '], "data_offsets": [0, 4]}}',
        '{"a": {"dtype": "F32", "shape": [NaN], "data_offsets": [0, Infinity]}}',
        '{"a": {"dtype": "F32", "shape": [1e999], "data_offsets": [0, 1e999]}}',
    ],
    ids=range(31),
)
def test_malformed_headers_are_one_sentence(header: Any, settings: Settings) -> None:
    refused(settings, file_of(header))


@pytest.mark.parametrize("length", [0, 2**20 + 1, 2**31, 2**63, 2**64 - 1])
def test_headers_that_lie_about_their_length(length: int, settings: Settings) -> None:
    refused(settings, struct.pack("<Q", length) + b"{" * 40)
    refused(settings, struct.pack("<Q", 2**20 + 1) + bytes(2**20 + 100))


@pytest.mark.parametrize("put", [Path.mkdir, lambda path: path.symlink_to(path)])
def test_what_is_no_file(put: Callable[[Path], None], settings: Settings) -> None:
    settings.weights.mkdir(parents=True)
    put(settings.weights / "tiny.safetensors")
    assert isinstance(find_weights("tiny", settings), MissingWeights)


def test_a_worker_outlives_a_malformed_file(settings: Settings) -> None:
    settings.weights.mkdir(parents=True, exist_ok=True)
    (settings.weights / "vgg16-imagenet-features.safetensors").write_bytes(file_of("[" * 200_000))
    assert hashes(("lpips_vgg", "mse"), settings) == {"lpips_vgg": "", "mse": ""}

"""What a model is, in words: presets, uploads and trained victims are all a ModelSpec."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class ModelSpec:
    """A classifier without its numbers.

    Images given to it are (N, channels, height, width) in [0, 1], then normalised by (x - mean) / std.
    """

    architecture: str  # name in core.models.architectures.ARCHITECTURES
    num_classes: int
    channels: int = 3
    height: int = 32
    width: int = 32
    arguments: dict[str, Any] = field(default_factory=dict)  # keyword arguments of the architecture
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    class_names: tuple[str, ...] = ()  # empty: unnamed
    weights_sha256: str = ""  # of the safetensors file; empty: drawn from init_seed by the preset
    init_seed: int = 0  # seeds the drawn weights when there is no file
    origin: str = ""  # e.g. "preset lenet", "upload victim.pt", "trained by job 7"

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @staticmethod
    def from_json(text: str) -> "ModelSpec":
        """Rebuild a spec written by `to_json`."""
        values = json.loads(text)
        for name in ("mean", "std", "class_names"):
            values[name] = tuple(values[name])
        return ModelSpec(**values)


def spec_identity(spec: ModelSpec) -> str:
    """sha256 of the spec, which names the weights."""
    return hashlib.sha256(spec.to_json().encode()).hexdigest()

"""LPIPS v0.1: Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric, CVPR 2018.

The backbones' weights are found by core.models.weights, the linear weights come with the lpips package. Nothing is
downloaded here and nothing is random: without weights the metric is unavailable.
"""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import UserError
from core.metrics.base import Context, Metric
from core.models.weights import FoundWeights, MissingWeights, find_weights
from core.settings import Settings, load_settings

if TYPE_CHECKING:
    import torch

RESIZED = 224  # pixels: the size these networks were trained on
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet; lpips writes the same for input in [-1, 1]
CHANNELS_FIRST = (
    40,
    96,
)  # pixels from and below which they are quicker; at 32 and 224 they are a quarter slower (AlexNet)
EPSILON = 1e-10  # keeps a feature vector of zeros zero; as in lpips


@dataclass(frozen=True)
class Backbone:
    """A network whose features LPIPS compares: after which of its layers, and from which size on it runs."""

    name: str  # as in lpips: alex, vgg, squeeze
    title: str
    builder: str  # torchvision's function
    weights: str  # name for core.models.weights
    taps: tuple[int, ...]  # layers of `features` whose output is compared
    minimum_size: int  # pixels; tests run each at this size and see it fail one below


BACKBONES = (
    Backbone("alex", "AlexNet", "alexnet", "alexnet-imagenet-features", (1, 4, 7, 9, 11), 31),
    Backbone("vgg", "VGG16", "vgg16", "vgg16-imagenet-features", (3, 8, 15, 22, 29), 16),
    Backbone("squeeze", "SqueezeNet", "squeezenet1_1", "squeezenet1_1-imagenet-features", (1, 4, 7, 9, 10, 11, 12), 17),
)


def distance(
    originals: torch.Tensor,
    reconstructions: torch.Tensor,
    context: Context | None = None,
    *,
    backbone: Backbone,
    size: int | None,
) -> torch.Tensor:
    """LPIPS (N,) of (N, 3, H, W) images in [0, 1], in float32: 0 for identical images, lower is more alike.

    size: None compares at native size, else both images are first resized to size × size (bilinear, antialiased).
    UserError if the backbone's weights cannot be found.
    """
    import torch

    settings = context.settings if context is not None and context.settings is not None else load_settings()
    features, linear = network(backbone, settings, str(originals.device))
    mean = torch.tensor(MEAN, device=originals.device).reshape(1, 3, 1, 1)
    std = torch.tensor(STD, device=originals.device).reshape(1, 3, 1, 1)

    both = torch.cat((originals, reconstructions))  # one pass through the network is quicker than two
    if size is not None:
        both = torch.nn.functional.interpolate(both.float(), (size, size), mode="bilinear", antialias=True)
    both = (both.to(torch.float32, memory_format=_layout(both)) - mean).div_(std)
    total = torch.zeros(len(originals), device=both.device)
    tap = 0
    for place, layer in enumerate(features):
        both = layer(both)
        if place == backbone.taps[tap]:
            x, y = _unit(both).chunk(2)
            apart = x - y
            total = total + (apart * apart * linear[tap]).sum(1).mean((1, 2))
            tap += 1
    return total


def spatial_map(
    originals: torch.Tensor, reconstructions: torch.Tensor, context: Context | None = None, *, backbone: Backbone
) -> torch.Tensor:
    """Where LPIPS finds (N, 3, H, W) images in [0, 1] different, at native size: (N, H, W) float32, at least 0.

    Each compared layer's weighted squared differences, enlarged bilinearly to H × W, summed over the layers: what lpips
    gives with spatial=True. The mean of a map is near the LPIPS score, not equal to it: enlarging keeps no mean.
    UserError if the backbone's weights cannot be found.
    """
    import torch

    settings = context.settings if context is not None and context.settings is not None else load_settings()
    features, linear = network(backbone, settings, str(originals.device))
    mean = torch.tensor(MEAN, device=originals.device).reshape(1, 3, 1, 1)
    std = torch.tensor(STD, device=originals.device).reshape(1, 3, 1, 1)
    x, y = (originals.float() - mean) / std, (reconstructions.float() - mean) / std
    total = torch.zeros(len(x), 1, *originals.shape[2:], device=x.device)
    tap = 0
    for place, layer in enumerate(features):
        x, y = layer(x), layer(y)
        if place == backbone.taps[tap]:
            local = ((_unit(x) - _unit(y)).square() * linear[tap]).sum(1, keepdim=True)  # (N, 1, h, w)
            total = total + torch.nn.functional.interpolate(local, originals.shape[2:], mode="bilinear")
            tap += 1
    return total[:, 0]


def _unit(features: torch.Tensor) -> torch.Tensor:
    """(N, C, H, W) features scaled to unit length over the channels."""
    return features / ((features * features).sum(1, keepdim=True).sqrt() + EPSILON)


def _layout(images: torch.Tensor) -> torch.memory_format:
    """How (N, C, H, W) images lie in memory: a CPU's convolutions mostly want the channels side by side."""
    import torch

    first = CHANNELS_FIRST[0] <= min(images.shape[2:]) < CHANNELS_FIRST[1]
    return torch.contiguous_format if first or images.device.type != "cpu" else torch.channels_last


def network(backbone: Backbone, settings: Settings, device: str) -> tuple[list[torch.nn.Module], list[torch.Tensor]]:
    """The backbone's layers up to the last one compared, and the linear weights (1, C, 1, 1) of each comparison."""
    found = find_weights(backbone.weights, settings)
    if isinstance(found, MissingWeights):
        raise UserError(found.reason)
    return _load(backbone, found, device)


@lru_cache(maxsize=6)
def _load(backbone: Backbone, found: FoundWeights, device: str) -> tuple[list[torch.nn.Module], list[torch.Tensor]]:
    import torch
    import torchvision
    from safetensors.torch import load_file

    with torch.device("meta"):  # nothing is drawn: the global random state stays as it is
        features = getattr(torchvision.models, backbone.builder)(weights=None).features
    tensors = load_file(found.path)
    features.load_state_dict(
        {name.removeprefix("features."): t for name, t in tensors.items()}, strict=True, assign=True
    )
    features.eval().requires_grad_(False).to(device)
    layers = list(features)[: backbone.taps[-1] + 1]
    for layer in layers:
        for part in layer.modules():
            if isinstance(part, torch.nn.ReLU):
                part.inplace = False
    table = torch.load(linear_file(backbone.name), map_location=device, weights_only=True)
    expected = [f"lin{i}.model.1.weight" for i in range(len(backbone.taps))]
    if sorted(table) != expected:
        raise UserError(f"lpips's linear weights for {backbone.name} hold {sorted(table)}, expected {expected}.")
    return layers, [table[name].float() for name in expected]


def linear_file(name: str) -> Path:
    """Where the lpips package keeps its linear weights of v0.1; UserError if it is not installed whole."""
    spec = importlib.util.find_spec("lpips")
    path = Path(spec.origin).parent / "weights" / "v0.1" / f"{name}.pth" if spec and spec.origin else None
    if path is None or not path.is_file():
        raise UserError("The package lpips or its linear weights are missing; install the requirements again.")
    return path


def linear_hash(name: str) -> str:
    """sha256 of lpips's linear weights; UserError where they are missing."""
    return _file_hash(linear_file(name))


@lru_cache(maxsize=8)
def _file_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def lpips_metrics() -> tuple[Metric, ...]:
    """One metric for each backbone at native size, and one resized."""
    return tuple(
        Metric(
            name=f"lpips_{b.name}" if size is None else f"lpips_{b.name}_{size}",
            title=f"LPIPS, {b.title}" if size is None else f"LPIPS, {b.title}, resized to {size} px",
            direction="lower",
            bounds=(0.0, float("inf")),
            unit="",
            kind="pair",
            minimum_size=b.minimum_size if size is None else 1,
            needs=(b.weights,),
            input_size=size,
            version="0.1",
            source="Zhang et al. 2018, LPIPS v0.1; input scaled to [-1, 1]"
            + ("" if size is None else f"; both images resized to {size} px, bilinear with antialiasing"),
            compute=partial(distance, backbone=b, size=size),
            sees="It compares the features of a network trained on photographs, so texture, edges and parts of objects "
            "count more than exact pixels.",
            misses="At native size a 32-pixel image leaves the deep layers a single cell, so it is mostly texture that "
            "counts."
            if size is None
            else "Enlarging invents no detail: it judges a blurred big picture, which its networks rarely saw.",
            library="lpips",
            carried=partial(linear_hash, b.name),
        )
        for size in (None, RESIZED)
        for b in BACKBONES
    )


METRICS = lpips_metrics()

"""DISTS: Ding et al., Image Quality Assessment: Unifying Structure and Texture Similarity, TPAMI 2020.

VGG16's weights are found by core.models.weights, the weights of its channels (alpha, beta) come with torchmetrics.
"""

from __future__ import annotations

import hashlib
import importlib.util
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import UserError
from core.metrics.base import Context, Metric
from core.metrics.lpips import BACKBONES, MEAN, STD, network
from core.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

RESIZED = 256  # pixels: what the authors' code brings the short side of larger images to
VGG = next(backbone for backbone in BACKBONES if backbone.name == "vgg")
STAGES = ((0, 4), (5, 9), (10, 16), (17, 23), (24, 30))  # VGG16's layers between its max-poolings, which are replaced
CHANNELS = (3, 64, 128, 256, 512, 512)  # of the image and of each stage
C1 = C2 = 1e-6  # as in the paper, under formulas 3 and 4
MINIMUM = 17  # pixels: 16 would leave the last stage a single cell, which has no structure


def distance(
    originals: torch.Tensor,
    reconstructions: torch.Tensor,
    context: Context | None = None,
    *,
    size: int | None,
) -> torch.Tensor:
    """DISTS (N,) of (N, 3, H, W) images in [0, 1], in float32: 0 for identical images, lower is more alike.

    One minus the weighted sum, over the channels of the image and of VGG16's five stages, of texture (agreement of
    means) and structure (agreement of variation). size: None compares at native size, else both images are first
    resized to size × size (bilinear, antialiased). UserError if weights cannot be found.
    """
    import torch

    settings = context.settings if context is not None and context.settings is not None else load_settings()
    layers, _ = network(VGG, settings, str(originals.device))
    alpha, beta = _weights(str(originals.device))
    x, y = originals.float(), reconstructions.float()
    if size is not None:
        x, y = (torch.nn.functional.interpolate(i, (size, size), mode="bilinear", antialias=True) for i in (x, y))
    total = torch.zeros(len(x), device=x.device)
    for a, b, f, g in zip(alpha, beta, _stages(x, layers), _stages(y, layers), strict=True):
        f_mean, g_mean = f.mean((2, 3), keepdim=True), g.mean((2, 3), keepdim=True)
        f, g = f - f_mean, g - g_mean
        m, n = f_mean[..., 0, 0], g_mean[..., 0, 0]  # (N, channels)
        texture = (m - n).square() / (m.square() + n.square() + C1)  # 1 - formula 3
        structure = (f - g).square().mean((2, 3)) / (f.square().mean((2, 3)) + g.square().mean((2, 3)) + C2)  # 1 - (4)
        total = total + (a * texture + b * structure).sum(1)
    return total


def _stages(images: torch.Tensor, layers: list[torch.nn.Module]) -> Iterator[torch.Tensor]:
    """The images (N, 3, H, W), then the output of each of VGG16's five stages."""
    import torch

    yield images
    mean = torch.tensor(MEAN, device=images.device).reshape(1, 3, 1, 1)
    std = torch.tensor(STD, device=images.device).reshape(1, 3, 1, 1)
    x = (images - mean) / std
    for first, end in STAGES:
        if first:
            x = l2_pool(x)
        for layer in layers[first:end]:
            x = layer(x)
        yield x


def l2_pool(x: torch.Tensor) -> torch.Tensor:
    """(N, C, H, W) -> (N, C, ⌈H/2⌉, ⌈W/2⌉): root of the squares' mean under a 3 × 3 Hann window, as the authors do."""
    import torch

    window = torch.tensor((0.25, 0.5, 0.25), device=x.device)  # numpy's hanning(5) without its zeros, to a sum of 1
    kernel = (window[:, None] * window).expand(x.shape[1], 1, 3, 3)
    pooled = torch.nn.functional.conv2d(x.square(), kernel, stride=2, padding=1, groups=x.shape[1])
    return (pooled + 1e-12).sqrt()


@lru_cache(maxsize=4)
def _weights(device: str) -> tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]]:
    """alpha and beta, each (channels,) a stage; the sum of all is 1."""
    import torch

    table = torch.load(weights_file(), map_location=device, weights_only=True)
    found = {name: tuple(tensor.shape) for name, tensor in table.items()}
    if found != {name: (1, sum(CHANNELS), 1, 1) for name in ("alpha", "beta")}:
        raise UserError(f"torchmetrics's weights for DISTS hold {found}; install the requirements again.")
    total = table["alpha"].sum() + table["beta"].sum()
    alpha, beta = ((table[name].detach().float().flatten() / total).split(CHANNELS) for name in ("alpha", "beta"))
    return alpha, beta


def weights_file() -> Path:
    """Where torchmetrics keeps DISTS's alpha and beta; UserError if it is not installed whole."""
    spec = importlib.util.find_spec("torchmetrics")
    root = Path(spec.origin).parent if spec and spec.origin else None
    path = root / "functional" / "image" / "dists_models" / "weights.pt" if root else None
    if path is None or not path.is_file():
        raise UserError(
            "The package torchmetrics or its weights for DISTS are missing; install the requirements again."
        )
    return path


def weights_sha256() -> str:
    """sha256 of alpha's and beta's file; UserError where it is missing."""
    return _file_hash(weights_file())


@lru_cache(maxsize=2)
def _file_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


METRICS = tuple(
    Metric(
        name="dists" if size is None else f"dists_{size}",
        title="DISTS" if size is None else f"DISTS, resized to {size} px",
        direction="lower",
        bounds=(0.0, 2.0),
        unit="",
        kind="pair",
        minimum_size=MINIMUM if size is None else 1,
        needs=(VGG.weights,),
        input_size=size,
        version="1",
        source="Ding et al. 2020, alpha and beta of torchmetrics; input in [0, 1], normalised as ImageNet"
        + ("" if size is None else f"; both images resized to {size} px, bilinear with antialiasing"),
        compute=partial(distance, size=size),
        sees="It compares which textures there are and how they are laid out, and forgives one that lies a little "
        "elsewhere.",
        misses="It weighs texture so much that a wrong face of the right skin can score well."
        if size is None
        else "Enlarging invents no detail, and texture still outweighs who or what is seen.",
        library="torchmetrics",
        carried=weights_sha256,
    )
    for size in (None, RESIZED)
)

"""What a malicious server puts in front of a model so that its update tells images apart: an imprint layer.

Robbing the Fed (Fowl et al. 2022, arXiv 2110.13057). All k units of the first layer compute the same number of an
image, its mean brightness h, and differ in their bias: unit i fires when h > c_i, with c_1 < … < c_k. All columns of
the second layer are equal, so every unit passes the same δ to an image on which it fires, and the difference of two
consecutive units' gradients is of the images alone whose brightness lies between their thresholds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from statistics import NormalDist

import torch
from safetensors.torch import save
from torch import Tensor, nn

from core.models.catalogue import IMPRINT
from core.models.spec import ModelSpec

BELOW_ALL = -0.01  # the first threshold: no image is darker than 0


class Imprint(nn.Module):
    """k bins in front of a model: (N, C, H, W) -> flat -> k units, ReLU -> as large as the image -> the model."""

    def __init__(self, inner: nn.Module, features: int, bins: int) -> None:
        super().__init__()
        self.bins = nn.Linear(features, bins)
        self.activation = nn.ReLU()
        self.back = nn.Linear(bins, features)
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) normalised -> (N, num_classes)."""
        flat: Tensor = self.back(self.activation(self.bins(x.flatten(1))))
        result: Tensor = self.inner(flat.reshape(x.shape))
        return result


def thresholds(bins: int, centre: float, spread: float) -> list[float]:
    """c_1 < … < c_k: the first below every image, the others the quantiles i/k of a normal N(centre, spread²) cut to
    [0, 1], so that each bin is as likely as the next if the brightness of images is so distributed."""
    normal = NormalDist(centre, spread)
    low, high = normal.cdf(0.0), normal.cdf(1.0)
    return [BELOW_ALL, *(normal.inv_cdf(low + (high - low) * i / bins) for i in range(1, bins))]


def planted(
    spec: ModelSpec, weights: Mapping[str, Tensor], *, bins: int, centre: float, spread: float, gain: float, seed: int
) -> tuple[ModelSpec, dict[str, Tensor]]:
    """The model that is sent in place of the one with `weights`, its whole state dict: spec and state dict.

    gain: how strongly the brightness moves what the model behind sees; the pattern it moves is drawn from the seed.
    """
    area = spec.height * spec.width
    features = spec.channels * area
    like = next(iter(weights.values()))
    std = torch.tensor(spec.std).repeat_interleave(area) / features  # h = mean over pixels of std · x + mean
    offset = sum(spec.mean) / spec.channels
    pattern = torch.randn(features, generator=torch.Generator().manual_seed(seed))
    state = {
        "bins.weight": std.expand(bins, features).clone(),
        "bins.bias": torch.tensor([offset - edge for edge in thresholds(bins, centre, spread)]),
        "back.weight": (gain / bins * pattern)[:, None].expand(features, bins).clone(),
        "back.bias": torch.zeros(features),
    }
    state = {name: tensor.to(device=like.device, dtype=torch.float32) for name, tensor in state.items()}
    state |= {f"inner.{name}": tensor.detach().clone() for name, tensor in weights.items()}
    sent = replace(
        spec,
        architecture=IMPRINT,
        arguments={"inner": spec.architecture, "inner_arguments": dict(spec.arguments), "bins": bins},
        weights_sha256=sha256(save({name: tensor.cpu().contiguous() for name, tensor in state.items()})).hexdigest(),
        origin=f"{spec.origin or spec.architecture} with an imprint of {bins} bins in front",
    )
    return sent, state

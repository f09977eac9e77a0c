"""From pictures to features for the set metrics: Inception as FID is defined with, and AlexNet. torch when called."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from core.errors import UserError
from core.models.weights import FoundWeights, MissingWeights, find_weights
from core.settings import Settings

if TYPE_CHECKING:
    import torch

WEIGHTS = {"inception": "inception-fid", "alexnet": "alexnet-imagenet-features"}
BATCH = {"inception": 16, "alexnet": 32}  # pictures at once: some 100 MiB of activations
ALEX_SIZE = 224
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet, as torchvision's AlexNet was trained


def set_features(
    images: Sequence[np.ndarray] | np.ndarray,
    network: str,
    settings: Settings,
    *,
    device: str = "cpu",
    beat: Callable[[int], None] | None = None,
) -> npt.NDArray[np.float64]:
    """(N, D) features of N pictures, uint8 (H, W, 3) of one size: D = 2048 by "inception", 256 by "alexnet".

    In batches, so that memory does not grow with N beyond the features. beat(done) is called after each. UserError
    where the weights are missing.
    """
    import torch

    found = find_weights(WEIGHTS[network], settings)
    if isinstance(found, MissingWeights):
        raise UserError(found.reason)
    model = {"inception": _inception, "alexnet": _alexnet}[network](found, device)
    parts = []
    for start in range(0, len(images), BATCH[network]):
        pixels = torch.from_numpy(np.stack(list(images[start : start + BATCH[network]]))).permute(0, 3, 1, 2).to(device)
        with torch.inference_mode():
            parts.append(model(pixels).double().cpu().numpy())
        if beat is not None:
            beat(start + len(pixels))
    return np.concatenate(parts)


@lru_cache(maxsize=2)
def _inception(found: FoundWeights, device: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """torch-fidelity's network: (N, 3, H, W) uint8 -> (N, 2048), resized to 299 px as TensorFlow 1 did."""
    import torch
    from safetensors.torch import load_file
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    # its constructor reads a pickle: it gets ours, of checked tensors, from memory
    pickle = io.BytesIO()
    torch.save(load_file(found.path), pickle)
    pickle.seek(0)
    with torch.random.fork_rng(devices=[]):  # it draws weights before it loads them
        network = FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=pickle)
    network = network.to(device)

    def features(pixels: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = network(pixels)[0]
        return answer

    return features


@lru_cache(maxsize=2)
def _alexnet(found: FoundWeights, device: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """AlexNet's last convolution after its ReLU, averaged over its places: (N, 3, H, W) uint8 -> (N, 256)."""
    import torch
    import torchvision
    from safetensors.torch import load_file

    with torch.device("meta"):
        layers = torchvision.models.alexnet(weights=None).features
    tensors = {name.removeprefix("features."): tensor for name, tensor in load_file(found.path).items()}
    layers.load_state_dict(tensors, strict=True, assign=True)
    layers = layers[:12].eval().requires_grad_(False).to(device)  # without the pooling that follows
    mean, std = (torch.tensor(values, device=device).reshape(1, 3, 1, 1) for values in (MEAN, STD))

    def features(pixels: torch.Tensor) -> torch.Tensor:
        x = torch.nn.functional.interpolate(
            pixels.float() / 255, (ALEX_SIZE, ALEX_SIZE), mode="bilinear", antialias=True
        )
        answer: torch.Tensor = layers((x - mean) / std).mean((2, 3))
        return answer

    return features

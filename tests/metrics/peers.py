"""lpips itself, made to use weights that are at hand."""

from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import torch

NAMES = {"alex": "alexnet", "vgg": "vgg16", "squeeze": "squeezenet1_1"}


def peer_lpips(net: str, weights: Path) -> torch.nn.Module:
    """lpips.LPIPS with its own linear weights, and our file's backbone where it would ask torchvision for one."""
    import lpips
    import torchvision
    from safetensors.torch import load_file

    name = NAMES[net]
    with torch.device("meta"):
        features = getattr(torchvision.models, name)(weights=None).features
    tensors = load_file(weights / f"{name}-imagenet-features.safetensors")
    features.load_state_dict({k.removeprefix("features."): v for k, v in tensors.items()}, assign=True)
    with patch.object(torchvision.models, name, lambda pretrained: SimpleNamespace(features=features)):
        return lpips.LPIPS(net=net, verbose=False, version="0.1").eval()

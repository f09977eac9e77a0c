"""Settings with the weights of ../shared, and with none."""

from dataclasses import replace
from pathlib import Path

import pytest

from core.settings import Settings, load_settings


@pytest.fixture
def bare(home: Path) -> Settings:
    """No weights anywhere: an empty folder, and no torch cache."""
    return replace(load_settings(), torch_cache=None)


@pytest.fixture
def settings(bare: Settings, shared: Path) -> Settings:
    """AlexNet's weights only."""
    return replace(bare, weights=shared / "weights")


@pytest.fixture
def made_up(bare: Settings) -> Settings:
    """VGG's and SqueezeNet's shapes with seeded numbers, under their names: enough to compare two implementations."""
    import torch
    from safetensors.torch import save_file

    from core.models.weights import WEIGHTS

    bare.weights.mkdir(parents=True)
    generator = torch.Generator().manual_seed(0)
    for name in ("vgg16-imagenet-features", "squeezenet1_1-imagenet-features"):
        tensors = {}
        for key, shape in WEIGHTS[name].shapes.items():
            fan_in = max(1, int(torch.tensor(shape[1:]).prod())) if len(shape) > 1 else 1
            scale = (2 / fan_in) ** 0.5 if len(shape) > 1 else 0.05
            tensors[key] = torch.randn(shape, generator=generator) * scale
        save_file(tensors, bare.weights / f"{name}.safetensors")
    return bare

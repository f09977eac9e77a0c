"""Counted without building against counted in the built model."""

import pytest

from core.models.build import build_model
from core.models.sizes import parameter_count
from core.models.spec import ModelSpec


@pytest.mark.parametrize(
    ("architecture", "arguments"),
    [
        ("lenet", {}),
        ("mlp", {"hidden": [7, 5], "activation": "tanh"}),
        ("convnet", {"base": 3}),
        ("convnet-gn", {"base": 4}),
        ("resnet20-4", {"base": 3}),
        ("resnet20-4-gn", {"base": 4}),
    ],
)
@pytest.mark.parametrize(("channels", "height", "width"), [(3, 32, 32), (1, 18, 27)])
def test_the_count_is_that_of_the_built_model(architecture, arguments, channels, height, width):
    norm = {"mean": (0.0,) * channels, "std": (1.0,) * channels}
    spec = ModelSpec(architecture, 7, channels, height, width, arguments, **norm)
    assert parameter_count(spec) == sum(p.numel() for p in build_model(spec).parameters())


def test_others_are_not_counted():
    assert parameter_count(ModelSpec("resnet18", 10)) is None

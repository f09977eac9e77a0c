"""Counted without building against counted in the built model."""

import pytest
import torchvision

from core.models.build import build_model, build_skeleton
from core.models.catalogue import CATALOGUE
from core.models.pretrained import PRETRAINED
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
        ("vit-tiny", {"width": 6, "depth": 2, "heads": 2, "patch": 5}),
        ("resnet18-cifar", {"base": 3}),
        ("resnet18-cifar-gn", {"base": 4}),
        ("resnet34-cifar", {"base": 1}),
        ("resnet50-cifar", {"base": 2}),
        ("densenet121-cifar", {"growth": 3}),
        ("vgg16-cifar", {"base": 2}),
        ("mobilenet-v2-cifar", {}),
        ("mobilenet-v2-cifar", {"base": 50}),
    ],
)
@pytest.mark.parametrize(("channels", "height", "width"), [(3, 32, 32), (1, 36, 45)])
def test_the_count_is_that_of_the_built_model(architecture, arguments, channels, height, width):
    norm = {"mean": (0.0,) * channels, "std": (1.0,) * channels}
    spec = ModelSpec(architecture, 7, channels, height, width, arguments, **norm)
    assert parameter_count(spec) == sum(p.numel() for p in build_model(spec).parameters())


@pytest.mark.parametrize("name", ["squeezenet1_1", "resnet18", "vit_b_32", "swin_t", "shufflenet_v2_x0_5"])
@pytest.mark.parametrize(("classes", "channels", "size"), [(1000, 3, 64), (7, 1, 96)])
def test_the_count_of_torchvisions_models_is_that_of_the_built_model(name, classes, channels, size):
    norm = {"mean": (0.0,) * channels, "std": (1.0,) * channels}
    spec = ModelSpec(name, classes, channels, size, size, **norm)
    assert parameter_count(spec) == sum(p.numel() for p in build_skeleton(spec).parameters())


def test_the_table_is_what_torchvision_documents():
    """The parameters that torchvision's own records of its weights state, without auxiliary heads."""
    for name, known in CATALOGUE.items():
        if known.own or name in ("googlenet", "inception_v3"):
            continue
        weights = PRETRAINED[name]
        stated = next(m for m in torchvision.models.get_model_weights(name) if m.url == weights.url).meta["num_params"]
        size = known.multiple if known.multiple > 1 else 224
        side = 224 if name.startswith("vit_") else size
        assert parameter_count(ModelSpec(name, 1000, height=side, width=side)) == stated, name


def test_an_imprint_is_not_counted():
    assert parameter_count(ModelSpec("imprint", 10)) is None

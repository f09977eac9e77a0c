"""The catalogue agrees with torchvision, with the builders and with what the models really do."""

import subprocess
import sys
import warnings
from dataclasses import replace
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from benchmarks.measure_vision import runs, second_derivative
from core.errors import UserError
from core.models.architectures import ARCHITECTURES
from core.models.build import build_model, build_skeleton
from core.models.catalogue import CATALOGUE, check_spec, check_train_mode
from core.models.presets import FACE_SPECS, PRESETS, SUMMARIES
from core.models.spec import ModelSpec
from core.models.vision_table import VISION_FAMILIES

# one model a family, the lightest
LIGHTEST = [family.names.split()[0] for family in VISION_FAMILIES]
OWN = [name for name, known in CATALOGUE.items() if known.own]


def test_names_are_torchvisions_and_ours() -> None:
    vision = set(torchvision.models.list_models(module=torchvision.models))
    assert {name for name, known in CATALOGUE.items() if not known.own} == vision
    assert set(OWN) == set(ARCHITECTURES)


def test_presets_are_in_the_catalogue() -> None:
    for name, spec in PRESETS.items():
        assert check_spec(spec).name == spec.architecture
        assert ModelSpec.from_json(spec.to_json()) == spec
        assert set(spec.arguments) == set(CATALOGUE[spec.architecture].arguments) or name in FACE_SPECS
    assert set(SUMMARIES) == set(PRESETS)


@pytest.mark.parametrize("name", LIGHTEST)
def test_minimum_sizes_of_torchvision(name: str) -> None:
    known = CATALOGUE[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of sizes that a scripted attention would not take
        for train, least in ((False, known.minimum_size), (True, known.training_minimum)):
            assert runs(name, least, train=train)
            assert least == known.multiple or not runs(name, least - known.multiple, train=train)


def test_batchnorm_is_told() -> None:
    for name in (*LIGHTEST, *OWN):
        size = max(CATALOGUE[name].minimum_size, 32)
        module = build_skeleton(
            ModelSpec(
                name,
                10,
                height=size // CATALOGUE[name].multiple * CATALOGUE[name].multiple,
                width=size // CATALOGUE[name].multiple * CATALOGUE[name].multiple,
            ),
            check=False,
        )
        assert any(isinstance(layer, nn.BatchNorm2d) for layer in module.modules()) == CATALOGUE[name].batchnorm


def test_train_mode_of_one_small_image_is_refused() -> None:
    spec = ModelSpec("resnet18", 10)  # 32×32: its last map has one pixel
    model = build_model(spec).train()
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        model(torch.rand(1, 3, 32, 32))
    with pytest.raises(UserError, match="at least 33×33 pixels or 2 images an update, not one of 32×32"):
        check_train_mode(spec, 1)
    assert model(torch.rand(2, 3, 32, 32)).isfinite().all()
    check_train_mode(spec, 2)
    check_train_mode(replace(spec, height=33, width=33), 1)
    check_train_mode(PRESETS["lenet"], 1)
    check_train_mode(PRESETS["resnet20-4"], 1)


@pytest.mark.parametrize("name", OWN)
def test_minimum_sizes_of_ours(name: str) -> None:
    known = CATALOGUE[name]
    for size, train in ((known.minimum_size, False), (known.training_minimum, True)):
        model = build_model(ModelSpec(name, 2, height=size, width=size)).train(train)
        assert model(torch.rand(1, 3, size, size)).isfinite().all()


@pytest.mark.parametrize("name", ["squeezenet1_1", "resnet18", "swin_v2_t"])
def test_second_derivative_exists(name: str) -> None:
    """The difference has an error where a kink of a ReLU lies between; 1e-9 is close enough to miss them all."""
    exact, difference = second_derivative(name, 32, train=False, epsilon=1e-9)
    assert exact == pytest.approx(difference, rel=1e-3)


def test_attention_has_a_second_derivative() -> None:
    """vit_b_32 cut to its first block: the fused kernel would raise here."""
    model = build_model(ModelSpec("vit_b_32", 10))
    model.encoder.layers = model.encoder.layers[:1]  # type: ignore[union-attr]
    x = torch.rand(1, 3, 32, 32, requires_grad=True)
    loss = nn.functional.cross_entropy(model(x), torch.tensor([1]))
    gradients = torch.autograd.grad(loss, list(model.parameters()), create_graph=True)
    (second,) = torch.autograd.grad(sum((g**2).sum() for g in gradients), x)
    assert second.abs().sum() > 0


def test_refused_model_has_no_second_derivative() -> None:
    refused = [name for name, known in CATALOGUE.items() if known.refused]
    assert refused == ["mobilenet_v3_small", "mobilenet_v3_large"]
    with pytest.raises(RuntimeError, match="hardsigmoid_backward is not implemented"):
        second_derivative("mobilenet_v3_small", 33, train=False)
    with pytest.raises(UserError, match="mobilenet_v3_small cannot be attacked: torch has no second derivative"):
        check_spec(ModelSpec("mobilenet_v3_small", 10, height=64, width=64))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"architecture": "convnt"}, "no architecture called 'convnt'; did you mean convnet"),
        ({"height": 8}, "at least 9×9 pixels, not 32×8"),
        ({"height": 4096}, "at most 1024×1024"),
        ({"height": 32.5}, "whole numbers"),
        ({"num_classes": 1}, "2 to 100,000 classes, not 1"),
        ({"num_classes": True}, "2 to 100,000 classes, not True"),
        ({"channels": 0}, "1 to 16 channels"),
        ({"channels": 1}, "mean has 3 values for 1 channels"),
        ({"std": (1.0, 0.0, 1.0)}, "std must be above 0"),
        ({"std": (1.0, float("nan"), 1.0)}, "std must be above 0"),
        ({"mean": (0.0, float("inf"), 0.0)}, "mean must be a finite number"),
        ({"class_names": ("a", "b")}, "2 class names came for 10 classes"),
        ({"arguments": {"bas": 3}}, "did you mean base"),
        ({"arguments": {"base": "8"}}, "a whole number from 1 to 512"),
        ({"arguments": {"base": 10**9}}, "a whole number from 1 to 512"),
        ({"architecture": "mlp", "arguments": {"hidden": []}}, "a list of 1 to 8 whole numbers"),
        ({"architecture": "mlp", "arguments": {"activation": "step"}}, "one of sigmoid, relu, tanh"),
        ({"architecture": "lenet", "arguments": {"base": 8}}, "takes no arguments"),
        ({"architecture": "vit-tiny", "arguments": {"heads": 5}}, "divide its width, but 192 is no multiple of 5"),
        ({"architecture": "vit_b_16", "arguments": {}, "height": 48}, "square images"),
        ({"architecture": "vit_b_32", "arguments": {}, "height": 48, "width": 48}, "that 32 divides, not 48×48"),
        ({"architecture": "alexnet", "arguments": {}}, "at least 63×63 pixels, not 32×32"),
    ],
)
def test_specs_that_cannot_be_built(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        build_model(replace(PRESETS["convnet"], **changes))


def test_catalogue_and_presets_import_no_torch() -> None:
    code = (
        "import sys, core.models.catalogue, core.models.presets, core.models.weights, core.images.load\n"
        "from core.models.presets import PRESETS, preset_weights\n"
        "core.models.catalogue.check_spec(PRESETS['lenet']); preset_weights('lenet-faces')\n"
        "core.images.load.load_images('photos', spec=PRESETS['lenet'], limit=2)\n"
        "print('torch' in sys.modules or 'torchvision' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"

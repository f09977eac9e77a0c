"""build_model: strict, seeded, and without a trace in the global random state."""

import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save
from torch import nn

from core.errors import UserError
from core.models.build import build_model, build_skeleton, describe, load_weights
from core.models.presets import PRESETS
from core.models.spec import ModelSpec

LENET = PRESETS["lenet"]


def same(first: nn.Module, second: nn.Module) -> bool:
    a, b = first.state_dict(), second.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("name", ["lenet", "convnet-narrow", "mlp"])
def test_same_seed_same_weights(name: str) -> None:
    spec = PRESETS[name]
    assert same(build_model(spec), build_model(spec))
    assert not same(build_model(spec), build_model(replace(spec, init_seed=1)))


def test_global_random_state_is_neither_read_nor_moved() -> None:
    for spec in (LENET, ModelSpec("squeezenet1_1", 10)):
        torch.manual_seed(11)
        first = build_model(spec)
        after = torch.rand(3)
        torch.manual_seed(12)
        second = build_model(spec)
        torch.manual_seed(11)
        assert torch.equal(after, torch.rand(3))
        assert same(first, second)


def test_same_weights_in_another_process() -> None:
    code = (
        "import hashlib; from core.models.build import build_model; from core.models.presets import PRESETS\n"
        "m = build_model(PRESETS['lenet'])\n"
        "print(hashlib.sha256(b''.join(t.numpy().tobytes() for t in m.state_dict().values())).hexdigest())"
    )
    elsewhere = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    here = b"".join(tensor.numpy().tobytes() for tensor in build_model(LENET).state_dict().values())
    assert hashlib.sha256(here).hexdigest() == elsewhere


def test_eval_float32_trainable() -> None:
    model = build_model(PRESETS["convnet-narrow"])
    assert not any(module.training for module in model.modules())
    assert all(p.dtype == torch.float32 and p.requires_grad and p.device.type == "cpu" for p in model.parameters())


@pytest.mark.parametrize("name", ["vgg11", "efficientnet_b0", "convnext_tiny", "swin_t", "densenet121", "googlenet"])
def test_torchvision_is_tamed(name: str) -> None:
    """Nothing in place, nothing random: train mode moves BatchNorm only."""
    model = build_skeleton(ModelSpec(name, 10, height=64, width=64))
    assert not any(getattr(module, "inplace", False) for module in model.modules())
    assert not any(type(module).__name__ in ("Dropout", "StochasticDepth") for module in model.modules())


def test_train_mode_is_not_random() -> None:
    model = build_model(ModelSpec("squeezenet1_1", 4)).train()
    x = torch.rand(1, 3, 32, 32)
    assert torch.equal(model(x), model(x))


def test_weights_round_trip_and_bytes_or_file(tmp_path: Path) -> None:
    model = build_model(replace(LENET, init_seed=3))
    data = save(model.state_dict())
    path = tmp_path / "w.safetensors"
    path.write_bytes(data)
    for source in (data, path):
        assert same(build_model(LENET, load_weights(source)), model)


def test_weights_that_do_not_fit_are_refused() -> None:
    state = build_model(LENET).state_dict()
    with pytest.raises(UserError, match=r"1 \(head.bias\) missing, 1 \(tail.bias\) unknown"):
        build_model(LENET, {**{k: v for k, v in state.items() if k != "head.bias"}, "tail.bias": torch.zeros(10)})
    with pytest.raises(UserError, match=r"head.weight has shape \(10, 768\).*needs \(5, 768\)"):
        build_model(replace(LENET, num_classes=5), state)
    with pytest.raises(UserError, match="needs its weights"):
        build_model(PRESETS["lenet-faces"])
    with pytest.raises(UserError, match="no readable safetensors"):
        load_weights(b"12345678901")


def test_channels_other_than_three() -> None:
    spec = ModelSpec("resnet18", 10, channels=1, mean=(0.0,), std=(1.0,))
    assert build_model(spec)(torch.rand(2, 1, 32, 32)).shape == (2, 10)
    grey = ModelSpec("vit_b_32", 10, channels=1, mean=(0.0,), std=(1.0,))
    assert build_skeleton(grey)(torch.empty(1, 1, 32, 32, device="meta")).shape == (1, 10)


def test_skeleton_agrees_with_the_model() -> None:
    for spec in (PRESETS["convnet-narrow"], ModelSpec("regnet_x_400mf", 10), ModelSpec("swin_v2_t", 10)):
        model, skeleton = build_model(spec).state_dict(), build_skeleton(spec).state_dict()
        assert {k: (v.shape, v.dtype) for k, v in model.items()} == {k: (v.shape, v.dtype) for k, v in skeleton.items()}
        assert all(tensor.device.type == "meta" for tensor in skeleton.values())


def test_describe_by_hand() -> None:
    description = describe(build_model(LENET))
    assert [(layer.name, layer.kind, layer.shape, layer.parameters) for layer in description.layers[:2]] == [
        ("body.0", "Conv2d", "12×3×5×5", 912),  # 12·3·25 + 12
        ("body.1", "Sigmoid", "", 0),
    ]
    assert description.parameters == sum(layer.parameters for layer in description.layers) == 15_826  # + 7,690 head
    vit = describe(build_skeleton(ModelSpec("vit_b_32", 10)))
    assert vit.parameters > sum(layer.parameters for layer in vit.layers)  # its class token belongs to no leaf layer

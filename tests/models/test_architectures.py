"""Own architectures: sizes as published, the gradient of the gradient, and drawn weights that never change."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from core.models.architectures import ARCHITECTURES, ConvNet, Encoder, LeNet, draw_weights
from core.models.build import build_model, build_skeleton
from core.models.catalogue import CATALOGUE
from core.models.layers import MaxPool, group_norm
from core.models.spec import ModelSpec

SMALL = {
    "convnet": {"base": 4},
    "resnet20-4": {"base": 4},
    "vit-tiny": {"width": 16, "depth": 1, "heads": 2},
    "resnet18-cifar": {"base": 4},
    "resnet34-cifar": {"base": 2},
    "resnet50-cifar": {"base": 2},
    "densenet121-cifar": {"growth": 2},
    "vgg16-cifar": {"base": 2},
    "mobilenet-v2-cifar": {"base": 8},
}


def small(name: str) -> dict[str, int]:
    return SMALL.get(name.removesuffix("-gn"), {})


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_parameter_counts() -> None:
    # REFERENCE.md: ResNet20-4 has 4.35 M parameters at 100 classes, ConvNet 3.1 M (with a head of 2304 × 100 + 100).
    assert round(count(ARCHITECTURES["resnet20-4"](3, 32, 32, 100)) / 1e6, 2) == 4.35
    assert round(count(ARCHITECTURES["convnet"](3, 32, 32, 100)) / 1e6, 1) == 3.1
    # LeNet by hand: 12·3·25+12, twice 12·12·25+12, and 768·100+100 (12 channels of 8×8 after strides 2, 2, 1).
    assert count(LeNet(3, 32, 32, 100)) == 912 + 2 * 3612 + 76_900
    # MLP by hand: 3072·256+256 and 256·10+10.
    assert count(ARCHITECTURES["mlp"](3, 32, 32, 10)) == 786_688 + 2_570

    # ViT tiny by hand: patches 3·16·192+192, class token, 65 positions, 12 blocks of 12·192² weights (3 in, 1 out, 8 in
    # the two linear layers), 9·192 biases (3, 1, 4, 1) and 4·192 of two norms, the last norm, the head.
    block = 12 * 192**2 + (3 + 1 + 4 + 1 + 4) * 192
    assert count(ARCHITECTURES["vit-tiny"](3, 32, 32, 10)) == 9_408 + 66 * 192 + 12 * block + 2 * 192 + 1_930


@pytest.mark.parametrize(
    ("name", "published"),
    [
        # As https://github.com/kuangliu/pytorch-cifar builds them for CIFAR-10, by the numbers that its users report.
        ("resnet18-cifar", 11_173_962),
        ("resnet34-cifar", 21_282_122),
        ("resnet50-cifar", 23_520_842),
        ("densenet121-cifar", 6_956_298),
        ("vgg16-cifar", 14_728_266),  # 14,714,688 of VGG-16's convolutions, 2 · 4224 of norms, 512 · 10 + 10
        # torchvision documents 3,504,872 for MobileNet v2 with 1000 classes: 1280 · 990 + 990 fewer for 10.
        ("mobilenet-v2-cifar", 3_504_872 - 1_268_190),
    ],
)
def test_parameter_counts_of_small_stems_are_the_published_ones(name: str, published: int) -> None:
    assert count(build_skeleton(ModelSpec(name, 10))) == published


@pytest.mark.parametrize("name", ["resnet18-cifar", "resnet50-cifar"])
def test_small_stems_differ_from_torchvisions_in_the_stem_alone(name: str) -> None:
    theirs = build_skeleton(ModelSpec(name.removesuffix("-cifar"), 10)).state_dict()
    ours = build_skeleton(ModelSpec(name, 10)).state_dict()
    assert {key: t.shape for key, t in ours.items() if key != "conv1.weight"} == {
        key: t.shape for key, t in theirs.items() if key != "conv1.weight"
    }
    assert ours["conv1.weight"].shape == (64, 3, 3, 3)


def test_the_convolutions_of_a_small_stem_are_torchvisions() -> None:
    """The same weights in torchvision's ResNet18, its stem replaced by hand, give the same logits."""
    from torchvision.models import resnet18

    theirs = resnet18(num_classes=10)
    theirs.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    theirs.maxpool = nn.Identity()
    ours = build_model(ModelSpec("resnet18-cifar", 10))
    theirs.load_state_dict(ours.state_dict())
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ours(x), theirs.eval()(x))


@pytest.mark.parametrize("name", ["resnet18-cifar", "densenet121-cifar", "vgg16-cifar", "mobilenet-v2-cifar"])
def test_small_stems_keep_the_picture_large(name: str) -> None:
    """The last maps of a 32-pixel image have 4×4 pixels (VGG's five poolings leave one), torchvision's have one."""
    sides = []
    model = build_model(ModelSpec(name, 10, arguments=small(name)))
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda _, __, result: sides.append(result.shape[-1]))
    model(torch.rand(1, 3, 32, 32))
    assert (sides[0], sides[-1]) == (32, 2 if name == "vgg16-cifar" else 4)


@pytest.mark.parametrize("name", ["convnet-gn", "resnet20-4-gn", "resnet18-cifar-gn"])
def test_opacus_takes_the_variants_with_group_norm(name: str) -> None:
    from opacus.validators import ModuleValidator

    model = build_model(ModelSpec(name, 10, arguments={"base": 4})).train()
    assert ModuleValidator.validate(model, strict=False) == []
    batch = build_model(ModelSpec(name.removesuffix("-gn"), 10, arguments={"base": 4})).train()
    assert ModuleValidator.validate(batch, strict=False)


@pytest.mark.parametrize(("side", "patch"), [(32, 4), (64, 8), (112, 8)])
def test_vit_takes_the_sizes_of_the_papers_data_sets(side: int, patch: int) -> None:
    arguments = {"width": 12, "depth": 1, "heads": 3, "patch": patch}
    model = build_model(ModelSpec("vit-tiny", 5, height=side, width=side, arguments=arguments))
    assert model.positions.shape == (1, (side // patch) ** 2 + 1, 12)
    assert model(torch.rand(2, 3, side, side)).shape == (2, 5)


@pytest.mark.parametrize("name", ["convnet", "resnet20-4", "resnet18-cifar"])
def test_group_norm_variants_differ_in_the_norm_alone(name: str) -> None:
    batch, group = ({n: p.shape for n, p in ARCHITECTURES[kind](3, 32, 32, 10, base=8).named_parameters()}
                    for kind in (name, f"{name}-gn"))  # fmt: skip
    assert batch == group
    layers = list(ARCHITECTURES[f"{name}-gn"](3, 32, 32, 10).modules())
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in layers)
    assert {layer.num_groups for layer in layers if isinstance(layer, nn.GroupNorm)} == {32}


@pytest.mark.parametrize(
    ("channels", "groups"), [(1, 1), (2, 1), (3, 1), (6, 3), (8, 4), (48, 24), (64, 32), (100, 25)]
)
def test_groups_hold_two_channels_or_more(channels: int, groups: int) -> None:
    assert group_norm(channels).num_groups == groups


def test_vit_is_the_transformer_that_torch_has() -> None:
    """The same weights in nn.TransformerEncoderLayer, pre-norm and with GELU, give the same tokens."""
    block = Encoder(8, 2).double()
    theirs = nn.TransformerEncoderLayer(8, 2, 32, 0.0, "gelu", 1e-6, batch_first=True, norm_first=True).double()
    attention, own = theirs.self_attn, block.attention
    pairs = [
        (attention.in_proj_weight, own.inputs.weight),
        (attention.in_proj_bias, own.inputs.bias),
        (attention.out_proj.weight, own.output.weight),
        (attention.out_proj.bias, own.output.bias),
        (theirs.linear1.weight, block.body[0].weight),
        (theirs.linear1.bias, block.body[0].bias),
        (theirs.linear2.weight, block.body[2].weight),
        (theirs.linear2.bias, block.body[2].bias),
    ]
    with torch.no_grad():
        for one, other in pairs:
            one.copy_(other)
    x = torch.randn(3, 5, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    torch.testing.assert_close(block(x), theirs.train()(x), rtol=1e-12, atol=1e-12)


def test_vit_sees_every_pixel() -> None:
    """Also those of a side that the patch does not divide."""
    spec = ModelSpec("vit-tiny", 3, height=6, width=9, arguments={"width": 12, "depth": 1, "heads": 2})
    x = torch.rand(1, 3, 6, 9, requires_grad=True)
    (gradient,) = torch.autograd.grad(build_model(spec)(x).square().sum(), x)
    assert bool((gradient != 0).all())


def test_convnet_has_the_published_widths() -> None:
    widths = [layer.out_channels for layer in ConvNet(3, 32, 32, 10).modules() if isinstance(layer, nn.Conv2d)]
    assert widths == [64, 128, 128, 256, 256, 256, 256, 256]
    assert sum(isinstance(layer, MaxPool) for layer in ConvNet(3, 32, 32, 10).modules()) == 2


@pytest.mark.parametrize(("size", "shape"), [(3, (2, 5, 10, 11)), (2, (1, 1, 7, 4)), (3, (1, 2, 3, 3))])
def test_max_pool_is_torchs(size: int, shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64, requires_grad=True)
    ours, theirs = MaxPool(size)(x), nn.functional.max_pool2d(x, size)
    assert torch.equal(ours, theirs)
    weight = torch.randn(ours.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    gradients = [torch.autograd.grad((y * weight).sum(), x)[0] for y in (ours, theirs)]
    assert torch.equal(*gradients)


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize(("channels", "height", "width"), [(3, 32, 32), (1, 28, 28), (3, 9, 21)])
def test_any_input_gives_logits(name: str, channels: int, height: int, width: int) -> None:
    height, width = (max(side, CATALOGUE[name].minimum_size) for side in (height, width))
    spec = ModelSpec(name, 7, channels, height, width, small(name), (0.0,) * channels, (1.0,) * channels)
    assert build_model(spec)(torch.rand(2, channels, height, width)).shape == (2, 7)


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("training", [False, True])
def test_gradient_of_the_gradient_agrees_with_a_difference(name: str, training: bool) -> None:
    """d/dt |∇weights|²(x + t·d) by autograd and by a central difference, in float64."""
    side = max(9, CATALOGUE[name].training_minimum)
    model = build_model(ModelSpec(name, 3, height=side, width=side, arguments=small(name))).double().train(training)
    generator = torch.Generator().manual_seed(3)
    x = torch.rand(2, 3, side, side, generator=generator, dtype=torch.float64)
    direction = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    parameters = list(model.parameters())
    if name in ("vgg16-cifar", "mobilenet-v2-cifar"):  # as drawn they let next to nothing through in eval mode
        for layer in model.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_var.fill_(0.3)

    def squared_norm(image: torch.Tensor) -> torch.Tensor:
        loss = nn.functional.cross_entropy(model(image), torch.tensor([0, 2]))
        return sum((g**2).sum() for g in torch.autograd.grad(loss, parameters, create_graph=True))

    moving = x.clone().requires_grad_(True)
    exact = float((torch.autograd.grad(squared_norm(moving), moving)[0] * direction).sum())
    step = 1e-7  # error of the difference about step² + 1e-16 / step, far below the tolerance
    ahead, behind = (float(squared_norm(x + sign * step * direction).detach()) for sign in (1, -1))
    assert exact == pytest.approx((ahead - behind) / (2 * step), rel=1e-4)
    assert abs(exact) > 1e-6


def test_lenet_draws_uniformly_between_minus_and_plus_one_half() -> None:
    drawn = torch.cat([p.detach().flatten() for p in build_model(ModelSpec("lenet", 100)).parameters()])
    # 85,036 draws of U(-.5, .5): mean 0 ± 4 · √(1/12)/√85036 = .004, variance 1/12, extremes close to the ends.
    assert -0.5 <= drawn.min() < -0.499
    assert 0.499 < drawn.max() <= 0.5
    assert abs(drawn.mean()) < 0.004
    assert drawn.var() == pytest.approx(1 / 12, rel=0.02)


def test_others_draw_as_torch_does() -> None:
    """The same bound as nn.Conv2d's own reset_parameters: 1/√fan_in, for weights and biases."""
    model = build_model(ModelSpec("convnet", 10))
    layer = next(module for module in model.modules() if isinstance(module, nn.Conv2d) and module.in_channels == 128)
    bound = 1 / math.sqrt(128 * 9)
    fresh = nn.Conv2d(128, layer.out_channels, 3)
    for tensor in (layer.weight, fresh.weight):
        assert 0.999 * bound < tensor.abs().max() <= bound
    assert 0.9 * bound < layer.bias.abs().max() <= bound


def test_drawn_weights_are_the_same_for_ever() -> None:
    """Recomputed without torch: the 24 low bits of each word of the Mersenne Twister, times 2⁻²⁴, less one half."""
    module = LeNet(1, 8, 8, 2)
    draw_weights("lenet", module, torch.Generator().manual_seed(5))
    drawn = torch.cat([p.detach().flatten() for p in module.parameters()]).numpy()
    twister = np.random.MT19937()
    twister._legacy_seeding(5)
    words = twister.random_raw(len(drawn)).astype(np.int64)
    assert np.array_equal(drawn, ((words % 2**24) / 2**24 - 0.5).astype(np.float32))

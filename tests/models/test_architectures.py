"""Own architectures: sizes as published, the gradient of the gradient, and drawn weights that never change."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from core.models.architectures import ARCHITECTURES, ConvNet, LeNet, MaxPool, draw_weights
from core.models.build import build_model
from core.models.spec import ModelSpec


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
    spec = ModelSpec(name, 7, channels, height, width, mean=(0.0,) * channels, std=(1.0,) * channels)
    assert build_model(spec)(torch.rand(2, channels, height, width)).shape == (2, 7)


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("training", [False, True])
def test_gradient_of_the_gradient_agrees_with_a_difference(name: str, training: bool) -> None:
    """d/dt |∇weights|²(x + t·d) by autograd and by a central difference, in float64."""
    arguments = {"base": 4} if name in ("convnet", "resnet20-4") else {}
    model = build_model(ModelSpec(name, 3, height=9, width=9, arguments=arguments)).double().train(training)
    generator = torch.Generator().manual_seed(3)
    x = torch.rand(2, 3, 9, 9, generator=generator, dtype=torch.float64)
    direction = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    parameters = list(model.parameters())

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

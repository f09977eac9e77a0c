"""Convolution weight gradients by kernel offsets, the form that a GPU takes, forced on the CPU."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.attacks import compiled, layers_conv, layers_conv_offsets, precision
from core.attacks.descent import Descent
from core.attacks.engine import draw, set_up
from core.attacks.gradients import gradient_field
from core.attacks.inverting import InvertingConfig
from core.attacks.layers_conv import Convolution, conv_weight_gradient, form_of
from core.attacks.passes import step
from tests.attacks.gradient_cases import CLASSES, LAYERS, SHAPE, _net, compare


@pytest.fixture
def forced(monkeypatch):
    """Offsets on the CPU; the list tells of every layer that took them."""
    taken: list[layers_conv_offsets.Grid] = []
    real = layers_conv_offsets.weight_gradient

    def noted(x: Tensor, outer: Tensor, grid: layers_conv_offsets.Grid) -> Tensor:
        taken.append(grid)
        return real(x, outer, grid)

    monkeypatch.setattr(layers_conv, "takes_offsets", lambda _x: True)
    monkeypatch.setattr(layers_conv_offsets, "weight_gradient", noted)
    return taken


def case(size=(7, 9), kernel=(3, 3), stride=(1, 1), sides=((1, 1), (1, 1)), dilation=(1, 1), groups=1, images=2):
    return size, kernel, stride, sides, dilation, groups, images


CASES = {
    "plain": case(),
    "one image": case(images=1),
    "no padding": case(sides=((0, 0), (0, 0))),
    "stride": case(stride=(2, 2)),
    "stride that leaves rows over": case((8, 10), (3, 2), (3, 4), ((0, 0), (0, 0))),
    "stride above the kernel": case((9, 7), (2, 2), (3, 3), ((1, 1), (0, 0)), images=3),
    "dilation": case(dilation=(2, 3), sides=((2, 2), (3, 3))),
    "stride and dilation": case((11, 13), (3, 3), (2, 3), ((1, 1), (2, 2)), (3, 2)),
    "stride that divides dilation": case((9, 9), (3, 3), (2, 2), ((2, 2), (2, 2)), (2, 2)),
    "uneven sides": case((7, 6), (4, 2), sides=((1, 2), (0, 1))),
    "even kernel": case((5, 8), (2, 4), (1, 2), ((1, 1), (2, 2))),
    "whole image": case((5, 4), (5, 4), sides=((0, 0), (0, 0)), images=3),
    "wider padding than kernel": case((3, 2), (2, 2), sides=((3, 3), (2, 2))),
    "1x1 with padding": case(kernel=(1, 1)),
    "1x1 with padding and stride": case(kernel=(1, 1), stride=(2, 3)),
    "single row": case((1, 9), (1, 3), sides=((0, 0), (1, 1))),
}
ELSEWHERE = {
    "1x1": case(kernel=(1, 1), sides=((0, 0), (0, 0))),
    "1x1 stride": case(kernel=(1, 1), stride=(2, 2), sides=((0, 0), (0, 0))),
    "groups": case(groups=2),
    "depthwise": case(groups=4, stride=(2, 2)),
}
NOT_HERE = ("conv 1x1 stride", "conv depthwise", "conv 1d groups", "conv of blocks groups")  # of LAYERS
IN, OUT, PROBLEMS = 4, 8, 2


def by_autograd(x: Tensor, outer: Tensor, images: int, shape, stride, sides, dilation, groups) -> Tensor:
    """The definition: torch's own derivative of each problem's convolution with respect to its weight."""
    (top, bottom), (left, right) = sides
    rows = []
    for image, gradient in zip(x.split(images), outer.split(images), strict=True):
        weight = torch.zeros(shape, dtype=x.dtype, requires_grad=True)
        result = F.conv2d(F.pad(image, (left, right, top, bottom)), weight, None, stride, 0, dilation, groups)
        rows.append(torch.autograd.grad(result, weight, gradient, create_graph=True)[0])
    return torch.stack(rows)


def factors(size, kernel, stride, sides, dilation, groups, images):
    """Input, gradient of the output, a direction of the weight gradient; and what both forms are told."""
    source = torch.Generator().manual_seed(5)
    shape = (OUT, IN // groups, *kernel)
    x = torch.randn(PROBLEMS * images, IN, *size, generator=source, dtype=torch.float64)
    (top, bottom), (left, right) = sides
    like = F.conv2d(F.pad(x, (left, right, top, bottom)), x.new_zeros(shape), None, stride, 0, dilation, groups)
    outer = torch.randn(like.shape, generator=source, dtype=torch.float64)
    wanted = torch.randn(PROBLEMS, *shape, generator=source, dtype=torch.float64)
    return x.requires_grad_(), outer.requires_grad_(), wanted, (shape, stride, sides, dilation, groups)


@pytest.mark.parametrize("name", [*CASES, *ELSEWHERE])
def test_weight_gradient_and_both_derivatives_are_those_of_autograd(forced, name):
    given = (CASES | ELSEWHERE)[name]
    x, outer, wanted, told = factors(*given)
    ours = conv_weight_gradient(x, outer, PROBLEMS, *told)
    right = by_autograd(x, outer, given[-1], *told)
    assert bool(forced) == (name in CASES)
    torch.testing.assert_close(ours, right, rtol=1e-9, atol=1e-11)
    found = torch.autograd.grad(ours, (x, outer), wanted)
    # the cost's derivative may come as a view of something else
    strided = wanted.transpose(1, 2).contiguous().transpose(1, 2)
    again = torch.autograd.grad(conv_weight_gradient(x, outer, PROBLEMS, *told), (x, outer), strided)
    for one, two, other in zip(found, again, torch.autograd.grad(right, (x, outer), wanted), strict=True):
        assert one.shape == other.shape
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)
        torch.testing.assert_close(two, other, rtol=1e-9, atol=1e-11)


def test_form_by_device_and_layer():
    plain, grouped, pointwise = (
        Convolution(2, shape, (1, 1), (0, 0), (1, 1), groups)
        for shape, groups in (((8, 8, 3, 3), 1), ((8, 4, 3, 3), 2), ((8, 8, 1, 1), 1))
    )
    cpu, meta = torch.zeros(1), torch.zeros(1, device="meta")
    assert [form_of(layer, cpu) for layer in (plain, grouped, pointwise)] == ["groups", "patches", "patches"]
    assert [form_of(layer, meta) for layer in (plain, grouped, pointwise)] == ["patches"] * 3


def test_form_with_offsets_says_what_it_leaves_to_the_others(monkeypatch):
    monkeypatch.setattr(layers_conv, "takes_offsets", lambda _x: True)
    for shape, groups, form in (
        ((8, 8, 3, 3), 1, "offsets"),
        ((8, 4, 3, 3), 2, "patches"),
        ((8, 8, 1, 1), 1, "patches"),
    ):
        layer = Convolution(2, shape, (1, 1), (0, 0), (1, 1), groups)
        assert form_of(layer, torch.zeros(1)) == form


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("name", [name for name in LAYERS if name.startswith("conv")])
def test_layers_with_every_padding_mode_match_the_definition(forced, name):
    first, second = compare(LAYERS[name](), "eval", 3, torch.float64, "shared weights")
    assert first < 1e-9
    assert second < 1e-9
    assert bool(forced) == (name not in NOT_HERE)


def small_convnet() -> nn.Module:
    return _net(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8),
    )  # fmt: skip


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_a_convnet_with_batchnorm_matches_plain_double_backward(forced, mode):
    first, second = compare(small_convnet(), mode, 2, torch.float64, "shared weights")
    assert first < 1e-9
    assert second < 1e-9
    assert {grid.kernel for grid in forced} == {(3, 3)}
    assert compare(small_convnet(), mode, 2, torch.float32, "shared weights")[0] < 1e-4


def test_factors_rounded_to_bf16_are_those_of_the_other_forms(forced):
    """Whole products of the same rounded numbers, in another order of summing, against float32's far larger gap."""
    x, outer, wanted, told = factors(*CASES["stride"])
    x, outer, wanted = (t.detach().float().requires_grad_() for t in (x, outer, wanted))

    def results():
        found = conv_weight_gradient(x, outer, PROBLEMS, *told)
        return (found.detach(), *torch.autograd.grad(found, (x, outer), wanted.detach()))

    exact = results()
    with precision.using("bf16"):
        ours = results()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(layers_conv, "takes_offsets", lambda _x: False)
            patch.setattr(Convolution, "blocked", lambda _layer, _x: False)
            theirs = results()
    for one, other, unrounded in zip(ours, theirs, exact, strict=True):
        assert one.dtype == torch.float32
        gap, rounding = (one - other).norm() / other.norm(), (unrounded - other).norm() / other.norm()
        assert gap < 1e-6
        assert 1e-4 < rounding < 1e-2


def test_a_step_can_be_traced_and_its_sums_stay_whole_operators(forced, make):
    observation, _, labels = make(updates=3)
    descent = Descent(set_up(observation, 1), InvertingConfig(), labels)
    descent.begin(draw("normal", 0, range(3), 1, descent.low.numel()).reshape(3, *descent.problems.image_shape))
    plain, rows = partial(step, descent.objective), torch.arange(3)
    assert descent.problems.field.path == "shared weights, batched products"
    forced.clear()
    module, held = compiled.trace(plain, descent.image, rows)
    layers = len(forced)
    assert layers
    called = [str(node.target) for node in module.graph.nodes]
    assert sum(name.startswith("semsight.offset_products") for name in called) == layers
    assert sum(name.startswith("semsight.offset_derivatives") for name in called) == layers
    other = descent.image.flip(0) * 0.3
    assert compiled.disagreement(module(other, rows.flip(0), *held), plain(other, rows.flip(0))) < 1e-6


def test_the_operators_are_as_they_say():
    """torch's own check: no aliasing, no hidden mutation, and shapes for tracing that hold."""
    rows, outs = torch.randn(2, 1, 20, 3), torch.randn(2, 20, 4)
    matrices, offsets = torch.randn(2, 4, 4, 3), ([0] * 4, [0, 1, 5, 6])
    checks = ("test_schema", "test_faketensor")
    torch.library.opcheck(torch.ops.semsight.offset_products.default, (rows, outs, *offsets, False), test_utils=checks)
    torch.library.opcheck(
        torch.ops.semsight.offset_derivatives.default, (rows, outs, matrices, *offsets, False), test_utils=checks
    )


def test_field_with_this_form_is_the_one_without(forced):
    model = LAYERS["conv of blocks"]()
    names = [name for name, _ in model.named_parameters()]
    images = torch.randn(3, 2, *SHAPE, generator=torch.Generator().manual_seed(2)).requires_grad_()
    targets = torch.full((3, 2, CLASSES), 0.2)
    ours = gradient_field(model, names, "eval", (2, *SHAPE), CLASSES).evaluate(images, targets)[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layers_conv, "takes_offsets", lambda _x: False)
        theirs = gradient_field(model, names, "eval", (2, *SHAPE), CLASSES).evaluate(images, targets)[0]
    for one, other in zip(ours, theirs, strict=True):
        assert one.stride() == other.stride()
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)

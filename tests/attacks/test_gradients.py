"""The fast per-problem gradients against plain double backward, layer by layer and for whole models."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.attacks.gradients import frozen_copy, gradient_field
from core.models.build import build_model
from core.models.spec import ModelSpec
from core.models.vision import MathAttention

SHAPE, CLASSES = (3, 8, 8), 5


def _net(*layers: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    body = nn.Sequential(*layers, nn.Sigmoid(), nn.Flatten())
    features = body(torch.zeros(2, *SHAPE)).shape[1]
    net = nn.Sequential(body, nn.Linear(features, CLASSES))
    for layer in net.modules():
        if isinstance(getattr(layer, "running_mean", None), Tensor):
            nn.init.uniform_(layer.running_mean, -0.3, 0.3)
            nn.init.uniform_(layer.running_var, 0.5, 2.0)
        if "Norm" in type(layer).__name__ and layer.weight is not None:
            nn.init.uniform_(layer.weight, 0.5, 2.0)
            if layer.bias is not None:
                nn.init.uniform_(layer.bias, -0.5, 0.5)
    return net.eval()


class _Attention(nn.Module):
    """Self-attention over the rows of an image."""

    def __init__(self, **more: Any) -> None:
        super().__init__()
        self.attention = MathAttention(24, 3, **{"batch_first": True, **more})
        if self.attention.in_proj_bias is not None:
            nn.init.uniform_(self.attention.in_proj_bias, -0.3, 0.3)

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2).flatten(2)  # (N, 8, 24)
        return self.attention(x, x, x, need_weights=False)[0]


class _Bare(nn.Module):
    """Parameters without a layer: a token, positions, a scale, a temperature, and a looked-up table, as ViT, ConvNeXt
    and Swin have them, and a bias of which a part is set to zero."""

    def __init__(self) -> None:
        super().__init__()
        self.token, self.positions = nn.Parameter(torch.randn(1, 1, 24)), nn.Parameter(torch.randn(1, 9, 24))
        self.scale, self.temperature = nn.Parameter(torch.rand(9, 1)), nn.Parameter(torch.randn(3, 1, 1))
        self.table, self.bias = nn.Parameter(torch.randn(17, 3)), nn.Parameter(torch.randn(24))
        self.mix, self.positional = (
            nn.Linear(24, 24, bias=False),
            nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 3)),
        )
        self.register_buffer("index", torch.arange(9)[:, None] - torch.arange(9) + 8)
        self.register_buffer("grid", torch.rand(9, 9, 2))

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2).flatten(2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1) + self.positions
        bias = self.bias.clone()
        bias[3:7].zero_()
        parts = F.linear(self.scale * x, self.mix.weight, bias).unflatten(-1, (3, 8)).transpose(1, 2)
        scores = parts @ parts.transpose(-1, -2) * self.temperature.clamp(max=1.0).exp()
        scores = scores + self.table[self.index.flatten()].view(9, 9, 3).permute(2, 0, 1).unsqueeze(0)
        scores = scores + self.positional(self.grid).sigmoid().permute(2, 0, 1)
        return scores.softmax(-1) @ parts


class _Twice(nn.Module):
    """One layer called twice, and its weight used a third time, turned round, without the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer(self.layer(x).sigmoid())
        return F.conv2d(x, self.layer.weight.transpose(0, 1).flip(-1))


class _InPlace(nn.Module):
    """A functional activation and a sum in place, on the outputs of layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(F.leaky_relu(self.first(x), 0.3, inplace=True))
        y = self.second(x)
        y += x
        return y.tanh_()


def _rows() -> nn.Module:
    return nn.Flatten(2)  # (N, 3, 64)


ONE_VALUE = "batchnorm of features"  # in train mode one image has one value a channel, and torch refuses
LAYERS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: _net(nn.Flatten(), nn.Linear(192, 7)),
    "linear without bias": lambda: _net(nn.Flatten(), nn.Linear(192, 7, bias=False)),
    "linear on rows": lambda: _net(nn.Linear(8, 6)),
    "conv": lambda: _net(nn.Conv2d(3, 4, 3)),
    "conv stride padding": lambda: _net(nn.Conv2d(3, 4, (3, 5), stride=(2, 1), padding=(1, 2))),
    "conv dilation": lambda: _net(nn.Conv2d(3, 4, 3, dilation=2, padding=2, bias=False)),
    "conv 1x1 stride": lambda: _net(nn.Conv2d(3, 4, 1, stride=2)),
    "conv 1x1 padding": lambda: _net(nn.Conv2d(3, 4, 1, padding=1)),
    "conv large stride": lambda: _net(nn.Conv2d(3, 4, 2, stride=3)),
    "conv whole image": lambda: _net(nn.Conv2d(3, 4, 8)),
    "conv same even": lambda: _net(nn.Conv2d(3, 4, 4, padding="same")),
    "conv same dilation": lambda: _net(nn.Conv2d(3, 4, (2, 3), padding="same", dilation=(3, 1), groups=1)),
    "conv valid": lambda: _net(nn.Conv2d(3, 4, 3, padding="valid")),
    "conv reflect": lambda: _net(nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect")),
    "conv replicate": lambda: _net(nn.Conv2d(3, 4, 3, padding=(1, 2), padding_mode="replicate")),
    "conv circular": lambda: _net(nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular")),
    "conv groups": lambda: _net(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 6, 3, groups=2)),
    "conv groups stride": lambda: _net(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 6, 3, groups=2, stride=2, padding=1)),
    "conv depthwise": lambda: _net(nn.Conv2d(3, 6, 3, groups=3, padding=1)),
    "conv 1d": lambda: _net(_rows(), nn.Conv1d(3, 4, 5, stride=2, padding=1, dilation=2)),
    "conv 1d groups": lambda: _net(_rows(), nn.Conv1d(3, 6, 4, groups=3, padding="same")),
    "batchnorm": lambda: _net(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Sigmoid(), nn.Conv2d(4, 2, 3)),
    "batchnorm plain": lambda: _net(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False)),
    "batchnorm first": lambda: _net(nn.BatchNorm2d(3)),
    "batchnorm of the batch alone": lambda: _net(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)),
    "batchnorm 1d": lambda: _net(_rows(), nn.Linear(64, 5), nn.BatchNorm1d(3)),
    ONE_VALUE: lambda: _net(nn.Flatten(), nn.Linear(192, 6), nn.BatchNorm1d(6)),
    "groupnorm": lambda: _net(nn.Conv2d(3, 6, 3), nn.GroupNorm(3, 6), nn.Sigmoid(), nn.Conv2d(6, 2, 3)),
    "groupnorm plain": lambda: _net(nn.Conv2d(3, 6, 3), nn.GroupNorm(2, 6, affine=False)),
    "instancenorm": lambda: _net(nn.Conv2d(3, 4, 3), nn.InstanceNorm2d(4, affine=True)),
    "instancenorm plain": lambda: _net(nn.Conv2d(3, 4, 3), nn.InstanceNorm2d(4)),
    "instancenorm running": lambda: _net(nn.InstanceNorm2d(3, affine=True, track_running_stats=True)),
    "layernorm": lambda: _net(nn.Linear(8, 6), nn.LayerNorm(6), nn.Sigmoid(), nn.Linear(6, 4)),
    "layernorm of images": lambda: _net(nn.LayerNorm(SHAPE), nn.Conv2d(3, 2, 3)),
    "layernorm without bias": lambda: _net(nn.Linear(8, 6), nn.LayerNorm((8, 6), bias=False)),
    "layernorm plain": lambda: _net(nn.Linear(8, 6), nn.LayerNorm(6, elementwise_affine=False)),
    "attention": lambda: _net(_Attention()),
    "attention without bias": lambda: _net(_Attention(bias=False)),
    "bare parameters": lambda: _net(_Bare()),
    "used again": lambda: _net(_Twice()),
    "in place": lambda: _net(_InPlace()),
    "in place modules": lambda: _net(
        nn.Conv2d(3, 4, 3), nn.ELU(inplace=True), nn.Conv2d(4, 3, 3), nn.SiLU(inplace=True)
    ),
    "dropout": lambda: _net(nn.Conv2d(3, 4, 3), nn.Dropout2d(), nn.Flatten(), nn.Dropout(0.9), nn.Linear(144, 3)),
    "activations": lambda: _net(
        nn.Conv2d(3, 4, 3), nn.GELU(), nn.Conv2d(4, 4, 3), nn.Softplus(), nn.Linear(4, 3), nn.Tanh()
    ),
}
MODELS = {
    "lenet": ModelSpec("lenet", CLASSES, height=12, width=12),
    "convnet": ModelSpec("convnet", CLASSES, height=18, width=18, arguments={"base": 4}),
    "resnet20-4": ModelSpec("resnet20-4", CLASSES, height=8, width=8, arguments={"base": 4}),
}


def _by_definition(model: nn.Module, images: Tensor, targets: Tensor) -> list[Tensor]:
    """One problem after another, through the layers as torch has them."""
    rows = []
    for image, target in zip(images, targets, strict=True):
        parameters = list(model.parameters())
        loss = F.cross_entropy(model(image), target)
        rows.append(torch.autograd.grad(loss, parameters, create_graph=True))
    return [torch.stack(column) for column in zip(*rows, strict=True)]


def _compare(model: nn.Module, mode: str, batch: int, dtype: torch.dtype, expected_path: str) -> tuple[float, float]:
    """Relative error of all gradients together, and of the derivative of their squares with respect to images."""
    model = model.to(dtype)
    shape = getattr(model, "input_shape", SHAPE)
    generator = torch.Generator().manual_seed(3)
    images = torch.randn((2, batch, *shape), generator=generator, dtype=dtype).requires_grad_(True)
    targets = torch.randn((2, batch, CLASSES), generator=generator, dtype=dtype).softmax(-1)
    names = [name for name, _ in model.named_parameters()]
    field = gradient_field(model, names, mode, (batch, *shape), CLASSES)  # type: ignore[arg-type]
    assert field.path.startswith(expected_path), field.path
    plain = frozen_copy(model, mode).requires_grad_(True)  # type: ignore[arg-type]
    ours, theirs = field.evaluate(images, targets)[0], _by_definition(plain, images, targets)
    results = []
    for gradients in (ours, theirs):
        cost = torch.stack([(k + 1) * g.square().sum() for k, g in enumerate(gradients)]).sum()
        flat = torch.cat([g.flatten() for g in gradients])
        results.append((flat.detach(), torch.autograd.grad(cost, images)[0].flatten()))
    (a, da), (b, db) = results
    return float((a - b).norm() / b.norm()), float((da - db).norm() / db.norm())


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")  # torch says that it copies, and is right
@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", LAYERS)
def test_each_layer_matches_the_definition(name: str, batch: int, mode: str) -> None:
    if (name, batch, mode) == (ONE_VALUE, 1, "train"):
        pytest.skip("one value a channel has no variance")
    first, second = _compare(LAYERS[name](), mode, batch, torch.float64, "shared weights")
    assert first < 1e-9
    assert second < 1e-9


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("name", LAYERS)
def test_each_layer_matches_in_float32(name: str) -> None:
    first, second = _compare(LAYERS[name](), "eval", 2, torch.float32, "shared weights")
    assert first < 1e-4
    assert second < 1e-4


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("name", MODELS)
def test_whole_models_match(name: str, mode: str, dtype: torch.dtype) -> None:
    spec = MODELS[name]
    model = build_model(spec)
    model.input_shape = (spec.channels, spec.height, spec.width)  # type: ignore[assignment]
    first, second = _compare(model, mode, 2, dtype, "shared weights")
    limit = 1e-9 if dtype is torch.float64 else 1e-4
    assert first < limit
    # A float32 activation within rounding of 0 may fall on the other side of a ReLU: only float64 is held for BatchNorm
    # of a batch, which divides by small spreads.
    if not (dtype is torch.float32 and mode == "train"):
        assert second < limit


class _Transposed(nn.Module):
    """A layer without a rule."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.ConvTranspose2d(3, 2, 3), nn.Linear(200, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x).sigmoid().flatten(1))


class _Branching(_Transposed):
    """Decides by a value, which vmap refuses."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.last((x.sigmoid() if bool(x.sum() < 1e9) else x).flatten(1))


class _Mixing(nn.Module):
    """The batch in the second axis for a while: rows no longer belong to one problem each."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(64, 6), nn.Linear(18, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x.flatten(2).transpose(0, 1)).transpose(0, 1).sigmoid().flatten(1))


class _Masked(nn.Module):
    """Attention that is more than plain self-attention."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.last = MathAttention(24, 3, batch_first=True), nn.Linear(192, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2).flatten(2)
        mask = torch.ones(8, 8, dtype=torch.bool, device=x.device).triu(1)
        return self.last(self.attention(x, x, x, need_weights=False, attn_mask=mask)[0].flatten(1))


class _Slopes(nn.Module):
    """One slope for every channel: a weight that broadcasting would put at the wrong axis."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.slope, self.last = nn.Conv2d(3, 6, 3), nn.PReLU(6), nn.Linear(216, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.slope(self.first(x)).flatten(1))


@pytest.mark.parametrize(
    ("model", "path"),
    [
        (
            _Transposed,
            "torch.func.vmap of grad (failed: conv_transpose2d with a weight of the shape (3, 2, 3, 3) has no",
        ),
        (
            _Branching,
            "a loop over problems (failed: conv_transpose2d with a weight of the shape (3, 2, 3, 3) has no fast",
        ),
        (_Mixing, "torch.func.vmap of grad (was off by"),
        (_Masked, "torch.func.vmap of grad (failed: attention other than plain self-attention has no fast form)"),
        (_Slopes, "torch.func.vmap of grad ("),
    ],
)
def test_other_models_take_the_general_path_and_say_so(model: type[nn.Module], path: str) -> None:
    torch.manual_seed(0)
    first, second = _compare(model(), "eval", 2, torch.float64, path)
    assert first < 1e-9
    assert second < 1e-9


def test_without_a_graph_the_gradients_are_the_same() -> None:
    """Called for values alone, as a line search does, also with images that need no gradient."""
    model = LAYERS["bare parameters"]().double()
    names = [name for name, _ in model.named_parameters()]
    field = gradient_field(model, names, "eval", (2, *SHAPE), CLASSES)
    images = torch.randn(3, 2, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    targets = torch.full((3, 2, CLASSES), 0.2, dtype=torch.float64)
    right = field.evaluate(images.clone().requires_grad_(True), targets)
    with torch.no_grad():
        found = field.evaluate(images, targets)
    assert not found[1].requires_grad
    assert not any(gradient.requires_grad for gradient in found[0])
    for ours, other in zip(found[0], right[0], strict=True):
        torch.testing.assert_close(ours, other.detach(), rtol=1e-12, atol=1e-14)


def test_only_the_named_parameters_come_back() -> None:
    model = LAYERS["conv"]().double()
    field = gradient_field(model, ["1.bias", "0.0.weight"], "eval", (1, *SHAPE), CLASSES)
    images = torch.randn(2, 1, *SHAPE, dtype=torch.float64).requires_grad_(True)
    gradients, _ = field.evaluate(images, torch.full((2, 1, CLASSES), 0.2, dtype=torch.float64))
    assert field.path.startswith("shared weights")
    assert [tuple(gradient.shape) for gradient in gradients] == [(2, CLASSES), (2, 4, 3, 3, 3)]


def test_a_parameter_that_is_not_used_has_a_zero_gradient() -> None:
    model = LAYERS["conv"]()
    model.spare = nn.Parameter(torch.ones(3))
    names = [name for name, _ in model.named_parameters()]
    field = gradient_field(model, names, "eval", (1, *SHAPE), CLASSES)
    gradients, _ = field.evaluate(torch.randn(2, 1, *SHAPE).requires_grad_(True), torch.full((2, 1, CLASSES), 0.2))
    assert field.path.startswith("shared weights")
    assert torch.equal(gradients[names.index("spare")], torch.zeros(2, 3))


def test_the_model_is_left_as_it_was() -> None:
    model = LAYERS["batchnorm"]()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    names = [name for name, _ in model.named_parameters()]
    field = gradient_field(model, names, "train", (2, *SHAPE), CLASSES)
    field.evaluate(torch.randn(2, 2, *SHAPE, requires_grad=True), torch.full((2, 2, CLASSES), 0.2))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())

"""Networks of one layer type each, and the comparison of per-problem gradients with their definition."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.attacks.gradients import frozen_copy, gradient_field
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


def _blocks(layer: nn.Conv2d, channels: int = 8) -> list[nn.Module]:
    """Channels in whole blocks of 8, for which a CPU takes another form."""
    return [nn.Conv2d(3, channels, 1), nn.Tanh(), layer]


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
    "conv of blocks": lambda: _net(*_blocks(nn.Conv2d(8, 16, 3, padding=1))),
    "conv of blocks stride dilation": lambda: _net(*_blocks(nn.Conv2d(8, 16, (3, 2), (2, 1), (2, 1), (1, 2)))),
    "conv of blocks groups": lambda: _net(*_blocks(nn.Conv2d(16, 16, 3, groups=2), 16)),
    "conv of blocks same": lambda: _net(*_blocks(nn.Conv2d(8, 8, 2, padding="same"))),
    "conv of blocks few positions": lambda: _net(*_blocks(nn.Conv2d(16, 8, 3, stride=3), 16)),
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


def by_definition(model: nn.Module, images: Tensor, targets: Tensor) -> list[Tensor]:
    """One problem after another, through the layers as torch has them."""
    rows = []
    for image, target in zip(images, targets, strict=True):
        parameters = list(model.parameters())
        loss = F.cross_entropy(model(image), target)
        rows.append(torch.autograd.grad(loss, parameters, create_graph=True))
    return [torch.stack(column) for column in zip(*rows, strict=True)]


def compare(
    model: nn.Module,
    mode: str,
    batch: int,
    dtype: torch.dtype,
    expected_path: str,
    shape: tuple[int, int, int] = SHAPE,
) -> tuple[float, float]:
    """Relative error of all gradients together, and of the derivative of their squares with respect to images."""
    model = model.to(dtype)
    generator = torch.Generator().manual_seed(3)
    images = torch.randn((2, batch, *shape), generator=generator, dtype=dtype).requires_grad_(True)
    targets = torch.randn((2, batch, CLASSES), generator=generator, dtype=dtype).softmax(-1)
    names = [name for name, _ in model.named_parameters()]
    field = gradient_field(model, names, mode, (batch, *shape), CLASSES)  # type: ignore[arg-type]
    assert field.path.startswith(expected_path), field.path
    plain = frozen_copy(model, mode).requires_grad_(True)  # type: ignore[arg-type]
    ours, theirs = field.evaluate(images, targets)[0], by_definition(plain, images, targets)
    results = []
    for gradients in (ours, theirs):
        cost = torch.stack([(k + 1) * g.square().sum() for k, g in enumerate(gradients)]).sum()
        flat = torch.cat([g.flatten() for g in gradients])
        results.append((flat.detach(), torch.autograd.grad(cost, images)[0].flatten()))
    (a, da), (b, db) = results
    return float((a - b).norm() / b.norm()), float((da - db).norm() / db.norm())

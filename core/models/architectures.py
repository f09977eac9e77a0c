"""The victims that SemSight brings itself: LeNet, MLP, ConvNet, ResNet20-4 and a small ViT, for any input they take;
and those of core/models/cifar_stems.py.

Every architecture is a class called with (channels, height, width, num_classes, **arguments). A forward takes
normalised images (N, channels, height, width) and gives logits (N, num_classes). No layer works in place and every
layer can be differentiated twice, so that an attack can follow the gradient of a gradient.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.models.cifar_stems import CIFAR_ARCHITECTURES
from core.models.layers import NORMS, MaxPool

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"sigmoid": nn.Sigmoid, "relu": nn.ReLU, "tanh": nn.Tanh}


class LeNet(nn.Module):
    """The sigmoid LeNet of DLG (arXiv 1906.08935): three 5×5 convolutions of 12 channels, one linear layer."""

    def __init__(self, channels: int, height: int, width: int, num_classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, 12, 5, stride=2, padding=2),
            nn.Sigmoid(),
            nn.Conv2d(12, 12, 5, stride=2, padding=2),
            nn.Sigmoid(),
            nn.Conv2d(12, 12, 5, stride=1, padding=2),
            nn.Sigmoid(),
        )
        self.head = nn.Linear(12 * math.ceil(height / 4) * math.ceil(width / 4), num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, height, width) -> (N, num_classes)."""
        return _logits(self.head, self.body(x).flatten(1))


class MLP(nn.Module):
    """Fully connected layers on the flattened image; the first has a bias, so its update gives the image away."""

    def __init__(
        self,
        channels: int,
        height: int,
        width: int,
        num_classes: int,
        *,
        hidden: Sequence[int] = (256,),
        activation: str = "sigmoid",
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        features = channels * height * width
        for size in hidden:
            layers += [nn.Linear(features, size), ACTIVATIONS[activation]()]
            features = size
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(features, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, height, width) -> (N, num_classes)."""
        return _logits(self.head, self.body(x.flatten(1)))


class ConvNet(nn.Module):
    """Eight 3×3 convolutions with BatchNorm (64-128-128-256×5 at width 64), two poolings by 3, a linear head.

    The ConvNet of Inverting Gradients (arXiv 2003.14053), which arXiv 2309.13038 attacks too; or with GroupNorm.
    """

    def __init__(
        self, channels: int, height: int, width: int, num_classes: int, *, base: int = 64, norm: str = "batch"
    ) -> None:
        super().__init__()
        sizes = [channels, base, 2 * base, 2 * base, *[4 * base] * 5]
        layers: list[nn.Module] = []
        for position in range(8):
            before, after = sizes[position], sizes[position + 1]
            layers += [nn.Conv2d(before, after, 3, padding=1), NORMS[norm](after), nn.ReLU()]
            if position in (5, 7):
                layers.append(MaxPool(3))
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(4 * base * (height // 9) * (width // 9), num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, height, width) -> (N, num_classes)."""
        return _logits(self.head, self.body(x).flatten(1))


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut; a 1×1 convolution carries the shortcut where the shape changes."""

    def __init__(self, before: int, after: int, stride: int, norm: str = "batch") -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
        self.norm1 = NORMS[norm](after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.norm2 = NORMS[norm](after)
        self.activation = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride=stride, bias=False), NORMS[norm](after))

    def forward(self, x: Tensor) -> Tensor:
        """(N, before, H, W) -> (N, after, ceil(H / stride), ceil(W / stride))."""
        y = self.activation(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        result: Tensor = self.activation(y + self.shortcut(x))
        return result


class ResNet20(nn.Module):
    """The CIFAR ResNet20 (arXiv 1512.03385), 4 × as wide: base 64, three stages of three blocks, global mean."""

    def __init__(
        self, channels: int, height: int, width: int, num_classes: int, *, base: int = 64, norm: str = "batch"
    ) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        before = base
        for stage, after in enumerate((base, 2 * base, 4 * base)):
            for position in range(3):
                blocks.append(ResidualBlock(before, after, stride=2 if stage and not position else 1, norm=norm))
                before = after
        self.stem = nn.Sequential(nn.Conv2d(channels, base, 3, padding=1, bias=False), NORMS[norm](base), nn.ReLU())
        self.body = nn.Sequential(*blocks)
        self.head = nn.Linear(4 * base, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, height, width) -> (N, num_classes)."""
        return _logits(self.head, self.body(self.stem(x)).mean(dim=(-2, -1)))


class Attention(nn.Module):
    """Self-attention (arXiv 1706.03762) by plain products: fused kernels have no second derivative on CPU."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.inputs = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(N, tokens, width) -> (N, tokens, width)."""
        query, key, value = self.inputs(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        weights = (query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])).softmax(-1)
        return _logits(self.output, (weights @ value).transpose(1, 2).flatten(2))


class Encoder(nn.Module):
    """One pre-norm transformer block: attention, then two linear layers, each around a shortcut."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width, eps=1e-6), Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.body = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """(N, tokens, width) -> (N, tokens, width)."""
        x = x + self.attention(self.norm1(x))
        result: Tensor = x + self.body(self.norm2(x))
        return result


class ViT(nn.Module):
    """Vision transformer (arXiv 2010.11929) in DeiT's tiny size (arXiv 2012.12877), without dropout.

    Sides that `patch` does not divide are filled up with zeros, so that every pixel counts.
    """

    def __init__(
        self,
        channels: int,
        height: int,
        width_px: int,
        num_classes: int,
        *,
        patch: int = 4,
        width: int = 192,
        depth: int = 12,
        heads: int = 3,
    ) -> None:
        super().__init__()
        self.padding = (0, -width_px % patch, 0, -height % patch)
        tokens = math.ceil(height / patch) * math.ceil(width_px / patch)
        self.patches = nn.Conv2d(channels, width, patch, stride=patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, tokens + 1, width))
        self.body = nn.Sequential(*[Encoder(width, heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, height, width_px) -> (N, num_classes)."""
        x = self.patches(F.pad(x, self.padding)).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(len(x), -1, -1), x], dim=1) + self.positions
        return _logits(self.head, self.norm(self.body(x)[:, 0]))


ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    "lenet": LeNet,
    "mlp": MLP,
    "convnet": ConvNet,
    "resnet20-4": ResNet20,
    "convnet-gn": partial(ConvNet, norm="group"),
    "resnet20-4-gn": partial(ResNet20, norm="group"),
    "vit-tiny": ViT,
    **CIFAR_ARCHITECTURES,
}


def draw_weights(name: str, module: nn.Module, generator: torch.Generator) -> None:
    """Draw the weights of an own architecture in place; the same numbers on every machine.

    lenet: every weight and bias U(-.5, .5), as DLG does. Others: convolutions and linear layers
    U(-1/√fan_in, 1/√fan_in), which is torch's default; a ViT's class token and positions U(-.02, .02); norms keep 1, 0
    and fresh statistics.
    """
    with torch.no_grad():
        if name == "lenet":
            for parameter in module.parameters():
                _uniform(parameter, 0.5, generator)
            return
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                bound = 1 / math.sqrt(layer.weight[0].numel())
                _uniform(layer.weight, bound, generator)
                if layer.bias is not None:
                    _uniform(layer.bias, bound, generator)
            elif isinstance(layer, ViT):
                _uniform(layer.class_token, 0.02, generator)
                _uniform(layer.positions, 0.02, generator)


def _uniform(parameter: Tensor, bound: float, generator: torch.Generator) -> None:
    # Scaled in two separately rounded steps: uniform_ may fuse them, which differs between processors.
    drawn = torch.rand(parameter.shape, generator=generator)
    parameter.copy_(drawn.mul_(2 * bound).sub_(bound))


def _logits(head: nn.Module, features: Tensor) -> Tensor:
    result: Tensor = head(features)
    return result

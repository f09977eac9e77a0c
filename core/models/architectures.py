"""The victims that SemSight brings itself: LeNet, MLP, ConvNet and ResNet20-4, each for any input it can take.

Every architecture is a class called with (channels, height, width, num_classes, **arguments). A forward takes
normalised images (N, channels, height, width) and gives logits (N, num_classes). No layer works in place and every
layer can be differentiated twice, so that an attack can follow the gradient of a gradient.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"sigmoid": nn.Sigmoid, "relu": nn.ReLU, "tanh": nn.Tanh}


class MaxPool(nn.Module):
    """Largest value of each size × size tile: (N, C, H, W) -> (N, C, H // size, W // size).

    The same numbers as MaxPool2d with kernel = stride, but as reshape + amax: pooling indices break a compiled
    double backward.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """Rows and columns that fill no whole tile are left out, as MaxPool2d does."""
        size = self.size
        rows, columns = x.shape[-2] // size, x.shape[-1] // size
        whole = x[..., : rows * size, : columns * size]
        return whole.reshape(*x.shape[:-2], rows, size, columns, size).amax(dim=(-3, -1))


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

    The ConvNet of Inverting Gradients (arXiv 2003.14053), which arXiv 2309.13038 attacks too.
    """

    def __init__(self, channels: int, height: int, width: int, num_classes: int, *, base: int = 64) -> None:
        super().__init__()
        sizes = [channels, base, 2 * base, 2 * base, *[4 * base] * 5]
        layers: list[nn.Module] = []
        for position in range(8):
            before, after = sizes[position], sizes[position + 1]
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
            if position in (5, 7):
                layers.append(MaxPool(3))
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(4 * base * (height // 9) * (width // 9), num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, height, width) -> (N, num_classes)."""
        return _logits(self.head, self.body(x).flatten(1))


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut; a 1×1 convolution carries the shortcut where the shape changes."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)
        self.activation = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride=stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        """(N, before, H, W) -> (N, after, ceil(H / stride), ceil(W / stride))."""
        y = self.activation(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        result: Tensor = self.activation(y + self.shortcut(x))
        return result


class ResNet20(nn.Module):
    """The CIFAR ResNet20 (arXiv 1512.03385), 4 × as wide: base 64, three stages of three blocks, global mean."""

    def __init__(self, channels: int, height: int, width: int, num_classes: int, *, base: int = 64) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        before = base
        for stage, after in enumerate((base, 2 * base, 4 * base)):
            for position in range(3):
                blocks.append(ResidualBlock(before, after, stride=2 if stage and not position else 1))
                before = after
        self.stem = nn.Sequential(nn.Conv2d(channels, base, 3, padding=1, bias=False), nn.BatchNorm2d(base), nn.ReLU())
        self.body = nn.Sequential(*blocks)
        self.head = nn.Linear(4 * base, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, height, width) -> (N, num_classes)."""
        return _logits(self.head, self.body(self.stem(x)).mean(dim=(-2, -1)))


ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    "lenet": LeNet,
    "mlp": MLP,
    "convnet": ConvNet,
    "resnet20-4": ResNet20,
}


def draw_weights(name: str, module: nn.Module, generator: torch.Generator) -> None:
    """Draw the weights of an own architecture in place; the same numbers on every machine.

    lenet: every weight and bias U(-.5, .5), as DLG does. Others: convolutions and linear layers
    U(-1/√fan_in, 1/√fan_in), which is torch's default; BatchNorm keeps 1, 0 and fresh statistics.
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


def _uniform(parameter: Tensor, bound: float, generator: torch.Generator) -> None:
    # Scaled in two separately rounded steps: uniform_ may fuse them, which differs between processors.
    drawn = torch.rand(parameter.shape, generator=generator)
    parameter.copy_(drawn.mul_(2 * bound).sub_(bound))


def _logits(head: nn.Module, features: Tensor) -> Tensor:
    result: Tensor = head(features)
    return result

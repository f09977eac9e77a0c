"""ImageNet's architectures with stems for small images: one 3×3 convolution of stride 1, no pooling behind it.

As the paper (arXiv 2309.13038) and most work on CIFAR train them; torchvision's own stems shrink an image by 4 at once.
Blocks are torchvision's classes, made fit for attack as core/models/vision.py does it; layers have its names.
Each function takes (channels, height, width, num_classes, **arguments), as core/models/architectures.py says.
"""

from collections.abc import Callable
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from core.models.cifar_table import BLOCKS, DENSE, MOBILE, VGG16
from core.models.layers import NORMS, MaxPool
from core.models.vision import tame


class CifarNet(nn.Module):
    """Convolutions, the mean over what is left of the picture, one linear layer."""

    def __init__(self, features: nn.Module, head: nn.Module, *, rectified: bool = True) -> None:
        super().__init__()
        self.features, self.head = features, head
        self.rectified = rectified  # whether the features end in a ReLU of their own

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, height, width) -> (N, num_classes)."""
        x = self.features(x)
        if not self.rectified:
            x = F.relu(x)
        result: Tensor = self.head(x.mean(dim=(-2, -1)))
        return result


class CifarResNet(nn.Module):
    """ResNet (arXiv 1512.03385) of torchvision's blocks, with a stem of stride 1 and `base` channels."""

    def __init__(
        self,
        channels: int,
        height: int,
        width: int,
        num_classes: int,
        *,
        kind: str,
        base: int = 64,
        norm: str = "batch",
    ) -> None:
        from torchvision.models.resnet import BasicBlock, Bottleneck

        super().__init__()
        wide, *depths = BLOCKS[kind]
        make, norms = BasicBlock if wide == 1 else Bottleneck, NORMS[norm]
        self.conv1 = nn.Conv2d(channels, base, 3, padding=1, bias=False)
        self.bn1, self.relu = norms(base), nn.ReLU()
        before = base
        stages: list[nn.Module] = []
        for stage, depth in enumerate(depths):
            inner, blocks = base << stage, []
            for position in range(depth):
                stride = 2 if stage and not position else 1
                shortcut: nn.Module | None = None
                if stride > 1 or before != inner * wide:
                    convolution = nn.Conv2d(before, inner * wide, 1, stride=stride, bias=False)
                    shortcut = nn.Sequential(convolution, norms(inner * wide))
                blocks.append(make(before, inner, stride, shortcut, norm_layer=norms))
                before = inner * wide
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.fc = nn.Linear(before, num_classes)
        tame(self)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, height, width) -> (N, num_classes)."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        result: Tensor = self.fc(x.mean(dim=(-2, -1)))
        return result


def densenet121(channels: int, height: int, width: int, num_classes: int, *, growth: int = 32) -> nn.Module:
    """DenseNet-121 (arXiv 1608.06993): its first convolution has 2 × growth channels, and no norm of its own."""
    from torchvision.models import DenseNet

    made = DenseNet(growth, DENSE, 2 * growth, num_classes=num_classes)
    layers = dict(made.features.named_children())
    kept = {name: layer for name, layer in layers.items() if name not in ("norm0", "relu0", "pool0")}
    features = nn.Sequential()
    for name, layer in kept.items():
        stem = nn.Conv2d(channels, 2 * growth, 3, padding=1, bias=False)
        features.add_module(name, stem if name == "conv0" else layer)
    return _tamed(CifarNet(features, made.classifier, rectified=False))


def vgg16(channels: int, height: int, width: int, num_classes: int, *, base: int = 64) -> nn.Module:
    """VGG-16 (arXiv 1409.1556) with BatchNorm, and one linear layer in place of three."""
    layers: list[nn.Module] = []
    before = channels
    for wide in VGG16:
        if wide:
            layers += [nn.Conv2d(before, base * wide, 3, padding=1), nn.BatchNorm2d(base * wide), nn.ReLU()]
            before = base * wide
        else:
            layers.append(MaxPool(2))
    return CifarNet(nn.Sequential(*layers), nn.Linear(before, num_classes))


def mobilenet_v2(channels: int, height: int, width: int, num_classes: int, *, base: int = 32) -> nn.Module:
    """MobileNet v2 (arXiv 1801.04381), base / 32 times as wide, whose stem and second stage keep the size."""
    from torchvision.models import MobileNetV2

    made = MobileNetV2(num_classes, base / 32, [list(row) for row in MOBILE], dropout=0.0)
    first = made.features[0][0]
    made.features[0][0] = nn.Conv2d(channels, first.out_channels, 3, padding=1, bias=False)
    return _tamed(CifarNet(made.features, made.classifier[1]))


def _tamed(module: nn.Module) -> nn.Module:
    tame(module)
    return module


CIFAR_ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    **{name: partial(CifarResNet, kind=name) for name in BLOCKS},
    "resnet18-cifar-gn": partial(CifarResNet, kind="resnet18-cifar", norm="group"),
    "densenet121-cifar": densenet121,
    "vgg16-cifar": vgg16,
    "mobilenet-v2-cifar": mobilenet_v2,
}

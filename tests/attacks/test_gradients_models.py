"""Fast gradients of whole models against plain double backward: our architectures, and every torchvision family small.

The families are torchvision's own classes with small arguments. `python -m benchmarks.exactness` takes the real sizes,
and AlexNet, VGG, GoogLeNet and Inception, which have no small ones.
"""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn
from torchvision.models import densenet, mnasnet, mobilenetv2, regnet, resnet, shufflenetv2, squeezenet
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.efficientnet import EfficientNet, FusedMBConvConfig, MBConvConfig
from torchvision.models.maxvit import MaxVit
from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformer, SwinTransformerBlockV2
from torchvision.models.vision_transformer import VisionTransformer

from core.models.architectures import ARCHITECTURES
from core.models.build import build_model
from core.models.spec import ModelSpec
from core.models.vision import tame
from tests.attacks.gradient_cases import CLASSES, compare

SMALL = {
    "lenet": {},
    "mlp": {"hidden": [9, 7]},
    "convnet": {"base": 4},
    "resnet20-4": {"base": 4},
    "convnet-gn": {"base": 8},
    "resnet20-4-gn": {"base": 4},
    "vit-tiny": {"width": 12, "depth": 2, "heads": 3},
    "resnet18-cifar": {"base": 4},
    "resnet18-cifar-gn": {"base": 4},
    "resnet34-cifar": {"base": 2},
    "resnet50-cifar": {"base": 2},
    "densenet121-cifar": {"growth": 2},
    "vgg16-cifar": {"base": 2},
    "mobilenet-v2-cifar": {"base": 4},
}
SIDES = {"convnet": 18, "convnet-gn": 18, "densenet121-cifar": 16, "vgg16-cifar": 32}
MOBILE = [
    FusedMBConvConfig(2, 3, 1, 8, 8, 1),
    MBConvConfig(4, 3, 2, 8, 8, 2),
]
SWIN = partial(SwinTransformer, [2, 2], 12, [2, 2], [3, 3], [2, 2], num_classes=CLASSES)
FAMILIES: dict[str, Callable[[], nn.Module]] = {
    "resnet": lambda: resnet.ResNet(resnet.Bottleneck, [1, 1, 1, 1], CLASSES, groups=2, width_per_group=4),
    "densenet": lambda: densenet.DenseNet(4, (2, 2), 8, num_classes=CLASSES),
    "mobilenet_v2": lambda: mobilenetv2.MobileNetV2(CLASSES, 0.1, [[1, 8, 1, 1], [6, 8, 2, 2]], dropout=0.2),
    "mnasnet": lambda: mnasnet.MNASNet(0.1, CLASSES),
    "shufflenet": lambda: shufflenetv2.ShuffleNetV2([2, 1, 1], [8, 16, 24, 32, 40], CLASSES),
    "squeezenet": lambda: squeezenet.SqueezeNet("1_1", CLASSES),
    "efficientnet": lambda: EfficientNet(MOBILE, 0.2, num_classes=CLASSES),
    "regnet": lambda: regnet.RegNet(regnet.BlockParams.from_init_params(4, 8, 8.0, 2.0, 8, se_ratio=0.25), CLASSES),
    "vit": lambda: VisionTransformer(16, 8, 2, 2, 8, 12, num_classes=CLASSES),
    "convnext": lambda: ConvNeXt([CNBlockConfig(8, 16, 2), CNBlockConfig(16, None, 1)], 0.1, num_classes=CLASSES),
    "swin": lambda: SWIN(),
    "swin_v2": lambda: SWIN(block=SwinTransformerBlockV2, downsample_layer=PatchMergingV2),
    "maxvit": lambda: MaxVit((32, 32), 8, 4, [8, 16], [1, 1], 4, 0.1, num_classes=CLASSES),
}
# MNASNet's last maps at 16 px have one pixel: BatchNorm of 3 values, where the definition itself moves by 2e-9 when the
# images move by 1e-15.
SIZES = {"squeezenet": 17, "maxvit": 32, "mnasnet": 33}
WITHOUT_BATCHNORM = ("squeezenet", "vit", "convnext", "swin", "swin_v2")
CASES = [
    (name, mode) for name in FAMILIES for mode in ("eval", "train") if mode == "eval" or name not in WITHOUT_BATCHNORM
]


def _limits(dtype: torch.dtype) -> float:
    return 1e-9 if dtype is torch.float64 else 1e-4


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        (name, dtype)
        for name in ARCHITECTURES
        for dtype in (torch.float64, torch.float32)
        # dozens of norms over few values: there the definition itself is no better in float32, as in the families below
        if dtype is torch.float64 or "cifar" not in name
    ],
)
def test_own_architectures_match(name: str, mode: str, dtype: torch.dtype) -> None:
    side = SIDES.get(name, 8)
    model = build_model(ModelSpec(name, CLASSES, height=side, width=side, arguments=SMALL[name]))
    first, second = compare(model, mode, 2, dtype, "shared weights", (3, side, side))
    assert first < _limits(dtype)
    # A float32 activation within rounding of 0 may fall on the other side of a ReLU: only float64 is held for BatchNorm
    # of a batch, which divides by small spreads.
    if not (dtype is torch.float32 and mode == "train"):
        assert second < _limits(dtype)


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_families_of_torchvision_match(name: str, mode: str) -> None:
    torch.manual_seed(0)
    model, side = FAMILIES[name](), SIZES.get(name, 16)
    tame(model)  # as core.models.vision builds them: no dropout, nothing in place, attention by the math kernel
    with torch.no_grad():
        for weight in model.parameters():  # some begin at zero: the last layer of ViT, ConvNeXt's scales
            weight.add_(torch.randn_like(weight), alpha=0.1 / max(1, weight[:1].numel()) ** 0.5)
    first, second = compare(model.eval(), mode, 3, torch.float64, "shared weights", (3, side, side))
    assert first < 1e-9
    assert second < 1e-9

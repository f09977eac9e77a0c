"""torchvision's classification models as `python -m benchmarks.measure_vision` measured them. Imports no torch.

Measured with torch 2.15 and torchvision 0.29. A test compares the names with the installed torchvision, and the sizes
and refusals of one model a family with what that model really does.
"""

from typing import NamedTuple

NO_SECOND_DERIVATIVE = (
    "torch has no second derivative of hardsigmoid, which it uses, and a gradient attack needs one; "
    "choose another architecture, such as mobilenet_v2."
)


class VisionFamily(NamedTuple):
    """Models of torchvision that take the same sizes; see core.models.catalogue.Architecture for the fields."""

    names: str  # separated by spaces
    minimum_size: int
    training_minimum: int
    batchnorm: bool = True
    multiple: int = 1
    square: bool = False
    refused: str = ""


VISION_FAMILIES: tuple[VisionFamily, ...] = (
    VisionFamily("alexnet", 63, 63, batchnorm=False),
    VisionFamily("convnext_tiny convnext_small convnext_base convnext_large", 32, 32, batchnorm=False),
    VisionFamily("densenet121 densenet161 densenet169 densenet201", 29, 61),
    VisionFamily(
        "efficientnet_b0 efficientnet_b1 efficientnet_b2 efficientnet_b3 efficientnet_b4 efficientnet_b5 "
        "efficientnet_b6 efficientnet_b7 efficientnet_v2_s efficientnet_v2_m efficientnet_v2_l",
        1,
        33,
    ),
    VisionFamily("googlenet", 15, 47),
    VisionFamily("inception_v3", 75, 107),
    VisionFamily("maxvit_t", 224, 224, multiple=224, square=True),
    VisionFamily("mnasnet0_5 mnasnet0_75 mnasnet1_0 mnasnet1_3", 1, 33),
    VisionFamily("mobilenet_v2", 1, 33),
    VisionFamily("mobilenet_v3_small mobilenet_v3_large", 1, 33, refused=NO_SECOND_DERIVATIVE),
    VisionFamily(
        "regnet_x_400mf regnet_x_800mf regnet_x_1_6gf regnet_x_3_2gf regnet_x_8gf regnet_x_16gf regnet_x_32gf "
        "regnet_y_400mf regnet_y_800mf regnet_y_1_6gf regnet_y_3_2gf regnet_y_8gf regnet_y_16gf regnet_y_32gf "
        "regnet_y_128gf",
        1,
        33,
    ),
    VisionFamily(
        "resnet18 resnet34 resnet50 resnet101 resnet152 resnext50_32x4d resnext101_32x8d resnext101_64x4d "
        "wide_resnet50_2 wide_resnet101_2",
        1,
        33,
    ),
    VisionFamily("shufflenet_v2_x0_5 shufflenet_v2_x1_0 shufflenet_v2_x1_5 shufflenet_v2_x2_0", 1, 33),
    VisionFamily("squeezenet1_0", 21, 21, batchnorm=False),
    VisionFamily("squeezenet1_1", 17, 17, batchnorm=False),
    VisionFamily("swin_t swin_s swin_b swin_v2_t swin_v2_s swin_v2_b", 4, 4, batchnorm=False),
    VisionFamily("vgg11 vgg13 vgg16 vgg19", 32, 32, batchnorm=False),
    VisionFamily("vgg11_bn vgg13_bn vgg16_bn vgg19_bn", 32, 32),
    VisionFamily("vit_b_16 vit_l_16", 16, 16, batchnorm=False, multiple=16, square=True),
    VisionFamily("vit_b_32 vit_l_32", 32, 32, batchnorm=False, multiple=32, square=True),
    VisionFamily("vit_h_14", 14, 14, batchnorm=False, multiple=14, square=True),
)

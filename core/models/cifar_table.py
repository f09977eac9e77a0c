"""The published shapes of the architectures in core/models/cifar_stems.py. Imports no torch: sizes are counted here."""

# ResNet (arXiv 1512.03385, table 1): how many times as wide a block's last layer is, and the blocks of each stage.
BLOCKS: dict[str, tuple[int, ...]] = {
    "resnet18-cifar": (1, 2, 2, 2, 2),
    "resnet34-cifar": (1, 3, 4, 6, 3),
    "resnet50-cifar": (4, 3, 4, 6, 3),
}
# DenseNet-121 (arXiv 1608.06993, table 1): layers of each dense block.
DENSE = (6, 12, 24, 16)
# VGG-16 (arXiv 1409.1556, table 1, column D) in multiples of the first layer's channels; 0 is a pooling by 2.
VGG16 = (1, 1, 0, 2, 2, 0, 4, 4, 4, 0, 8, 8, 8, 0, 8, 8, 8, 0)
# MobileNet v2 (arXiv 1801.04381, table 2): expansion, channels, blocks, stride. The first stride of 2 is a 1 here, as
# the stem's is, so that 32 pixels become 4 and not 1.
MOBILE = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def rounded(channels: float) -> int:
    """The nearest multiple of 8, never more than a tenth below `channels`: torchvision's rule for narrow MobileNets."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest

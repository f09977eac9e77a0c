"""Layers that several of SemSight's own architectures share."""

from collections.abc import Callable

from torch import Tensor, nn


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


def group_norm(channels: int) -> nn.GroupNorm:
    """GroupNorm of 32 groups (arXiv 1803.08494), fewer where a group would have no two channels or not fill up."""
    return nn.GroupNorm(max(n for n in range(1, 33) if channels % n == 0 and (n == 1 or channels >= 2 * n)), channels)


NORMS: dict[str, Callable[[int], nn.Module]] = {"batch": nn.BatchNorm2d, "group": group_norm}

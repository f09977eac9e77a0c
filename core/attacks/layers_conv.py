"""Weight gradients of a convolution, one for each problem, and the products that every weight gradient is made of."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from core.attacks import precision


def product(left: Tensor, right: Tensor) -> Tensor:
    """(…, M, L) @ (…, L, N): every per-problem weight gradient of a layer with a matrix goes through here."""
    return precision.product(left, right)


def conv_weight_gradient(
    x: Tensor,
    outer: Tensor,
    problems: int,
    shape: Sequence[int],
    stride: Sequence[int],
    sides: Sequence[tuple[int, int]],
    dilation: Sequence[int],
    groups: int,
) -> Tensor:
    """(P, *shape) from the input (P·B, C, …) and the output's gradient (P·B, O, …); shape is the weight's.

    sides: zeros before and after each axis. The input's patches (im2col) times the output's gradient: for each problem
    one matrix product, summed over positions and images; groups are further problems.
    """
    if len(shape) == 3:  # one axis is an image of one row
        x, outer = x.unsqueeze(2), outer.unsqueeze(2)
        stride, sides, dilation = (1, *stride), ((0, 0), *sides), (1, *dilation)
    kernel = (1, shape[2]) if len(shape) == 3 else tuple(shape[2:])
    (top, bottom), (left, right) = sides
    even = top == bottom and left == right
    if not even:
        x = F.pad(x, (left, right, top, bottom))
    # patches are (P·B, C·k·k, L)
    if kernel == (1, 1) and not any(map(any, sides)):
        patches = x[..., :: stride[0], :: stride[1]].flatten(2)
    else:
        padding = (top, left) if even else 0
        patches = F.unfold(x, kernel, dilation=tuple(dilation), padding=padding, stride=tuple(stride))
    images = x.shape[0] // problems
    rows = patches.view(problems, images, groups, -1, patches.shape[-1])
    outs = outer.reshape(problems, images, groups, -1, patches.shape[-1])
    if images == 1:
        found = product(outs[:, 0], rows[:, 0].transpose(-1, -2))
    else:  # one contraction over images and positions together
        found = product(outs.permute(0, 2, 3, 1, 4).flatten(3), rows.permute(0, 2, 1, 4, 3).flatten(2, 3))
    return found.reshape(problems, *shape)

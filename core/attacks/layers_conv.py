"""Weight gradients of a convolution, one for each problem.

Both passes are written out, as the forms that autograd would find keep copies that nobody needs: the gradient for each
problem from input and output gradient, and the way back of a cost's derivative with respect to it. Three forms give it,
by device and layer (`form_of`). By CPU time of one core, 4 problems, offsets take 1.1 to 6.4 times as long as others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from core.attacks import layers_conv_offsets as offsets
from core.attacks.precision import product


@dataclass(frozen=True)
class Convolution:
    """A two-dimensional convolution of P problems; `shape` is (O, C / groups, height, width), padding is even."""

    problems: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    @property
    def pointwise(self) -> bool:
        """Its patches are its input."""
        return self.shape[2:] == (1, 1) and self.padding == (0, 0)

    def blocked(self, x: Tensor) -> bool:
        """True where a grouped convolution, a group a problem, is the faster form (measured on CPUs with AVX2).

        oneDNN needs whole blocks of 8 channels for it. cuDNN is slow at it, whatever the channels.
        """
        return x.device.type == "cpu" and not self.pointwise and self.shape[0] % 8 == 0 == self.shape[1] % 8

    def large(self, outer: Tensor) -> bool:
        """True where it is so for the weight gradient: with more positions than channels."""
        return outer[0, 0].numel() * len(outer) // self.problems >= self.shape[1]


def takes_offsets(x: Tensor) -> bool:
    """Whether kernel offsets are the faster form on this device, where they apply: on CUDA."""
    return x.device.type == "cuda"


def form_of(layer: Convolution, x: Tensor) -> str:
    """The form that this layer's weight gradients take: `offsets`, `groups` (oneDNN's) or `patches`.

    Kernel offsets know one group alone, and a kernel of one offset is one product of patches, which copies nothing.
    """
    if takes_offsets(x) and layer.groups == 1 and not layer.pointwise:
        return "offsets"
    return "groups" if layer.blocked(x) else "patches"


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

    sides: zeros before and after each axis. It can be differentiated once with respect to both.
    """
    full = tuple(shape)
    if len(shape) == 3:  # one axis is an image of one row
        x, outer, full = x.unsqueeze(2), outer.unsqueeze(2), (*shape[:2], 1, shape[2])
        stride, sides, dilation = (1, *stride), ((0, 0), *sides), (1, *dilation)
    if any(before != after for before, after in sides):
        (top, bottom), (left, right) = sides
        x, sides = F.pad(x, (left, right, top, bottom)), ((0, 0), (0, 0))
    padding = tuple(before for before, _ in sides)
    layer = Convolution(problems, full, tuple(stride), padding, tuple(dilation), groups)
    if form_of(layer, x) == "offsets":
        return offsets.weight_gradient(x, outer, _grid(layer, x, outer)).reshape(problems, *shape)
    found: Tensor = _WeightGradient.apply(x, outer, layer)
    return found.reshape(problems, *shape)


def _grid(layer: Convolution, x: Tensor, outer: Tensor) -> offsets.Grid:
    pairs = (x.shape[2:], outer.shape[2:], layer.shape[2:], layer.stride, layer.padding, layer.dilation)
    return offsets.Grid(layer.problems, len(x) // layer.problems, *((first, second) for first, second in pairs))


class _WeightGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, outer: Tensor, layer: Convolution) -> Tensor:
        ctx.layer = layer
        ctx.save_for_backward(x, outer)
        if layer.blocked(x) and layer.large(outer):
            return _as_groups(layer, x, outer, None)[1]
        rows = _rows(layer, x)
        if not layer.blocked(x):
            ctx.rows = rows
        return product(_outs(layer, outer), rows.transpose(-1, -2)).reshape(layer.problems, *layer.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, wanted: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        """`wanted` (P, *shape): the cost's derivative with respect to the weight gradients."""
        layer: Convolution = ctx.layer
        x, outer = ctx.saved_tensors
        if layer.blocked(x):
            return _as_groups(layer, x, outer, wanted)[0], _convolved(layer, x, wanted), None
        matrix = wanted.reshape(layer.problems, layer.groups, layer.shape[0] // layer.groups, -1)
        to_outer = _images(layer, product(matrix, ctx.rows), outer)
        to_patches = product(matrix.transpose(-1, -2), _outs(layer, outer))
        return _from_rows(layer, to_patches, x), to_outer, None


def _rows(layer: Convolution, x: Tensor) -> Tensor:
    """Patches of the input (im2col): (P, groups, C / groups · k · k, B · L)."""
    if layer.pointwise:
        patches = x[..., :: layer.stride[0], :: layer.stride[1]].flatten(2)
    else:
        patches = F.unfold(x, layer.shape[2:], layer.dilation, layer.padding, layer.stride)
    return _together(layer, patches)


def _outs(layer: Convolution, outer: Tensor) -> Tensor:
    """(P·B, O, H', W') -> (P, groups, O / groups, B · L)."""
    return _together(layer, outer.flatten(2))


def _together(layer: Convolution, x: Tensor) -> Tensor:
    """(P·B, groups · F, L) -> (P, groups, F, B · L): one contraction over images and positions together."""
    images = len(x) // layer.problems
    if images == 1:
        return x.reshape(layer.problems, layer.groups, -1, x.shape[-1])
    split = x.reshape(layer.problems, images, layer.groups, -1, x.shape[-1])
    return split.permute(0, 2, 3, 1, 4).flatten(3)


def _images(layer: Convolution, rows: Tensor, like: Tensor) -> Tensor:
    """(P, groups, F, B · L) -> (P·B, groups · F, L), the way back of `_together`, in the shape of `like`."""
    images = len(like) // layer.problems
    if images > 1:
        rows = rows.unflatten(3, (images, -1)).permute(0, 3, 1, 2, 4)  # type: ignore[no-untyped-call]
    return rows.reshape(like.shape)


def _from_rows(layer: Convolution, rows: Tensor, x: Tensor) -> Tensor:
    """The sum of patches (P, groups, C / groups · k · k, B · L) over the places that they were taken from."""
    if layer.pointwise:
        grid = x[..., :: layer.stride[0], :: layer.stride[1]]
        if layer.stride == (1, 1):
            return _images(layer, rows, x)
        found = torch.zeros_like(x)
        found[..., :: layer.stride[0], :: layer.stride[1]] = _images(layer, rows, grid)
        return found
    patches = x.new_empty(
        len(x), x.shape[1] * layer.shape[2] * layer.shape[3], rows.shape[3] * layer.problems // len(x)
    )
    patches = _images(layer, rows, patches)
    return F.fold(patches, x.shape[2:], layer.shape[2:], layer.dilation, layer.padding, layer.stride)


def _beside(layer: Convolution, x: Tensor) -> Tensor:
    """(P·B, C, H, W) -> (B, P·C, H, W): problems as groups of channels."""
    return x.unflatten(0, (layer.problems, -1)).transpose(0, 1).flatten(1, 2)  # type: ignore[no-untyped-call, no-any-return]


def _behind(layer: Convolution, x: Tensor) -> Tensor:
    """(B, P·C, H, W) -> (P·B, C, H, W)."""
    return x.unflatten(1, (layer.problems, -1)).transpose(0, 1).flatten(0, 1)  # type: ignore[no-untyped-call, no-any-return]


def _as_groups(layer: Convolution, x: Tensor, outer: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
    """Backward of the grouped convolution: for the input where a weight (P, *shape) is given, else for the weight."""
    flat = (layer.problems * layer.shape[0], *layer.shape[1:])
    to_input, to_weight, _ = torch.ops.aten.convolution_backward(
        _beside(layer, outer),
        _beside(layer, x),
        x.new_empty(()).expand(flat) if weight is None else weight.reshape(flat),
        None,
        layer.stride,
        layer.padding,
        layer.dilation,
        False,
        (0, 0),
        layer.problems * layer.groups,
        (weight is not None, weight is None, False),
    )
    if weight is None:
        return x, to_weight.reshape(layer.problems, *layer.shape)
    return _behind(layer, to_input), weight


def _convolved(layer: Convolution, x: Tensor, weight: Tensor) -> Tensor:
    """Each problem's input with its own weight (P, *shape)."""
    flat = weight.reshape(-1, *layer.shape[1:])
    groups = layer.problems * layer.groups
    found = F.conv2d(_beside(layer, x), flat, None, layer.stride, layer.padding, layer.dilation, groups)
    return _behind(layer, found)

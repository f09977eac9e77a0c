"""Weight gradients of a convolution, one for each problem, as one batched product for each kernel offset.

Patches (im2col) write every input k·k times. Here the padded input is laid out once, as channels-last rows, and so is
the output's gradient, on a grid as wide as the input's with zeros in the places that are left over. Then the rows
that meet at a kernel offset are one slice of those rows: a view, and nothing is copied for it. A stride splits the
input into its phases, each of which is such an image. Sums over offsets accumulate in place, in float32 or finer.

With T rows of the grid and M of them before the last offset's reach, for offset (i, j) of phase f starting at row t:
dW[p, :, :, i, j] = outer[p]ᵀ (O × M) · x[p, f, t : t + M] (M × C), and its derivatives in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from core.attacks import precision


@dataclass(frozen=True)
class Grid:
    """How P problems of B images lie in rows. Pairs are (height, width); one group, and padding is even."""

    problems: int
    images: int  # B
    size: tuple[int, int]  # of the input
    out: tuple[int, int]  # of the output
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]

    @property
    def cells(self) -> tuple[int, int]:
        """Of the grid: the output and the reach of the kernel, in strides."""
        height, width = ((k - 1) * d // s for k, d, s in zip(self.kernel, self.dilation, self.stride, strict=True))
        return self.out[0] + height, self.out[1] + width

    @property
    def phases(self) -> tuple[int, int]:
        """Of the stride, as far as any offset needs them."""
        height, width = (
            1 + max(i * d % s for i in range(k))
            for k, d, s in zip(self.kernel, self.dilation, self.stride, strict=True)
        )
        return height, width

    @property
    def total(self) -> int:
        """T."""
        return self.images * self.cells[0] * self.cells[1]

    @property
    def margins(self) -> tuple[int, ...]:
        """What to pad (below zero: to cut) for F.pad of a channels-last input, so that whole strides fill the grid."""
        (top, left), (height, width) = self.padding, self.size
        bottom = self.stride[0] * self.cells[0] - height - top
        right = self.stride[1] * self.cells[1] - width - left
        return 0, 0, left, right, top, bottom

    def offsets(self) -> tuple[list[int], list[int]]:
        """For each (i, j): the number of its phase, and the row at which its slice starts."""
        phases, starts = [], []
        for i in range(self.kernel[0]):
            for j in range(self.kernel[1]):
                (u, a), (v, b) = (
                    divmod(i * self.dilation[0], self.stride[0]),
                    divmod(j * self.dilation[1], self.stride[1]),
                )
                phases.append(a * self.phases[1] + b)
                starts.append(u * self.cells[1] + v)
        return phases, starts

    def input_rows(self, x: Tensor) -> Tensor:
        """(P·B, C, H, W) -> (P, phases, T, C)."""
        (sh, sw), (gh, gw), (ph, pw) = self.stride, self.cells, self.phases
        padded = F.pad(x.permute(0, 2, 3, 1), self.margins)
        split = padded.reshape(self.problems, self.images, gh, sh, gw, sw, -1)[:, :, :, :ph, :, :pw]
        return split.permute(0, 3, 5, 1, 2, 4, 6).reshape(self.problems, ph * pw, self.total, -1)

    def to_input(self, rows: Tensor) -> Tensor:
        """(P, phases, T, C) -> (P·B, C, H, W): the transpose of `input_rows`."""
        (sh, sw), (gh, gw), (ph, pw) = self.stride, self.cells, self.phases
        split = rows.reshape(self.problems, ph, pw, self.images, gh, gw, -1).permute(0, 3, 4, 1, 5, 2, 6)
        split = F.pad(split, (0, 0, 0, sw - pw, 0, 0, 0, sh - ph)) if (ph, pw) != (sh, sw) else split
        padded = split.reshape(self.problems * self.images, gh * sh, gw * sw, -1)
        return F.pad(padded, [-margin for margin in self.margins]).permute(0, 3, 1, 2).contiguous()

    def output_rows(self, outer: Tensor) -> Tensor:
        """(P·B, O, H', W') -> (P, T, O), zero where the grid is larger than the output."""
        (height, width), (gh, gw) = self.out, self.cells
        laid = F.pad(outer.permute(0, 2, 3, 1), (0, 0, 0, gw - width, 0, gh - height))
        return laid.reshape(self.problems, self.total, -1)

    def to_output(self, rows: Tensor) -> Tensor:
        """(P, T, O) -> (P·B, O, H', W')."""
        laid = rows.reshape(self.problems * self.images, *self.cells, -1)
        return laid[:, : self.out[0], : self.out[1]].permute(0, 3, 1, 2).contiguous()


def weight_gradient(x: Tensor, outer: Tensor, grid: Grid) -> Tensor:
    """(P, O, C, height, width) from the input (P·B, C, H, W) and the output's gradient (P·B, O, H', W').

    It can be differentiated once with respect to both.
    """
    found: Tensor = _ByOffsets.apply(x, outer, grid)
    return found


class _ByOffsets(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, outer: Tensor, grid: Grid) -> Tensor:
        rows, outs = grid.input_rows(x), grid.output_rows(outer)
        ctx.grid, ctx.rounded = grid, precision.rounds(x.dtype)
        ctx.save_for_backward(rows, outs)
        found = torch.ops.semsight.offset_products(rows, outs, *grid.offsets(), ctx.rounded)  # (P, k·k, O, C)
        weights: Tensor = found.permute(0, 2, 3, 1).contiguous()
        return weights.reshape(*weights.shape[:3], *grid.kernel)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, wanted: Tensor) -> tuple[Tensor, Tensor, None]:
        """`wanted` (P, O, C, height, width): the cost's derivative with respect to the weight gradients."""
        grid: Grid = ctx.grid
        rows, outs = ctx.saved_tensors
        matrices = wanted.flatten(3).permute(0, 3, 1, 2).contiguous()
        to_rows, to_outs = torch.ops.semsight.offset_derivatives(rows, outs, matrices, *grid.offsets(), ctx.rounded)
        return grid.to_input(to_rows), grid.to_output(to_outs), None


def _products(rows: Tensor, outs: Tensor, phases: Sequence[int], starts: Sequence[int], rounded: bool) -> Tensor:
    """(P, k·k, O, C) from rows (P, phases, T, C) and outs (P, T, O); rounded: factors to bf16."""
    found = _products_like(rows, outs, phases, starts, rounded)
    reach = rows.shape[2] - max(starts)
    if rounded:
        rows, outs = rows.to(torch.bfloat16), outs.to(torch.bfloat16)
    left = outs[:, :reach].transpose(1, 2)
    for place, (phase, start) in enumerate(zip(phases, starts, strict=True)):
        precision.add_product_(found[:, place], left, rows[:, phase, start : start + reach], fresh=True)
    return found


def _derivatives(
    rows: Tensor, outs: Tensor, matrices: Tensor, phases: Sequence[int], starts: Sequence[int], rounded: bool
) -> tuple[Tensor, Tensor]:
    """In the shapes of rows and outs, from the derivative (P, k·k, O, C) with respect to what `_products` gives."""
    to_rows, to_outs = _derivatives_like(rows, outs, matrices, phases, starts, rounded)
    to_rows.zero_()
    to_outs.zero_()
    reach = rows.shape[2] - max(starts)
    if rounded:
        rows, outs, matrices = (factor.to(torch.bfloat16) for factor in (rows, outs, matrices))
    for place, (phase, start) in enumerate(zip(phases, starts, strict=True)):
        matrix, part = matrices[:, place], slice(start, start + reach)
        precision.add_product_(to_rows[:, phase, part], outs[:, :reach], matrix)
        precision.add_product_(to_outs[:, :reach], rows[:, phase, part], matrix.transpose(1, 2))
    return to_rows, to_outs


def _products_like(rows: Tensor, outs: Tensor, phases: Sequence[int], starts: Sequence[int], rounded: bool) -> Tensor:
    return rows.new_empty(len(rows), len(starts), outs.shape[2], rows.shape[3])


def _derivatives_like(
    rows: Tensor, outs: Tensor, matrices: Tensor, phases: Sequence[int], starts: Sequence[int], rounded: bool
) -> tuple[Tensor, Tensor]:
    return rows.new_empty(rows.shape), outs.new_empty(outs.shape)


# Both sums are operators of their own, opaque to tracing: Inductor would turn work in place into copies of the whole.
# (torch.library.custom_op would do the same, and import Dynamo at the first call: seconds.)
_library: Any = torch.library.Library  # which torch leaves untyped
_operators = _library("semsight", "DEF")
for _schema, _work, _like in (
    ("offset_products(Tensor rows, Tensor outs, int[] phases, int[] starts, bool rounded) -> Tensor",
     _products, _products_like),
    ("offset_derivatives(Tensor rows, Tensor outs, Tensor matrices, int[] phases, int[] starts, bool rounded)"
     " -> (Tensor, Tensor)", _derivatives, _derivatives_like),
):  # fmt: skip
    _name = _schema.split("(")[0]
    _operators.define(_schema)
    _operators.impl(_name, _work, "CPU")
    _operators.impl(_name, _work, "CUDA")
    _operators.impl(_name, _like, "Meta")

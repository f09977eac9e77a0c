"""What an attack minimises, for P problems at once: lower is a better match or a smoother image.

Gradients are lists of (P, *shape) tensors, one a parameter; every function gives (P,) and can be differentiated.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

TINY = 1e-30  # below it a square counts as zero
MASK = 1e-6  # entries of an update at most this large are taken for pruned


def squared_l2(gradients: Sequence[Tensor], observed: Sequence[Tensor]) -> Tensor:
    """Σ (g − g*)² over all entries of all parameters: DLG (arXiv 1906.08935, eq. 3). ≥ 0, 0 at a perfect match."""
    if any(o.requires_grad for o in observed):
        return torch.stack([(g - o).flatten(1).square().sum(1) for g, o in zip(gradients, observed, strict=True)]).sum(
            0
        )
    total: Tensor = _SquaredDistance.apply(*gradients, *observed)
    return total


def cosine_distance(gradients: Sequence[Tensor], observed: Sequence[Tensor]) -> Tensor:
    """1 − ⟨g, g*⟩ / (‖g‖ ‖g*‖) over all parameters together: Inverting Gradients (arXiv 2003.14053, eq. 4). In [0, 2].

    A zero gradient has no direction: the result is NaN, which an attack reports as diverged.
    """
    if any(o.requires_grad for o in observed):
        pairs = list(zip(gradients, observed, strict=True))
        inner = torch.stack([(g * o).flatten(1).sum(1) for g, o in pairs]).sum(0)
        ours = torch.stack([g.flatten(1).square().sum(1) for g, _ in pairs]).sum(0)
        theirs = torch.stack([o.flatten(1).square().sum(1) for _, o in pairs]).sum(0)
    else:
        inner, ours = _InnerProducts.apply(*gradients, *observed)
        theirs = _squares(observed)
    return 1 - inner / (ours.sqrt() * theirs.sqrt())


class _InnerProducts(torch.autograd.Function):
    """(⟨g, g*⟩, ⟨g, g⟩), each (P,): the way back writes one tensor a parameter, where autograd's writes five."""

    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(*tensors)
        gradients, observed = tensors[: len(tensors) // 2], tensors[len(tensors) // 2 :]
        pairs = zip(gradients, observed, strict=True)
        inner = torch.stack([torch.linalg.vecdot(g.flatten(1), o.flatten(1)) for g, o in pairs]).sum(0)
        return inner, _squares(gradients)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, inner: Tensor, squares: Tensor) -> tuple[Tensor | None, ...]:
        count = len(ctx.saved_tensors) // 2
        pairs = zip(ctx.saved_tensors[:count], ctx.saved_tensors[count:], strict=True)
        back = [torch.mul(o, _rows(inner, o)).addcmul_(g, _rows(2 * squares, g)) for g, o in pairs]
        return (*back, *[None] * count)


class _SquaredDistance(torch.autograd.Function):
    """Σ (g − g*)² (P,), likewise."""

    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> Tensor:
        pairs = zip(tensors[: len(tensors) // 2], tensors[len(tensors) // 2 :], strict=True)
        differences = [g - o for g, o in pairs]
        ctx.save_for_backward(*differences)
        return _squares(differences)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, total: Tensor) -> tuple[Tensor | None, ...]:
        back = [difference * _rows(2 * total, difference) for difference in ctx.saved_tensors]
        return (*back, *[None] * len(back))


def _squares(tensors: Sequence[Tensor]) -> Tensor:
    """Σ t² over all of them, (P,)."""
    return torch.stack([torch.linalg.vector_norm(t.flatten(1), dim=1) for t in tensors]).square().sum(0)


def _rows(values: Tensor, like: Tensor) -> Tensor:
    """(P,) -> (P, 1, …)."""
    return values.reshape(-1, *(1,) * (like.dim() - 1))


def total_variation(images: Tensor) -> Tensor:
    """(P, B, C, H, W) -> mean |horizontal difference| + mean |vertical difference|, as Inverting Gradients has it."""
    across = (images[..., :, 1:] - images[..., :, :-1]).abs().flatten(1).mean(1)
    down = (images[..., 1:, :] - images[..., :-1, :]).abs().flatten(1).mean(1)
    return across + down


def layer_cosine_distance(gradients: Sequence[Tensor], observed: Sequence[Tensor]) -> Tensor:
    """Mean over parameters of 1 − cosine; a parameter whose observed gradient is zero does not count. In [0, 2].

    NaN where every observed gradient is zero.
    """
    distances, counted = [], []
    for g, o in zip(gradients, observed, strict=True):
        theirs = o.flatten(1).square().sum(1)
        there = theirs > 0
        scale = (g.flatten(1).square().sum(1) * theirs).clamp_min(TINY).sqrt()
        distances.append(torch.where(there, 1 - (g * o).flatten(1).sum(1) / scale, 0.0))
        counted.append(there.to(g))
    return torch.stack(distances).sum(0) / torch.stack(counted).sum(0)


def masked_cosine_distance(gradients: Sequence[Tensor], observed: Sequence[Tensor]) -> Tensor:
    """`cosine_distance` over the entries whose observed gradient is above MASK in size: for pruned updates."""
    masks = [o.abs() > MASK for o in observed]
    return cosine_distance(
        [torch.where(mask, g, 0.0) for g, mask in zip(gradients, masks, strict=True)],
        [torch.where(mask, o, 0.0) for o, mask in zip(observed, masks, strict=True)],
    )


def summed_norms(gradients: Sequence[Tensor], observed: Sequence[Tensor]) -> Tensor:
    """Σ over parameters of ‖g − g*‖₂: GradInversion (arXiv 2104.07586, eq. 2). ≥ 0, 0 at a perfect match."""
    pairs = zip(gradients, observed, strict=True)
    return torch.stack([(g - o).flatten(1).square().sum(1).clamp_min(TINY).sqrt() for g, o in pairs]).sum(0)


def absolute(gradients: Sequence[Tensor], observed: Sequence[Tensor]) -> Tensor:
    """Σ |g − g*| over all entries of all parameters. ≥ 0, 0 at a perfect match."""
    return torch.stack([(g - o).flatten(1).abs().sum(1) for g, o in zip(gradients, observed, strict=True)]).sum(0)


def layer_absolute(gradients: Sequence[Tensor], observed: Sequence[Tensor]) -> Tensor:
    """Σ over parameters of the mean of |g − g*|: small parameters count as much as large ones. ≥ 0."""
    return torch.stack([(g - o).flatten(1).abs().mean(1) for g, o in zip(gradients, observed, strict=True)]).sum(0)


def gaussian_kernel(gradients: Sequence[Tensor], observed: Sequence[Tensor]) -> Tensor:
    """Mean over parameters of 1 − exp(−mean (g − g*)² / σ²), σ² the variance of that parameter's observed gradient.

    SAPAG's distance (arXiv 2009.06228). In [0, 1], 0 at a perfect match. The exponent takes the mean square, so that
    a large layer does not start where the kernel is flat. A parameter with no variance (a single entry, a zero
    gradient) takes the mean square of its observed gradient, and does not count where that is zero too.
    """
    terms, counted = [], []
    for g, o in zip(gradients, observed, strict=True):
        rows = o.flatten(1)
        spread = rows.var(1, correction=0)
        spread = torch.where(spread > TINY, spread, rows.square().mean(1))
        there = spread > TINY
        error = (g - o).flatten(1).square().mean(1)
        terms.append(torch.where(there, 1 - (-error / spread.clamp_min(TINY)).exp(), 0.0))
        counted.append(there.to(g))
    return torch.stack(terms).sum(0) / torch.stack(counted).sum(0)


COSTS: dict[str, Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor]] = {
    "cosine": cosine_distance,
    "cosine-layers": layer_cosine_distance,
    "cosine-masked": masked_cosine_distance,
    "l2": squared_l2,
    "l2-layers": summed_norms,
    "l1": absolute,
    "l1-layers": layer_absolute,
    "sapag": gaussian_kernel,
}

"""What an attack minimises, for P problems at once: lower is a better match or a smoother image.

Gradients are lists of (P, *shape) tensors, one a parameter; every function gives (P,) and can be differentiated.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def squared_l2(gradients: Sequence[Tensor], observed: Sequence[Tensor]) -> Tensor:
    """Σ (g − g*)² over all entries of all parameters: DLG (arXiv 1906.08935, eq. 3). ≥ 0, 0 at a perfect match."""
    return torch.stack([(g - o).flatten(1).square().sum(1) for g, o in zip(gradients, observed, strict=True)]).sum(0)


def cosine_distance(gradients: Sequence[Tensor], observed: Sequence[Tensor]) -> Tensor:
    """1 − ⟨g, g*⟩ / (‖g‖ ‖g*‖) over all parameters together: Inverting Gradients (arXiv 2003.14053, eq. 4). In [0, 2].

    A zero gradient has no direction: the result is NaN, which an attack reports as diverged.
    """
    pairs = list(zip(gradients, observed, strict=True))
    inner = torch.stack([(g * o).flatten(1).sum(1) for g, o in pairs]).sum(0)
    ours = torch.stack([g.flatten(1).square().sum(1) for g, _ in pairs]).sum(0)
    theirs = torch.stack([o.flatten(1).square().sum(1) for _, o in pairs]).sum(0)
    return 1 - inner / (ours.sqrt() * theirs.sqrt())


def total_variation(images: Tensor) -> Tensor:
    """(P, B, C, H, W) -> mean |horizontal difference| + mean |vertical difference|, as Inverting Gradients has it."""
    across = (images[..., :, 1:] - images[..., :, :-1]).abs().flatten(1).mean(1)
    down = (images[..., 1:, :] - images[..., :-1, :]).abs().flatten(1).mean(1)
    return across + down

"""In which arithmetic the products of a step are computed, and the check on the very problem that may choose it.

`float32` is IEEE single precision. `tf32` lets a CUDA GPU round the factors of matrix products and convolutions to 10
bits of mantissa. `bf16` does so, and rounds the factors of the per-problem products to 7 bits; sums stay in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from core.attacks.speed import PRECISIONS
from core.errors import UserError

CHOICES = PRECISIONS
FASTEST_FIRST = ("bf16", "tf32")  # what `auto` tries on a GPU before float32
LEAST_COSINE, LEAST_SIGNS = 0.999, 0.97  # of the image's gradient against float32's, the worst problem of all steps
CHECKED_STEPS, CHECKED_PROBLEMS = 3, 2
STEP = 0.1  # of the start's standard deviation: the checked points lie where a signed descent would go

# One run computes in a process at a time, and torch's own flags are the process's too. No thread-local value would do:
# on CUDA a backward pass runs in a thread of its own.
_mode = "float32"
# torch's older switches: with `fp32_precision` of cuDNN's convolutions alone, torch itself (torch.export) can no longer
# read its state, and raises.
FLAGS: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)


def exact_by_default() -> None:
    """Make IEEE float32 this process's arithmetic outside of `using`: torch lets cuDNN round to TF32 unless told."""
    for flag in FLAGS:
        flag.allow_tf32 = False


@contextmanager
def using(mode: str) -> Iterator[None]:
    """Compute in `mode` inside the block: torch's TF32 flags, and what `product` does."""
    global _mode
    before, kept = _mode, [flag.allow_tf32 for flag in FLAGS]
    _mode = mode
    for flag in FLAGS:
        flag.allow_tf32 = mode != "float32"
    try:
        yield
    finally:
        _mode = before
        for flag, value in zip(FLAGS, kept, strict=True):
            flag.allow_tf32 = value


def current() -> str:
    """The mode of the block around: float32, tf32 or bf16."""
    return _mode


def product(a: Tensor, b: Tensor) -> Tensor:
    """a (…, M, K) @ b (…, K, N) with equal leading axes, in the current mode; can be differentiated again and again.

    In bf16 the factors are rounded, here and in every derivative; sums and results are float32. float64 stays float64.
    """
    if rounds(a.dtype):
        answer: Tensor = _Rounded.apply(a, b)
        return answer
    return a @ b


def rounds(dtype: torch.dtype) -> bool:
    """Whether the current mode rounds the factors of per-problem products of this type to bf16."""
    return _mode == "bf16" and dtype == torch.float32


def add_product_(total: Tensor, a: Tensor, b: Tensor, *, fresh: bool = False) -> None:
    """total (P, M, N) += a (P, M, K) @ b (P, K, N), in place and without a derivative; fresh: total = a @ b.

    Factors that are rounded to bf16 are summed into a float32 total; others are of its type.
    """
    if a.dtype == total.dtype:
        total.baddbmm_(a, b, beta=0 if fresh else 1)
    elif fresh:
        total.copy_(_rounded_product(a, b))
    else:
        total.add_(_rounded_product(a, b))


class _Rounded(torch.autograd.Function):
    """A product of factors rounded to bf16; its derivatives are such products too."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a, b)
        return _rounded_product(a, b)

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, Tensor | None]:
        a, b = ctx.saved_tensors
        one, two = ctx.needs_input_grad
        left = _Rounded.apply(outer, b.transpose(-1, -2)) if one else None
        right = _Rounded.apply(a.transpose(-1, -2), outer) if two else None
        return left, right


def _rounded_product(a: Tensor, b: Tensor) -> Tensor:
    one, two = a.to(torch.bfloat16), b.to(torch.bfloat16)
    if a.device.type != "cuda":  # exact products of rounded factors, summed in float32: what a GPU's units do
        return one.float() @ two.float()
    flat = torch.bmm(one.flatten(0, -3), two.flatten(0, -3), out_dtype=torch.float32)
    return flat.reshape(*one.shape[:-1], two.shape[-1])


@dataclass(frozen=True)
class Choice:
    """The mode that was chosen, and for each mode that was checked its worst cosine and sign agreement with float32."""

    mode: str
    checks: dict[str, dict[str, float]] = field(default_factory=dict)


def check_asked(asked: str, device: torch.device) -> None:
    """Raise UserError for a precision that is unknown or that this device does not have."""
    if asked not in CHOICES:
        raise UserError(f"precision must be one of {', '.join(CHOICES)}, not {asked[:60]!r}.")
    if asked == "tf32" and device.type != "cuda":
        raise UserError("tf32 is a mode of CUDA GPUs; on this device choose float32, bf16 or auto.")


def choose(asked: str, gradient_of: Callable[[Tensor], Tensor], points: Tensor) -> Choice:
    """The mode to compute in. `auto`: on a GPU the fastest whose gradient is near float32's, elsewhere float32.

    gradient_of(points (Q, …)) -> (Q, …) computes in the current mode; points are the first problems' starts.
    """
    check_asked(asked, points.device)
    if asked != "auto":
        return Choice(asked)
    if points.device.type != "cuda" or points.dtype != torch.float32:
        return Choice("float32")
    return fastest_that_agrees(gradient_of, points)


def fastest_that_agrees(gradient_of: Callable[[Tensor], Tensor], points: Tensor) -> Choice:
    """The check behind `auto`: the first of FASTEST_FIRST that keeps to both limits, else float32."""
    places, exact = _first_steps(gradient_of, points)
    checks: dict[str, dict[str, float]] = {}
    for mode in FASTEST_FIRST:
        with using(mode):
            found = [agreement(gradient_of(place), right) for place, right in zip(places, exact, strict=True)]
        cosine, signs = min(pair[0] for pair in found), min(pair[1] for pair in found)
        checks[mode] = {"cosine": cosine, "signs": signs}
        if cosine >= LEAST_COSINE and signs >= LEAST_SIGNS:
            return Choice(mode, checks)
    return Choice("float32", checks)


def agreement(ours: Tensor, right: Tensor) -> tuple[float, float]:
    """Of (Q, …) gradients, the worst problem's cosine in [−1, 1] and share of entries with the right sign in [0, 1].

    A gradient that is not finite, or zero on one side only, agrees in nothing: (−1, 0). Entries that are zero in
    `right` have no sign and are not counted.
    """
    ours, right = ours.flatten(1).double(), right.flatten(1).double()
    cosine = (ours * right).sum(1) / (ours.norm(dim=1) * right.norm(dim=1))
    both_zero = ~ours.any(1) & ~right.any(1)
    cosine = torch.where(both_zero, 1.0, cosine).nan_to_num(-1.0)
    counted = right != 0
    same = ((ours.sign() == right.sign()) & counted).sum(1) / counted.sum(1).clamp_min(1)
    same = torch.where(counted.any(1), same, both_zero.to(same))
    return float(cosine.min()), float(torch.where(ours.isfinite().all(1), same, 0.0).min())


def _first_steps(gradient_of: Callable[[Tensor], Tensor], points: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Points that a signed descent in float32 passes, and their gradients."""
    places, exact, place = [], [], points.detach()
    length = STEP * float(points.std())
    with using("float32"):
        for _ in range(CHECKED_STEPS):
            gradient = gradient_of(place)
            places.append(place)
            exact.append(gradient)
            place = place - length * gradient.sign()
    return places, exact


def is_finer(one: str, other: str) -> bool:
    """Whether `one` rounds less than `other`."""
    order = ("bf16", "tf32", "float32")
    return order.index(one) > order.index(other)

"""What stands in for torch's layers when `core.attacks.layers.Taps` watches: their results and weight gradients.

Each has the signature of the function of torch.nn.functional that it stands for, after the taps. Normalisations are
made of plain operations, whose second derivatives are right under any transform.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from core.attacks.layers import NoFastForm, Parts, Taps
from core.attacks.layers_conv import conv_weight_gradient
from core.attacks.precision import product


def linear(taps: Taps, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """F.linear on (P·k, …, I)."""

    def rule(outer: Tensor) -> Parts:
        rows = outer.reshape(taps.problems, -1, outer.shape[-1])
        parts: Parts = [(weight, product(rows.transpose(1, 2), x.reshape(taps.problems, -1, x.shape[-1])))]
        return parts if bias is None else [*parts, (bias, rows.sum(dim=1))]

    return taps.tap(F.linear(x, taps.fixed(weight), None if bias is None else taps.fixed(bias)), rule)


def convolution(
    taps: Taps,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | str | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """F.conv1d and F.conv2d on (P·B, C, …)."""
    axes = weight.dim() - 2
    steps, gaps = _each(stride, axes), _each(dilation, axes)
    sides = _sides(padding, weight.shape[2:], gaps)

    def rule(outer: Tensor) -> Parts:
        value = conv_weight_gradient(x, outer, taps.problems, weight.shape, steps, sides, gaps, groups)
        return [(weight, value)] if bias is None else [(weight, value), (bias, _sum_channels(outer, taps.problems))]

    function = F.conv1d if axes == 1 else F.conv2d
    fixed = (taps.fixed(weight), None if bias is None else taps.fixed(bias))
    return taps.tap(function(x, *fixed, stride, padding, dilation, groups), rule)


def batch_norm(
    taps: Taps,
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """F.batch_norm on (P·B, C, …), each problem by its own batch or all by the running statistics."""
    if training:
        grouped = x.reshape(taps.problems, -1, x.shape[1], math.prod(x.shape[2:]))
        return _scaled(taps, _standard(grouped, (1, 3), eps).reshape(x.shape), weight, bias)
    if running_mean is None or running_var is None:
        raise NoFastForm("BatchNorm in eval mode without running statistics has no fast form")
    rate = (running_var + eps).rsqrt()
    if weight is None or bias is None:
        return (x - _along(running_mean, x)) * _along(rate, x)
    fixed, shift = taps.fixed(weight), taps.fixed(bias)
    scale = fixed * rate

    def rule(outer: Tensor) -> Parts:
        total = _sum_channels(outer, taps.problems)
        value = (_sum_channels(outer * x, taps.problems) - total * running_mean) * rate
        return [(weight, value), (bias, total)]

    result = torch.addcmul(_along(shift - running_mean * scale, x), x, _along(scale, x))
    return taps.tap(result, rule)


def group_norm(
    taps: Taps, x: Tensor, groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """F.group_norm on (P·B, C, …)."""
    return _scaled(taps, _standard(x.reshape(x.shape[0], groups, -1), (2,), eps).reshape(x.shape), weight, bias)


def instance_norm(
    taps: Taps,
    x: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """F.instance_norm on (P·B, C, …); with running statistics it is BatchNorm in eval mode."""
    if use_input_stats:
        return group_norm(taps, x, x.shape[1], weight, bias, eps)
    return batch_norm(taps, x, running_mean, running_var, weight, bias, False, momentum, eps)


def layer_norm(
    taps: Taps,
    x: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """F.layer_norm on (P·k, …, *normalized_shape)."""
    axes = len(normalized_shape)
    normal = _standard(x, tuple(range(-axes, 0)), eps)

    def rule(outer: Tensor) -> Parts:
        def sums(value: Tensor) -> Tensor:
            return value.reshape(taps.problems, -1, *normalized_shape).sum(dim=1)

        return [(weight, sums(outer * normal)), (bias, sums(outer))]

    result = normal if weight is None else normal * taps.fixed(weight)
    return taps.tap(result if bias is None else result + taps.fixed(bias), rule)


def attention(
    taps: Taps,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    **more: Any,
) -> tuple[Tensor, None]:
    """F.multi_head_attention_forward for self-attention without masks, as vision transformers use it.

    nn.MultiheadAttention gives (tokens, P·B, E) and wants that back: it must have been made with batch_first.
    """
    plain = (bias_k, bias_v, key_padding_mask, attn_mask) == (None,) * 4 and not (add_zero_attn or need_weights)
    if not plain or use_separate_proj_weight or in_proj_weight is None or query is not key or key is not value:
        raise NoFastForm("attention other than plain self-attention has no fast form")
    x = linear(taps, query.transpose(0, 1), in_proj_weight, in_proj_bias)
    q, k, v = x.reshape(*x.shape[:2], 3, num_heads, -1).permute(2, 0, 3, 1, 4)
    weights = (q * q.shape[-1] ** -0.5 @ k.transpose(-1, -2)).softmax(-1)
    mixed = (weights @ v).transpose(1, 2).flatten(2)
    return linear(taps, mixed, out_proj_weight, out_proj_bias).transpose(0, 1), None


RULES: dict[Callable[..., Any], Callable[..., Any]] = {
    F.linear: linear,
    F.conv1d: convolution,
    F.conv2d: convolution,
    F.batch_norm: batch_norm,
    F.group_norm: group_norm,
    F.instance_norm: instance_norm,
    F.layer_norm: layer_norm,
    F.multi_head_attention_forward: attention,
}


def _standard(x: Tensor, axes: tuple[int, ...], eps: float) -> Tensor:
    """Mean 0 and variance 1 over `axes`."""
    centred = x - x.mean(dim=axes, keepdim=True)
    return centred * (centred.square().mean(dim=axes, keepdim=True) + eps).rsqrt()


def _scaled(taps: Taps, normal: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """normal (P·B, C, …) times a weight and plus a bias of each channel."""
    if weight is None or bias is None:
        return normal

    def rule(outer: Tensor) -> Parts:
        return [
            (weight, _sum_channels(outer * normal, taps.problems)),
            (bias, _sum_channels(outer, taps.problems)),
        ]

    scale, shift = taps.fixed(weight), taps.fixed(bias)
    return taps.tap(torch.addcmul(_along(shift, normal), normal, _along(scale, normal)), rule)


def _sum_channels(x: Tensor, problems: int) -> Tensor:
    """(P·B, C, …) -> (P, C)."""
    return x.reshape(problems, -1, x.shape[1], math.prod(x.shape[2:])).sum(dim=(1, 3))


def _along(values: Tensor, x: Tensor) -> Tensor:
    """(C,) -> (C, 1, …), to go with (N, C, …)."""
    return values.reshape(-1, *(1,) * (x.dim() - 2))


def _each(value: int | Sequence[int], axes: int) -> tuple[int, ...]:
    return (value,) * axes if isinstance(value, int) else tuple(value) * (axes // len(value))


def _sides(padding: int | str | Sequence[int], kernel: Sequence[int], gaps: Sequence[int]) -> list[tuple[int, int]]:
    """Padding before and after each axis; `same` puts the odd one behind, as torch does."""
    if padding == "same":
        totals = [gap * (length - 1) for length, gap in zip(kernel, gaps, strict=True)]
        return [(total // 2, total - total // 2) for total in totals]
    if isinstance(padding, str):  # valid
        return [(0, 0)] * len(kernel)
    return [(width, width) for width in _each(padding, len(kernel))]

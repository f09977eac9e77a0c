"""The process's arithmetic during a training, and as it was before afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

# torch's older switches, on purpose: it has two kinds, and once the newer `fp32_precision` of cuDNN's convolutions was
# set alone, torch itself can no longer read the state of the older ones, and raises.
_FLAGS: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)


@contextmanager
def exact() -> Iterator[None]:
    """IEEE float32 inside the block (no TF32), and convolutions that cuDNN has timed; all switches restored after."""
    kept = [flag.allow_tf32 for flag in _FLAGS]
    timed = torch.backends.cudnn.benchmark
    try:
        for flag in _FLAGS:
            flag.allow_tf32 = False
        torch.backends.cudnn.benchmark = True
        yield
    finally:
        for flag, value in zip(_FLAGS, kept, strict=True):
            flag.allow_tf32 = value
        torch.backends.cudnn.benchmark = timed

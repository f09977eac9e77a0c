"""How many problems fit into the device's free memory, measured on the very step; and what an out-of-memory is."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

MARGIN = {"cuda": 0.85, "cpu": 0.5}  # of the free memory that may be filled: others and fragments need some too
Step = Callable[[int], object]  # computes one step of so many problems; what it returns is let go


@dataclass(frozen=True)
class Fit:
    """What the probe found, in bytes: the peaks of a step of one and of two problems beyond what was held before,
    the memory that was free, and how many problems a pass may have."""

    one: int
    two: int
    free: int
    problems: int

    def record(self) -> dict[str, int]:
        """For the run's record."""
        return asdict(self)


def probe(step: Step, device: torch.device) -> Fit | None:
    """Measure steps of 1 and 2 problems; None where free memory is not told (a CPU without /proc).

    Memory grows by the same amount with each problem beyond what the first one needs; raises what the step raises.
    """
    free = free_memory(device)
    if free is None:
        return None
    one, two = peak_of(lambda: step(1), device), peak_of(lambda: step(2), device)
    return Fit(one, two, free, problems_that_fit(one, two, int(free * MARGIN[device.type])))


def problems_that_fit(one: int, two: int, room: int) -> int:
    """How many problems `room` bytes hold, at least 1: a straight line through both peaks.

    A second problem that seems to cost nothing (allocators round up) is taken to cost as much as the first.
    """
    each = two - one if two > one else max(1, one)
    return max(1, 1 + (room - one) // each)


def peak_of(work: Callable[[], object], device: torch.device) -> int:
    """Bytes that `work` holds at its peak beyond what was held before: by the allocator, on CPU by live tensors."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        torch.cuda.synchronize(device)
        return int(torch.cuda.max_memory_allocated(device)) - int(before)
    with LiveTensors() as live:
        work()
    return int(live.peak)


class LiveTensors(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's base class is typed in part
    """Counts the bytes of tensors that are made inside and still alive, and their peak; not what kernels use within."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # as above
        self.now = self.peak = 0
        self._known: dict[int, Any] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        answer = func(*args, **(kwargs or {}))
        given = {_key(leaf) for leaf in tree_leaves((args, kwargs)) if _counts(leaf)}
        for leaf in tree_leaves(answer):
            if _counts(leaf) and _key(leaf) not in self._known and _key(leaf) not in given:
                self._add(leaf)
        return answer

    def _add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        self.now += size
        self.peak = max(self.peak, self.now)
        self._known[key] = weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self.now -= size
        del self._known[key]


def _counts(leaf: object) -> bool:
    return isinstance(leaf, Tensor) and leaf.layout == torch.strided


def _key(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def free_memory(device: torch.device) -> int | None:
    """Bytes that this process can still get there; None where the system does not say."""
    if device.type == "cuda":
        free, _total = torch.cuda.mem_get_info(device)
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free) + int(cached)
    return free_system_memory(Path("/proc/meminfo"), Path("/sys/fs/cgroup"))


def free_system_memory(meminfo: Path, cgroup: Path) -> int | None:
    """What Linux calls available, or what is left of the container's limit if that is less; None where neither says."""
    found = []
    try:
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
        found.append(int(lines["MemAvailable"].split()[0]) * 1024)
    except (OSError, KeyError, ValueError):
        pass
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            found.append(max(0, int((cgroup / limit).read_text()) - int((cgroup / used).read_text())))
        except (OSError, ValueError):  # no such group, or its limit is "max"
            continue
    return min(found, default=None)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch, CUDA or the system had no memory left."""
    words = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(word in str(error) for word in words)


def let_go(device: torch.device) -> None:
    """Give back what a failed pass has left in caches."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()

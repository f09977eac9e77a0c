"""The whole step as one recorded graph: traced to plain operations, compiled if the run is long, replayed on a GPU.

Tracing (make_fx) unrolls forward, gradient, cost and double backward into one list of operations without autograd.
Inductor fuses them; a CUDA graph then launches them all at once. On one H100 the study of this form took 40 to 90 s to
compile and made a step 1.4 times as quick as the plain CUDA graph: hence the limits below. Whatever fails here, the
run goes on with the plain step, and `Recorded.path` says why.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx

from core.attacks import memory, precision

Work = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # points (Q, …), rows (Q,) -> costs (Q,), gradients (Q, …)
COMPILE_SECONDS, REPLAY_SECONDS = 300.0, 15.0  # of plain steps still to come, from which each form repays its making
KEPT = 8  # compiled steps that a worker keeps for later runs of the same shapes
TOLERANCE = {"float32": 1e-4, "tf32": 1e-2, "bf16": 1e-2}  # of a recorded step's results, relative to the plain one's

_compiled: OrderedDict[str, Callable[..., Any]] = OrderedDict()


class Recorded:
    """The recorded form of one run's pass, made when it repays itself and dropped when it fails."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.path = device, "plain"
        self.wanted = ""  # "", "replayed" or "compiled"
        self._decided = False
        self._work: Work | None = None
        self._size = 0

    def consider(self, seconds_left: float) -> None:
        """Decide once, from how long the plain form would still take. On a CPU arithmetic binds: never by itself."""
        if self._decided:
            return
        self._decided = True
        if self.device.type == "cuda" and seconds_left >= REPLAY_SECONDS:
            self.wanted = "compiled" if seconds_left >= COMPILE_SECONDS else "replayed"

    def forget(self) -> None:
        """The pass has changed: record it anew when it comes next."""
        self._work = None

    def run(self, plain: Work, points: Tensor, rows: Tensor) -> tuple[Tensor, Tensor] | None:
        """Costs and gradients of the recorded form; None where the plain one is to be taken.

        A pass smaller than the recorded one is filled up with its last problem, whose copies are left out again; one
        less than half as large is quicker in the plain form.
        """
        if not self.wanted:
            return None
        if self._work is None:
            self._make(plain, points, rows)
        if self._work is None or not self._size <= 2 * len(rows) <= 2 * self._size:
            return None
        lacking = self._size - len(rows)
        if lacking:
            places = torch.arange(self._size, device=rows.device).clamp_max(len(rows) - 1)
            points, rows = points[places], rows[places]
        costs, gradients = self._work(points, rows)
        return (costs[:-lacking], gradients[:-lacking]) if lacking else (costs, gradients)

    def _make(self, plain: Work, points: Tensor, rows: Tensor) -> None:
        """Record in the form that is wanted, and if that fails in the simpler one; then the plain step stays."""
        points, why = points.detach().clone(), ""
        for form in ("compiled", "replayed") if self.wanted == "compiled" else ("replayed",):
            work, path, fault = self._attempt(plain, points, rows, long=form == "compiled")
            why = "; ".join(part for part in (why, fault) if part)
            if work is not None:
                self._work, self._size, self.wanted = work, len(rows), form
                self.path = f"{path} ({why})" if why else path
                return
        self.wanted, self.path = "", f"plain ({why})"

    def _attempt(self, plain: Work, points: Tensor, rows: Tensor, *, long: bool) -> tuple[Work | None, str, str]:
        """A form that gives the plain one's numbers, its name, and what speaks against it."""
        try:
            work, path = record(plain, points, rows, long=long)
            gap = disagreement(work(points, rows), plain(points, rows))
        except Exception as error:  # compilers raise what they like; a lack of memory is for the caller
            if memory.is_out_of_memory(error):
                raise
            line = (str(error).splitlines() or [""])[0][:120]
            return None, "", f"{'compiling' if long else 'recording'} failed: {type(error).__name__}: {line}"
        limit = 1e-9 if points.dtype == torch.float64 else TOLERANCE[precision.current()]
        if not gap <= limit:
            return None, "", f"the {'compiled' if long else 'recorded'} step was off by {gap:.1e}"
        return work, path, ""


def record(plain: Work, points: Tensor, rows: Tensor, *, long: bool) -> tuple[Work, str]:
    """The recorded form for these shapes and its name. A long run is traced and compiled, or finds what another run
    compiled; a short one on a GPU is captured as it is, which takes a second and no tracing.
    """
    on_gpu = points.device.type == "cuda"
    if on_gpu and not long:
        return Replayed(plain, points, rows), "replayed as a CUDA graph"
    module, held = trace(plain, points, rows)
    key = key_of(module, [points, rows, *held])
    if long and key not in _compiled:
        _keep(key, torch._inductor.compile(module, [points, rows, *held]))
    form: Callable[..., Any] = _compiled.get(key, module)
    name = "compiled by Inductor" if key in _compiled else "traced"

    def work(points: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            costs, gradients = form(points, rows, *held)
        return costs, gradients

    return (Replayed(work, points, rows), f"{name}, replayed as a CUDA graph") if on_gpu else (work, name)


def trace(plain: Work, points: Tensor, rows: Tensor) -> tuple[fx.GraphModule, list[Tensor]]:
    """One pass as a graph of plain operations, with all that the cost holds (weights, observed gradients) as inputs.

    Returns module(points, rows, *held) -> (costs, gradients), and held. So the graph is the same for another run of the
    same shapes, whose compiled form can be used again.
    """
    module = make_fx(plain)(points, rows)
    last = [node for node in module.graph.nodes if node.op == "placeholder"][-1]
    held: list[Tensor] = []
    names: dict[str, fx.Node] = {}
    for node in list(module.graph.nodes):
        if node.op != "get_attr":
            continue
        name = str(node.target)
        if name not in names:
            held.append(getattr(module, name).detach())
            with module.graph.inserting_after(last):
                last = names[name] = module.graph.placeholder(f"held_{len(held)}")
        node.replace_all_uses_with(names[name])
        module.graph.erase_node(node)
    module.graph.eliminate_dead_code()
    lifted = fx.GraphModule(torch.nn.Module(), module.graph)
    return lifted, held


def key_of(module: fx.GraphModule, inputs: Sequence[Tensor]) -> str:
    """sha256 of a traced step: its operations with their constants, its inputs' shapes and the arithmetic."""
    shapes = [f"{tuple(i.shape)} {i.stride()} {i.dtype} {i.device}" for i in inputs]
    text = "\n".join([module.code, *shapes, precision.current(), torch.__version__])
    return hashlib.sha256(text.encode()).hexdigest()


def disagreement(ours: tuple[Tensor, Tensor], right: tuple[Tensor, Tensor]) -> float:
    """The greater gap of costs and gradients, relative to the plain form's size; NaN where only one is finite."""
    gaps = []
    for one, other in zip(ours, right, strict=True):
        known = other.isfinite()
        if not torch.equal(known, one.isfinite()):
            return float("nan")
        gap, size = (one - other)[known].norm(), other[known].norm()
        gaps.append(float(gap / size) if size > 0 else float(gap))
    return max(gaps)


class Replayed:
    """A pass captured as a CUDA graph. Its inputs and outputs have fixed places; what is returned is a copy."""

    def __init__(self, work: Work, points: Tensor, rows: Tensor) -> None:
        self.points, self.rows = points.detach().clone(), rows.clone()
        self.work = work  # the graph reads tensors that it holds
        stream = torch.cuda.Stream(points.device)  # type: ignore[no-untyped-call]  # torch types it in part
        present = torch.cuda.current_stream(points.device)
        stream.wait_stream(present)
        with torch.cuda.stream(stream):
            for _ in range(3):  # libraries set themselves up outside of the capture
                work(self.points, self.rows)
        present.wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.costs, self.gradients = work(self.points, self.rows)

    def __call__(self, points: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        self.points.copy_(points)
        self.rows.copy_(rows)
        self.graph.replay()
        return self.costs.clone(), self.gradients.clone()


def _keep(key: str, form: Callable[..., Any]) -> None:
    _compiled[key] = form
    while len(_compiled) > KEPT:
        _compiled.popitem(last=False)

"""The recorded step gives the plain one's numbers, and whatever fails falls back to it with a word why."""

from contextlib import nullcontext
from functools import partial

import pytest
import torch
from torch import Tensor

from core.attacks import compiled
from core.attacks.compiled import Recorded
from core.attacks.descent import Descent
from core.attacks.engine import draw, set_up
from core.attacks.inverting import InvertingConfig
from core.attacks.passes import Passes, step

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(autouse=True)
def _nothing_kept(monkeypatch):
    monkeypatch.setattr(compiled, "_compiled", compiled.OrderedDict())


def inverting(make, **settings) -> Descent:
    observation, _, labels = make(updates=3)
    descent = Descent(set_up(observation, 1), InvertingConfig(**settings), labels)
    shape = descent.problems.image_shape
    descent.begin(draw("normal", 0, range(3), 1, descent.low.numel()).reshape(3, *shape))
    return descent


def quartic(points: Tensor, rows: Tensor) -> Tensor:
    """A cost whose own gradient is part of it: Σ (d Σx³ / dx)² · (row + 1) = Σ 9 x⁴ (row + 1)."""
    (inner,) = torch.autograd.grad((points**3).sum(), points, create_graph=True)
    return (inner.square() * (rows[:, None] + 1)).sum(1)


def test_the_traced_step_is_the_plain_one_also_elsewhere_and_for_other_problems(make):
    descent = inverting(make)
    plain, rows = partial(step, descent.objective), torch.arange(3)
    work, path = compiled.record(plain, descent.image, rows, long=False)
    assert path == "traced"
    other = descent.image.flip(0) * 0.3
    assert compiled.disagreement(work(other, rows.flip(0)), plain(other, rows.flip(0))) < 1e-6
    assert compiled.disagreement(work(other, rows), plain(other, rows.flip(0))) > 1e-3  # the rows matter


def test_two_runs_of_the_same_shapes_have_one_key_and_other_costs_or_shapes_another(make):
    one, two = inverting(make), inverting(make)
    two.problems.observation.gradients[next(iter(one.problems.observation.gradients))] *= 2
    keys = []
    for descent, rows in (
        (one, torch.arange(3)),
        (two, torch.arange(3)),
        (one, torch.arange(2)),
        (inverting(make, total_variation=1e-2), torch.arange(3)),
    ):
        image = descent.image[: len(rows)]
        module, held = compiled.trace(partial(step, descent.objective), image, rows)
        keys.append(compiled.key_of(module, [image, rows, *held]))
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


def test_inductor_gives_the_same_numbers_and_is_asked_once(monkeypatch):
    asked = []
    real = torch._inductor.compile
    monkeypatch.setattr(torch._inductor, "compile", lambda *a: asked.append(1) or real(*a))
    points, rows = torch.randn(4, 6, generator=torch.Generator().manual_seed(0)), torch.arange(4)
    for _run in range(2):
        recorded = Recorded(CPU)
        recorded.wanted = "compiled"
        costs, gradients = recorded.run(partial(step, quartic), points, rows)
        assert recorded.path == "compiled by Inductor"
        torch.testing.assert_close(costs, (9 * points**4 * (rows[:, None] + 1)).sum(1), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(gradients, 36 * points**3 * (rows[:, None] + 1), rtol=1e-5, atol=1e-5)
    assert len(asked) == 1
    short, path = compiled.record(partial(step, quartic), points, rows, long=False)
    assert path == "compiled by Inductor"  # what is there already costs nothing
    torch.testing.assert_close(short(points, rows)[0], costs)


def test_smaller_passes_are_filled_up_and_much_smaller_ones_are_plain():
    recorded = Recorded(CPU)
    recorded.wanted = "replayed"
    points, rows = torch.randn(8, 3, generator=torch.Generator().manual_seed(0)), torch.arange(8)
    plain = partial(step, quartic)
    assert recorded.run(plain, points, rows) is not None
    costs, gradients = recorded.run(plain, points[3:8], rows[3:8])
    assert compiled.disagreement((costs, gradients), plain(points[3:8], rows[3:8])) < 1e-6
    assert costs.shape == (5,)
    assert recorded.run(plain, points[:3], rows[:3]) is None


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (lambda *_a, **_k: (_ for _ in ()).throw(ValueError("no such kernel\nmore")), "ValueError: no such kernel"),
        (lambda plain, *_a, **_k: (lambda p, r: [2 * t for t in plain(p, r)], "traced"), "was off by 1.0e+00"),
        (lambda plain, *_a, **_k: (lambda p, r: [t * torch.nan for t in plain(p, r)], "traced"), "was off by nan"),
    ],
)
def test_a_recorded_step_that_fails_or_lies_is_not_used_and_the_record_says_why(monkeypatch, fault, said):
    monkeypatch.setattr(compiled, "record", fault)
    points, rows = torch.randn(4, 3), torch.arange(4)
    passes = Passes(CPU, 4)
    passes.recorded.wanted = "compiled"
    _, gradients = passes.evaluate(quartic, points, rows, fixed=True)
    torch.testing.assert_close(gradients, 36 * points**3 * (rows[:, None] + 1))
    path = passes.record()["step"]
    assert path.startswith("plain (")
    assert said in path
    assert "more" not in path


def test_where_compiling_fails_the_simpler_form_is_used_and_the_record_says_so(monkeypatch):
    real = compiled.record

    def broken(plain, points, rows, *, long):
        if long:
            raise ValueError("no such kernel")
        return real(plain, points, rows, long=False)

    monkeypatch.setattr(compiled, "record", broken)
    points, rows = torch.randn(4, 3), torch.arange(4)
    passes = Passes(CPU, 4)
    passes.recorded.wanted = "compiled"
    _, gradients = passes.evaluate(quartic, points, rows, fixed=True)
    torch.testing.assert_close(gradients, 36 * points**3 * (rows[:, None] + 1))
    assert passes.record()["step"] == "traced (compiling failed: ValueError: no such kernel)"


def test_only_a_cost_that_is_fixed_is_recorded():
    points, rows = torch.randn(4, 3), torch.arange(4)
    for fixed, path in ((False, "plain"), (True, "traced")):
        passes = Passes(CPU, 4)
        passes.recorded.wanted = "replayed"
        passes.evaluate(quartic, points, rows, fixed=fixed)
        assert passes.record()["step"] == path


@pytest.mark.parametrize(("seconds", "wanted"), [(1.0, ""), (60.0, "replayed"), (3600.0, "compiled")])
def test_only_a_run_on_a_gpu_that_is_long_enough_is_recorded(seconds, wanted):
    on_gpu, on_cpu = Recorded(CUDA), Recorded(CPU)
    on_gpu.consider(seconds)
    on_cpu.consider(seconds)
    assert (on_gpu.wanted, on_cpu.wanted) == (wanted, "")


def test_a_replay_reads_its_own_inputs_and_hands_out_copies(monkeypatch):
    class Graph:
        """Stands for a CUDA graph: what is captured is run again on the same tensors."""

        def replay(self) -> None:
            costs, gradients = replayed.work(replayed.points, replayed.rows)
            replayed.costs.copy_(costs)
            replayed.gradients.copy_(gradients)

    class Stream:
        def wait_stream(self, _other: object) -> None: ...

    monkeypatch.setattr(torch.cuda, "Stream", lambda _device: Stream())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _device: Stream())
    monkeypatch.setattr(torch.cuda, "stream", lambda _stream: nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", lambda _graph: nullcontext())
    points, rows = torch.randn(4, 3), torch.arange(4)
    plain = partial(step, quartic)
    replayed = compiled.Replayed(plain, points, rows)
    first = replayed(points * 2, rows.flip(0))
    right = plain(points * 2, rows.flip(0))
    replayed(points, rows)
    assert compiled.disagreement(first, right) == 0.0  # not overwritten by the second replay

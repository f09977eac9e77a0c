"""Passes that fit, survive a lack of memory, and leave done problems alone."""

import pytest
import torch
from torch import Tensor

from core.attacks import memory, precision
from core.attacks.active import CONVERGED, DIVERGED, RUNNING, Active
from core.attacks.engine import record_of, set_up
from core.attacks.passes import Passes, step
from core.errors import UserError

CPU = torch.device("cpu")


def cubes(points: Tensor, rows: Tensor) -> Tensor:
    """Σ rows · x³, whose gradient is 3 · rows · x²."""
    return (rows[:, None] * points**3).sum(1)


class Greedy:
    """`cubes`, but more than `most` problems at once run out of memory; keeps how many came each time."""

    def __init__(self, most: int, error: type[Exception] = torch.OutOfMemoryError) -> None:
        self.most, self.error, self.seen = most, error, []

    def __call__(self, points: Tensor, rows: Tensor) -> Tensor:
        self.seen.append(len(rows))
        if len(rows) > self.most:
            raise self.error("CUDA out of memory. Tried to allocate 2.00 GiB")
        return cubes(points, rows)


class Misfit(RuntimeError):
    """Another error than a lack of memory."""

    def __init__(self, _sentence: str) -> None:
        super().__init__("sizes do not fit")


def problems(count: int) -> tuple[Tensor, Tensor]:
    points = torch.randn(count, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return points, torch.arange(count)


def test_passes_of_any_size_give_every_problem_its_own_cost_and_gradient():
    points, rows = problems(7)
    for ceiling in (1, 3, 7, 100):
        costs, gradients = Passes(CPU, ceiling).evaluate(cubes, points, rows)
        torch.testing.assert_close(costs, (rows[:, None] * points**3).sum(1))
        torch.testing.assert_close(gradients, 3 * rows[:, None] * points**2)


def test_a_pass_without_memory_is_halved_until_it_fits_and_nothing_is_lost():
    points, rows = problems(9)
    greedy = Greedy(most=2)
    passes = Passes(CPU, 9)
    costs, gradients = passes.evaluate(greedy, points, rows)
    torch.testing.assert_close(gradients, 3 * rows[:, None] * points**2)
    assert greedy.seen[2:] == [9, 5, 3, 2, 2, 2, 2, 1]  # after the probe's 1 and 2
    assert passes.size == 2
    assert passes.record()["out_of_memory"].startswith("3 times")
    greedy.seen.clear()
    passes.evaluate(greedy, points, rows)
    assert greedy.seen == [2, 2, 2, 2, 1]  # the size that fits is kept
    torch.testing.assert_close(costs, cubes(points, rows))


def test_memory_that_ends_within_the_probe_leaves_passes_of_one():
    points, rows = problems(3)
    greedy = Greedy(most=1, error=MemoryError)
    passes = Passes(CPU, 8)
    costs, _ = passes.evaluate(greedy, points, rows)
    assert passes.size == 1
    torch.testing.assert_close(costs, cubes(points, rows))


def test_one_problem_without_memory_and_any_other_error_are_raised():
    points, rows = problems(2)
    with pytest.raises(torch.OutOfMemoryError):
        Passes(CPU, 8).evaluate(Greedy(most=0), points[:1], rows[:1])
    with pytest.raises(RuntimeError, match="sizes do not fit"):
        Passes(CPU, 8).evaluate(Greedy(most=1, error=Misfit), points, rows)


def test_free_memory_decides_how_many_problems_a_pass_has(monkeypatch):
    points = torch.randn(32, 1000)  # float32: 4000 bytes a problem and tensor

    monkeypatch.setattr(memory, "free_memory", lambda _device: 400_000)
    passes = Passes(CPU, 32)
    passes.evaluate(lambda x, _rows: (x**3).sum(1), points, torch.arange(32))
    assert passes.fit is not None
    each = passes.fit.two - passes.fit.one
    assert 4000 * 3 <= each <= 4000 * 8  # a few tensors of the size of a problem live at once
    assert passes.size == passes.fit.problems == 1 + (200_000 - passes.fit.one) // each
    assert passes.record()["memory_probe"]["free"] == 400_000


def test_live_tensors_are_counted_once_and_only_while_they_live():
    def work() -> None:
        a = torch.zeros(1000)  # 4000 bytes
        b = a + 1  # 8000
        del a  # 4000
        c = b.view(10, 100)  # the same bytes
        d = c * 2  # 8000
        e = torch.cat([d, d])  # 16000
        del b, c, d, e

    assert memory.peak_of(work, CPU) == 16_000


def test_a_straight_line_through_two_peaks():
    assert memory.problems_that_fit(one=30, two=40, room=100) == 8  # 30 + 7·10
    assert memory.problems_that_fit(one=30, two=30, room=100) == 3  # no slope seen: as much as the first
    assert memory.problems_that_fit(one=300, two=400, room=100) == 1


def test_the_smaller_of_system_and_container_memory_is_free(tmp_path):
    meminfo, group = tmp_path / "meminfo", tmp_path / "cgroup"
    meminfo.write_text("MemTotal:  100 kB\nMemAvailable:   50 kB\n")
    assert memory.free_system_memory(meminfo, group) == 50 * 1024
    group.mkdir()
    (group / "memory.max").write_text("max\n")
    (group / "memory.current").write_text("7\n")
    assert memory.free_system_memory(meminfo, group) == 50 * 1024
    (group / "memory.max").write_text("1007\n")
    assert memory.free_system_memory(meminfo, group) == 1000
    assert memory.free_system_memory(tmp_path / "none", tmp_path / "none") is None


def test_the_record_of_a_run_says_how_it_was_computed(make):
    observation, _, _ = make()
    layout = set_up(observation, 2)
    points, rows = torch.randn(4, 3), torch.arange(4)
    layout.evaluate(cubes, points, rows)
    record = record_of(layout)
    assert (record["precision"], record["step"]) == ("float32", "plain")
    assert record["problems_a_pass"] >= 4
    assert record["memory_probe"]["two"] >= record["memory_probe"]["one"] > 0
    with pytest.raises(UserError, match="tf32 is a mode of CUDA GPUs"):
        set_up(observation, 1, precision="tf32")


def test_the_plain_step_is_the_gradient_of_the_sum():
    points, rows = problems(3)
    costs, gradients = step(cubes, points, rows)
    torch.testing.assert_close(costs, cubes(points, rows))
    torch.testing.assert_close(gradients, 3 * rows[:, None] * points**2)
    assert not costs.requires_grad
    assert not gradients.requires_grad


def test_problems_that_are_not_finite_or_get_no_better_leave_the_batch():
    active = Active(4, CPU, patience=2, gain=0.1)
    flat = torch.zeros(4, 3)
    bad = flat.clone()
    bad[3, 1] = torch.inf
    finite, better = active.judge(torch.tensor([8.0, 8.0, torch.nan, 8.0]), bad)
    assert finite.tolist() == better.tolist() == [True, True, False, False]
    assert active.rows.tolist() == [0, 1]
    active.judge(torch.tensor([4.0, 8.0]), flat[:2])  # the first mark is set after two steps
    active.judge(torch.tensor([3.0, 7.9]), flat[:2])
    assert active.rows.tolist() == [0, 1]
    active.judge(torch.tensor([2.0, 7.5]), flat[:2])  # 4 -> 2; 8 -> 7.5 is less than a tenth
    assert active.rows.tolist() == [0]
    assert active.codes.tolist() == [RUNNING, CONVERGED, DIVERGED, DIVERGED]
    assert active.steps.tolist() == [4, 4, 1, 1]
    other = Active(4, CPU, patience=2, gain=0.1)
    other.load(active.state())
    assert other.rows.tolist() == [0]


def test_without_patience_nothing_converges():
    active = Active(2, CPU)
    for _ in range(5):
        active.judge(torch.ones(2), torch.zeros(2, 1))
    assert active.rows.tolist() == [0, 1]


def test_a_coarse_precision_is_checked_again_later_and_made_finer_never_coarser(monkeypatch):
    points, rows = problems(2)
    answers = iter(["tf32", "bf16", "float32", "bf16"])  # the start, then what each later check would choose
    monkeypatch.setattr(precision, "choose", lambda *_a: precision.Choice(next(answers)))
    passes = Passes(CPU, 2)
    passes._recheck = 2  # after evaluations 2, 4, 8, …
    modes = []
    for _ in range(9):
        passes.evaluate(cubes, points, rows)
        modes.append(passes.choice.mode)
    assert modes == ["tf32"] * 4 + ["float32"] * 5
    assert next(answers) == "bf16"  # float32 is final: nothing was checked after 8

"""The batched optimisers against known minima and against torch's own."""

import pytest
import torch
from torch import Tensor

from core.attacks.lbfgs import LineSearchLbfgs, PaperLbfgs

DIAGONALS = torch.tensor([[1.0, 10.0, 100.0], [1.0, 1.0, 1.0], [0.1, 3.0, 7.0]], dtype=torch.float64)


def _quadratic(points: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """½ Σ d x², whose minimum is 0 at 0; its gradient is d x."""
    d = DIAGONALS[rows]
    return 0.5 * (d * points.square()).sum(1), d * points


def _rosenbrock(points: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """(1 − x)² + 100 (y − x²)², whose minimum is 0 at (1, 1)."""
    x = points.detach().requires_grad_(True)
    value = (1 - x[:, 0]).square() + 100 * (x[:, 1] - x[:, 0].square()).square()
    return value.detach(), torch.autograd.grad(value.sum(), x)[0]


ROSENBROCK_STARTS = torch.tensor([[-1.2, 1.0], [0.0, 0.0], [2.0, -1.0]], dtype=torch.float64)


def test_a_quadratic_of_three_dimensions_is_solved_to_rounding() -> None:
    start = torch.ones(3, 3, dtype=torch.float64)
    solver = LineSearchLbfgs(_quadratic, start, history=5)
    rows = torch.arange(3)
    for _ in range(40):
        before = solver.value.clone()
        solver.step(rows)
        assert bool((solver.value <= before).all())
    assert float(solver.value.max()) < 1e-20


def test_rosenbrock_is_solved_from_every_start() -> None:
    solver = LineSearchLbfgs(_rosenbrock, ROSENBROCK_STARTS, history=10)
    for _ in range(120):
        solver.step(torch.arange(3))
    assert torch.allclose(solver.point, torch.ones(3, 2, dtype=torch.float64), atol=1e-8)


def test_a_problem_does_not_feel_its_neighbours() -> None:
    together = LineSearchLbfgs(_rosenbrock, ROSENBROCK_STARTS, history=10)
    alone = LineSearchLbfgs(_rosenbrock, ROSENBROCK_STARTS[1:2], history=10)
    for step in range(30):
        together.step(torch.tensor([0, 1, 2]) if step < 10 else torch.tensor([1, 2]))  # one retires: compaction
        alone.step(torch.tensor([0]))
    assert torch.equal(together.point[1], alone.point[0])


def test_an_infinite_wall_is_stepped_back_from() -> None:
    def wall(points: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:  # −log x + x: minimum 1 at x = 1
        return torch.where(points > 0, points - points.log(), torch.nan).sum(1), 1 - 1 / points

    solver = LineSearchLbfgs(wall, torch.tensor([[0.2], [30.0]], dtype=torch.float64), history=4)
    for _ in range(60):
        solver.step(torch.arange(2))
    assert torch.allclose(solver.point, torch.ones(2, 1, dtype=torch.float64), atol=1e-6)


def test_steps_end_when_nothing_is_lower() -> None:
    start = torch.zeros(1, 3, dtype=torch.float64)  # the minimum itself
    solver = LineSearchLbfgs(_quadratic, start, history=3)
    assert solver.step(torch.tensor([0])).tolist() == [True]


@pytest.mark.parametrize("outer", [1, 3])
def test_the_papers_form_is_torchs_own_for_each_problem(outer: int) -> None:
    scaled = 0.05  # so that steps without a line search stay bounded

    def evaluate(points: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        value, gradient = _rosenbrock(points, rows)
        return scaled * value, scaled * gradient

    ours = PaperLbfgs(evaluate, ROSENBROCK_STARTS, history=100, lr=0.5, outer=outer, evaluations=6)
    rows = torch.arange(3)
    while len(rows):
        rows = rows[~ours.step(rows)]
    for row, start in enumerate(ROSENBROCK_STARTS):
        x = start.clone().requires_grad_(True)
        theirs = torch.optim.LBFGS([x], lr=0.5, max_iter=6, max_eval=1000, history_size=100)

        def closure(x: Tensor = x) -> Tensor:
            value, gradient = evaluate(x.detach()[None], torch.zeros(1, dtype=torch.int64))
            x.grad = gradient[0]
            return value[0]

        for _ in range(outer):
            theirs.step(closure)
        # torch stops an outer step's last iteration before its evaluation, at the same point as ours
        assert torch.allclose(ours.point[row], x.detach(), rtol=1e-9, atol=1e-12)

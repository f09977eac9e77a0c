"""The loops behind DLG and iDLG: minimise the squared gradient difference by L-BFGS, all problems together."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from core.attacks import engine
from core.attacks.base import Progress, Reconstructions
from core.attacks.basis import SmoothBasis
from core.attacks.costs import squared_l2
from core.attacks.lbfgs import LineSearchLbfgs, PaperLbfgs
from core.attacks.searches import DONE, REASONS, PaperSearch, Search
from core.leakage.observation import Observation

if TYPE_CHECKING:
    from core.attacks.dlg import PaperSearchConfig, SearchConfig


@dataclass
class Unknowns:
    """What is searched for each problem: the images' coefficients in `basis` (or their pixels), flattened, and after
    them label logits unless labels are known. Images lie in [0, 1]."""

    problems: engine.Problems
    labels: Tensor | None  # (N, B) when known
    scale: Tensor  # (N,), the matching term is divided by it
    basis: SmoothBasis | None = None
    classes: int = field(init=False)

    def __post_init__(self) -> None:
        """Cache what every evaluation needs."""
        self.classes = self.problems.observation.spec.num_classes

    @property
    def pixels(self) -> int:
        """Numbers that belong to the images of one problem."""
        return int(np.prod(self.problems.image_shape))

    @property
    def size(self) -> int:
        """Numbers of one problem."""
        return self.pixels + (0 if self.labels is not None else self.problems.image_shape[0] * self.classes)

    def images(self, points: Tensor) -> Tensor:
        """(Q, size) -> (Q, B, C, H, W) on the [0, 1] scale."""
        images = points[:, : self.pixels].reshape(-1, *self.problems.image_shape)
        return images if self.basis is None else self.basis.to_images(images)

    def coefficients(self, images: Tensor) -> Tensor:
        """(Q, pixels) on the [0, 1] scale -> (Q, pixels) unknowns."""
        if self.basis is None:
            return images
        return self.basis.to_coefficients(images.reshape(-1, *self.problems.image_shape)).flatten(1)

    def probabilities(self, points: Tensor, rows: Tensor) -> Tensor:
        """(Q, size) -> (Q, B, K)."""
        if self.labels is not None:
            return engine.one_hot(self.labels[self.problems.owner[rows]], self.classes, points)
        return self._logits(points).softmax(-1)

    def _logits(self, points: Tensor) -> Tensor:
        return points[:, self.pixels :].reshape(len(points), -1, self.classes)

    def evaluate(self, points: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Loss (Q,) and its gradient (Q, size)."""
        return self.problems.evaluate(self.objective, points, rows, fixed=True)

    def objective(self, points: Tensor, rows: Tensor) -> Tensor:
        """(Q,): squared gradient difference of problems `rows`, divided by their scale."""
        images = self.problems.normalised(self.images(points))
        cost = self.problems.matching(squared_l2, images, self.probabilities(points, rows), rows)
        return cost / self.scale[self.problems.owner[rows]]

    def found_labels(self, points: Tensor) -> Tensor:
        """(P, size) -> (P, B) int64."""
        if self.labels is not None:
            return self.labels[self.problems.owner]
        return self._logits(points).argmax(-1)


def match(
    name: str,
    observation: Observation,
    config: SearchConfig,
    *,
    seed: int,
    progress: Progress | None,
    targets: Sequence[int] | None,
    labels: Tensor | None = None,
) -> Reconstructions:
    """The practical form: line search, restarts tried together and the best carried on, end by the own loss.

    labels (N, B): recovered ones, if the attack does so; else the config decides between granted and optimised.
    """
    if labels is None and getattr(config, "labels", "") == "observation":
        labels = observation.labels
    squares = torch.stack([g.flatten(1).square().sum(1) for g in observation.gradients.values()]).sum(0)
    run = _Run(name, observation, config, seed, progress, targets, labels, squares.clamp_min(1e-30))
    if config.smooth:
        run.unknowns.basis = SmoothBasis(*run.problems.image_shape[2:], config.smooth, squares)
    start = run.start(config.start, config.spread, config.centre)
    if config.matching == 0:
        return run.prior_alone(start)
    solver = LineSearchLbfgs(run.unknowns.evaluate, start, config.history)
    return run.drive(Search(solver, config, config.restarts), config.iterations)


def match_as_paper(
    name: str,
    observation: Observation,
    config: PaperSearchConfig,
    *,
    seed: int,
    progress: Progress | None,
    targets: Sequence[int] | None,
    labels: Tensor | None = None,
    tolerance: float = 0.0,
) -> Reconstructions:
    """The paper's form: every restart runs its outer steps; one whose loss falls below `tolerance` stops."""
    run = _Run(name, observation, config, seed, progress, targets, labels, observation_ones(observation))
    start = run.start(config.start, 1.0, 0.0)
    if config.matching == 0:
        return run.prior_alone(start)
    solver = PaperLbfgs(
        run.unknowns.evaluate,
        start,
        history=config.history,
        lr=config.lr,
        outer=config.steps,
        evaluations=config.evaluations,
    )
    return run.drive(PaperSearch(solver, tolerance), config.steps * config.evaluations)


def observation_ones(observation: Observation) -> Tensor:
    """The paper's loss is not divided by anything."""
    return next(iter(observation.gradients.values())).new_ones(observation.count)


class _Run:
    """What both forms share: unknowns, start, reports and the result."""

    def __init__(
        self,
        name: str,
        observation: Observation,
        config: Any,
        seed: int,
        progress: Progress | None,
        targets: Sequence[int] | None,
        labels: Tensor | None,
        scale: Tensor,
    ) -> None:
        self.began = time.monotonic()
        self.seed, self.targets = seed, engine.global_targets(observation, targets)
        # a loss is driven to 1e-6 and below here: coarser products would end it early
        self.problems = engine.set_up(observation, config.restarts, precision="float32")
        self.unknowns = Unknowns(self.problems, labels, scale)
        identity = engine.identity(name, observation, config, seed, self.targets)
        self.reporter = engine.Reporter(progress, name, identity)

    def start(self, kind: str, spread: float, centre: float) -> Tensor:
        """(P, size): the image's noise is scaled and shifted, the label's logits are N(0, 1) as in the paper."""
        pixels, size = self.unknowns.pixels, self.unknowns.size
        like = next(iter(self.problems.observation.gradients.values()))
        restarts = self.problems.restarts
        noise = engine.draw(kind, self.seed, self.targets, restarts, pixels).to(like)
        noise = self.unknowns.coefficients(noise * spread + centre)
        if size == pixels:
            return noise
        logits = engine.draw("normal", self.seed + 2**32, self.targets, restarts, size - pixels).to(like)
        return torch.cat([noise, logits], dim=1)

    def prior_alone(self, start: Tensor) -> Reconstructions:
        """These attacks have no prior: without the matching term the start is all there is."""
        zeros = start.new_zeros(len(start))
        codes = torch.full((len(start),), DONE, device=start.device)
        return self.finish(start, zeros, codes, codes.new_zeros(len(start)))

    def drive(self, search: Search | PaperSearch, total: int) -> Reconstructions:
        """Iterate until nothing runs any more or `total` iterations are done."""
        solver = search.solver
        tick = search.load(self.reporter.resume())
        self.reporter.check_cancelled()
        while tick < total and len(rows := search.rows(tick)):
            search.step(rows)
            tick += 1
            losses = solver.value.reshape(-1, self.problems.restarts)
            self.reporter.after(tick, total, losses, partial(self._frame, solver.point, losses), search.state)
        return self.finish(*search.outcome(), search.codes, search.iterations)

    def _frame(self, points: Tensor, losses: Tensor) -> np.ndarray:
        images = self.unknowns.images(points).reshape(*losses.shape, *self.problems.image_shape)
        best = losses.nan_to_num(float("inf")).argmin(1)
        return engine.to_pixels(images[torch.arange(len(best), device=best.device), best])

    def finish(self, points: Tensor, values: Tensor, codes: Tensor, iterations: Tensor) -> Reconstructions:
        """The result, with the best restart of each update by the loss alone."""
        shape = (len(self.targets), self.problems.restarts)
        losses = values.double().cpu().numpy().reshape(shape)
        chosen = np.where(np.isfinite(losses), losses, np.inf).argmin(1)
        ends = codes.cpu().numpy().reshape(shape)
        picked = [(int(ends[n, r]), float(losses[n, r])) for n, r in enumerate(chosen)]
        return Reconstructions(
            images=engine.to_pixels(self.unknowns.images(points)).reshape(*shape, *self._pixel_shape()),
            losses=losses,
            chosen=chosen,
            labels=self.unknowns.found_labels(points).cpu().numpy().reshape(*shape, -1),
            iterations=iterations.cpu().numpy().reshape(shape),
            status=tuple(REASONS[code].format(loss=loss) for code, loss in picked),
            seconds=time.monotonic() - self.began,
            record=engine.record_of(
                self.problems,
                labels="known" if self.unknowns.labels is not None else "optimised",
                **self.reporter.record,
            ),
        )

    def _pixel_shape(self) -> tuple[int, ...]:
        batch, channels, height, width = self.problems.image_shape
        return (batch, height, width, channels)

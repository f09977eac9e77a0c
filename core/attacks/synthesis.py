"""The loop of the attacks that hold the model alone; what a step is, each search says (MI-Face, DeepInversion).

There is no update, so no weight gradient is needed: one forward and one backward pass over P·B pictures is a step.
"""

from __future__ import annotations

import math
import platform
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from core.attacks import engine
from core.attacks.base import Progress, Reconstructions
from core.attacks.deep_inversion import DENIED
from core.attacks.passes import Passes
from core.errors import UserError
from core.leakage.observation import Observation
from core.models.build import build_model

AT_ONCE = {"cpu": 64, "cuda": 4096}  # most pictures a pass; on a GPU free memory, which is measured, decides below
NOT_FINITE = "diverged: loss is not finite"
BATCHNORM = nn.modules.batchnorm._BatchNorm


@dataclass(frozen=True)
class Bench:
    """The model in eval mode and the P = N·R problems: owner (P,) names the target, labels (P, B) the classes."""

    observation: Observation
    restarts: int
    model: nn.Module
    statistics: tuple[nn.Module, ...]  # BatchNorm layers that keep running statistics
    owner: Tensor
    labels: Tensor
    passes: Passes

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(B, C, H, W)."""
        spec = self.observation.spec
        return (self.observation.batch_size, spec.channels, spec.height, spec.width)

    def scale(self) -> tuple[Tensor, Tensor]:
        """Mean and std of each channel, (C, 1, 1)."""
        spec, weight = self.observation.spec, next(self.model.parameters())
        mean, std = (weight.new_tensor(values)[:, None, None] for values in (spec.mean, spec.std))
        return mean, std

    def normalised(self, images: Tensor) -> Tensor:
        """From [0, 1] to what the model takes."""
        mean, std = self.scale()
        return (images - mean) / std

    def confidence(self, images: Tensor) -> Tensor:
        """(P, B, C, H, W) in [0, 1] -> (P, B): how sure the model is of the class asked for."""
        with torch.no_grad():
            parts = [self.model(self.normalised(part)) for part in torch.split(images.flatten(0, 1), AT_ONCE["cpu"])]
        chosen = torch.cat(parts).softmax(1).gather(1, self.labels.reshape(-1, 1))
        return chosen.reshape(self.labels.shape)


def set_up(observation: Observation, restarts: int, *, precision: str = "auto", steps: int = 0, together: int) -> Bench:
    """Rebuild the model from the observation; raise UserError when what it grants is not enough.

    together: pictures of one problem as `Passes` sees them.
    """
    if observation.labels is None:
        raise UserError("An attack on the model alone needs the classes that it is to make pictures of; name them.")
    model = build_model(observation.spec, observation.weights).to(observation.device).eval().requires_grad_(False)
    layers = tuple(layer for layer in model.modules() if isinstance(layer, BATCHNORM))
    if layers and not observation.running_statistics:
        raise UserError(DENIED)
    kept = tuple(layer for layer in layers if layer.running_mean is not None)
    owner = torch.arange(observation.count, device=observation.device).repeat_interleave(restarts)
    ceiling = AT_ONCE.get(observation.device.type, AT_ONCE["cpu"]) // together
    passes = Passes(observation.device, ceiling, precision, steps)
    return Bench(observation, restarts, model, kept, owner, observation.labels[owner], passes)


def synthesise(
    name: str,
    search_of: Callable[[Observation, Any, int], Search],
    observation: Observation,
    config: Any,
    *,
    seed: int,
    progress: Progress | None,
    targets: Sequence[int] | None,
) -> Reconstructions:
    """Search for all problems at once, as `search_of(observation, config, seed)` does it."""
    began = time.monotonic()
    search = search_of(observation, config, seed)
    positions = engine.global_targets(observation, targets)
    noise = engine.draw("normal", seed, positions, config.restarts, math.prod(search.shape))
    search.begin(noise.reshape(-1, *search.shape).to(next(search.bench.model.parameters())))
    reporter = engine.Reporter(progress, name, engine.identity(name, observation, config, seed, positions))
    found, step = reporter.resume(), 0
    if found is not None:
        step, state = found
        search.load(state)
    reporter.check_cancelled()
    while step < config.steps and search.going():
        search.step(step)
        step += 1
        losses = search.losses.reshape(-1, config.restarts)
        reporter.after(step, config.steps, losses, partial(_frame, search, losses), search.state)
    return _finish(search, began, reporter.record)


class Search(ABC):
    """What one attack of this kind does with its P problems; subclasses keep their tensors in `_OWN`."""

    _OWN: tuple[str, ...] = ()
    bench: Bench
    losses: Tensor  # (P,), of the last step

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(M, C, H, W): the pictures that are made for each problem, at least the B that are handed back."""
        return self.bench.shape

    @abstractmethod
    def begin(self, noise: Tensor) -> None:
        """Place the pictures; noise (P, M, C, H, W) is N(0, 1)."""

    @abstractmethod
    def going(self) -> bool:
        """False when no problem is worth another step."""

    @abstractmethod
    def step(self, done: int) -> None:
        """One step for every problem that still goes on; `done` steps were made before."""

    @abstractmethod
    def unit_images(self) -> Tensor:
        """(P, B, C, H, W) on the [0, 1] scale: what would be handed back now."""

    @abstractmethod
    def judged(self, images: Tensor) -> Tensor:
        """(P,), the attack's own objective at images (P, B, C, H, W) in [0, 1]."""

    @abstractmethod
    def steps_made(self) -> Tensor:
        """(P,) int64."""

    @abstractmethod
    def status(self, problem: int, confidence: float) -> str:
        """How it ended; confidence: the least over the problem's pictures as they are stored."""

    def state(self) -> dict[str, Tensor]:
        """All that is needed to go on."""
        return {name: getattr(self, name) for name in self._OWN}

    def load(self, state: dict[str, Tensor]) -> None:
        """Take over what `state` gave."""
        for name in self._OWN:
            setattr(self, name, state[name].to(self.bench.observation.device))


def _frame(search: Search, losses: Tensor) -> np.ndarray:
    """(N, B, H, W, C) uint8, the best restart of each target."""
    best = losses.nan_to_num(torch.inf).argmin(1)
    images = search.unit_images().reshape(*losses.shape, *search.bench.shape)
    return engine.to_pixels(images[torch.arange(len(best), device=best.device), best])


def _finish(search: Search, began: float, resumed: Mapping[str, str]) -> Reconstructions:
    """Losses are of the pictures as they are stored, rounded to 8 bits."""
    bench = search.bench
    images = engine.to_pixels(search.unit_images())
    stored = torch.from_numpy(images).movedim(-1, -3).to(next(bench.model.parameters())) / 255
    shape = (bench.observation.count, bench.restarts)
    losses = search.judged(stored).double().cpu().numpy().reshape(shape)
    least = bench.confidence(stored).amin(1).reshape(shape)
    chosen = np.where(np.isfinite(losses), losses, np.inf).argmin(1)
    return Reconstructions(
        images=images.reshape(*shape, *images.shape[1:]),
        losses=losses,
        chosen=chosen,
        labels=bench.labels.cpu().numpy().reshape(*shape, -1),
        iterations=search.steps_made().cpu().numpy().reshape(shape),
        status=tuple(search.status(n * bench.restarts + int(r), float(least[n, r])) for n, r in enumerate(chosen)),
        seconds=time.monotonic() - began,
        record={
            "gradients": "of the pictures alone",
            **bench.passes.record(),
            "device": str(bench.observation.device),
            "torch": torch.__version__,
            "python": platform.python_version(),
            "threads": torch.get_num_threads(),
            "labels": "asked for",
            **resumed,
        },
    )

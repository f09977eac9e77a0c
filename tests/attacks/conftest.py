"""Small observations that the attack tests share."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from core.leakage.observation import Observation
from core.leakage.threat import ThreatModel
from core.leakage.victim import observe
from core.models.build import build_model
from core.models.spec import ModelSpec

LENET = ModelSpec("lenet", 4, height=8, width=8)
CONVNET = ModelSpec(
    "convnet", 4, height=32, width=32, arguments={"base": 4}, mean=(0.4, 0.5, 0.6), std=(0.3, 0.2, 0.25)
)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def make() -> Callable[..., tuple[Observation, np.ndarray, torch.Tensor]]:
    """make(spec, updates, threat) -> observation, originals (N, B, H, W, C) uint8, labels (N, B)."""

    def build(
        spec: ModelSpec = LENET, updates: int = 2, threat: ThreatModel | None = None
    ) -> tuple[Observation, np.ndarray, torch.Tensor]:
        threat = threat or ThreatModel()
        source = np.random.default_rng(7)
        shape = (updates, threat.batch_size, spec.channels, spec.height, spec.width)
        ramp = np.linspace(0, 1, spec.width) * source.random((*shape[:3], spec.height, 1))  # smooth along rows
        pixels = torch.from_numpy((ramp * 255).round().astype(np.uint8))
        labels = torch.from_numpy(source.integers(0, spec.num_classes, shape[:2]))
        observation, _ = observe(build_model(spec), spec, pixels.float() / 255, labels, threat)
        return observation, pixels.movedim(2, -1).numpy(), labels

    return build


class Listener:
    """A Progress that keeps what it hears, asks for a checkpoint each `every` calls and stops after `stop`."""

    def __init__(self, resume: bytes | None = None, every: int = 0, stop: int | None = None) -> None:
        self._resume, self.every, self.stop = resume, every, stop
        self.steps: list[tuple[int, int, torch.Tensor]] = []
        self.frames: list[tuple[int, np.ndarray]] = []
        self.checkpoints: list[tuple[int, bytes]] = []

    def resume(self) -> bytes | None:
        return self._resume

    def cancelled(self) -> bool:
        return self.stop is not None and len(self.steps) >= self.stop

    def step(self, done: int, total: int, losses: torch.Tensor) -> None:
        self.steps.append((done, total, losses.clone()))

    def preview_due(self, done: int, total: int) -> bool:
        return done % 5 == 0

    def preview(self, done: int, images: np.ndarray) -> None:
        self.frames.append((done, images))

    def checkpoint_due(self) -> bool:
        return bool(self.every) and len(self.steps) % self.every == 0

    def checkpoint(self, done: int, state: bytes) -> None:
        self.checkpoints.append((done, state))

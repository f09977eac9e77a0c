"""What the tests of the training share: small data, small models, and a progress that can cut and resume."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from torch import Tensor

from core.models.spec import ModelSpec
from core.models.training.loop import fit
from core.models.training.progress import EpochRow, Trained, TrainingCancelled
from core.models.training.recipe import Recipe
from core.models.training.state import pack, unpack

LENET = ModelSpec("lenet", 4, height=8, width=8, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))
NORMED = ModelSpec("resnet20-4", 4, height=8, width=8, arguments={"base": 4})  # with BatchNorm
GROUPED = replace(NORMED, architecture="resnet20-4-gn")
PLAIN = Recipe(epochs=2, batch_size=8, augment="none", learning_rate=0.05, schedule="constant")
KEY = 2**127 + 11  # DP-SGD's secret
COUNT = 22  # no multiple of the batch: the last one of an epoch is smaller


def data(count: int = COUNT, size: int = 8, channels: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Random images (count, size, size, channels) and labels of 4 classes."""
    draw = np.random.default_rng(7)
    return draw.integers(0, 256, (count, size, size, channels), dtype=np.uint8), draw.integers(0, 4, count)


def train(spec: ModelSpec, recipe: Recipe, progress: "Told | None" = None, held: int = 5, key: int = KEY) -> Trained:
    """Train on the random images; the first `held` are looked at too."""
    images, labels = data(channels=spec.channels)
    return fit(spec, images, labels, images[:held], labels[:held], recipe, progress=progress, key=key)


class Told:
    """Keeps all that it is told; cancels after step `cut`, goes on from `start`."""

    def __init__(self, cut: int | None = None, start: bytes | None = None, every: int = 0) -> None:
        self.cut, self.start, self.every = cut, start, every
        self.done = self.looks = 0
        self.losses: list[float | None] = []
        self.rows: list[EpochRow] = []
        self.weights: dict[int, Mapping[str, Tensor]] = {}
        self.saved: dict[int, bytes] = {}

    def resume(self) -> bytes | None:
        return self.start

    def cancelled(self) -> bool:
        return self.done == self.cut

    def step(self, done: int, total: int, loss: float | None) -> None:
        self.done = done
        self.losses.append(loss)

    def looking(self) -> None:
        self.looks += 1

    def epoch(self, row: EpochRow) -> None:
        self.rows.append(row)

    def kept(self, row: EpochRow, weights: Mapping[str, Tensor]) -> None:
        self.weights[row.epoch] = weights

    def checkpoint_due(self) -> bool:
        return bool(self.every) and self.done % self.every == 0

    def checkpoint(self, done: int, state: bytes) -> None:
        self.saved[done] = state


def checkpoint_at(spec: ModelSpec, recipe: Recipe, step: int) -> bytes:
    """A training cancelled after this step: what it saved."""
    told = Told(cut=step)
    try:
        train(spec, recipe, told)
    except TrainingCancelled:
        return told.saved[step]
    raise AssertionError("The training was not cancelled.")


def as_if_from(device: str, checkpoint: bytes) -> bytes:
    """The checkpoint as another kind of device would have written it."""
    header, tensors = unpack(checkpoint)
    return pack({**header, "device": device}, tensors)


def untimed(row: EpochRow) -> EpochRow:
    """A row without the one figure that the clock decides."""
    return replace(row, images_per_second=0.0)

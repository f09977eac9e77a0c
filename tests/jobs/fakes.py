"""An attack that takes its time and misbehaves on demand, to test the runner without real computing.

Tests of this folder know it by a fixture; Dask workers and the runner by importing tests/jobs/register_fakes.py.
"""

from __future__ import annotations

import io
import os
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.attacks.base import Attack, AttackCancelled, Progress, Reconstructions
from core.knobs import knob

RELEASED = threading.Event()  # ends the threads that "hang" when their test is over: Python joins them at its exit


@dataclass(frozen=True)
class FakeConfig:
    """steps: how many. pause: seconds a step. evil: "", crash, hang, error, memory; at step `at`.

    evil happens each time, or only while the file `once` does not exist yet.
    """

    steps: int = knob(20, "")
    pause: float = knob(0.0, "")
    restarts: int = knob(2, "")
    matching: float = knob(1.0, "")
    evil: str = knob("", "")
    at: int = knob(10, "")
    most: int = knob(1000, "")  # memory holds this many updates
    once: str = knob("", "")


def reconstruct(
    observation: object,
    config: FakeConfig,
    *,
    seed: int,
    progress: Progress | None = None,
    targets: Sequence[int] | None = None,
) -> Reconstructions:
    """Walk from seeded noise towards a picture of the gradient: chaotic enough that a lost step changes the bytes."""
    import torch

    spec, size, count = observation.spec, observation.batch_size, observation.count
    targets = range(count) if targets is None else targets
    if count > config.most:
        raise torch.OutOfMemoryError("out of memory (pretended)")
    gradient = torch.cat([g.reshape(count, -1) for g in observation.gradients.values()], dim=1).double().numpy()
    shape = (config.restarts, size, spec.height, spec.width, spec.channels)
    state = np.stack([np.random.default_rng((seed, t)).random(shape) for t in targets])
    wanted = 0.5 + 0.5 * np.sin(np.stack([np.resize(row * 1e3, shape) for row in gradient]))
    start = 0
    if progress is not None and (saved := progress.resume()) is not None:
        with np.load(io.BytesIO(saved)) as file:
            state, start = file["state"], int(file["done"])
    for done in range(start + 1, config.steps + 1):
        if progress is not None and progress.cancelled():
            raise AttackCancelled
        misbehave(config, done)
        time.sleep(config.pause)
        state = 3.7 * state * (1 - state) if done % 2 else 0.5 * (state + config.matching * wanted + 1e-3)
        state = np.clip(state, 0.0, 1.0)
        losses = ((state - wanted) ** 2).reshape(count, config.restarts, -1).mean(axis=2)
        if progress is not None:
            report(progress, config, done, state, losses)
    return Reconstructions(
        images=(state * 255).astype(np.uint8),
        losses=losses,
        chosen=losses.argmin(axis=1),
        labels=np.zeros((count, config.restarts, size), np.int64),
        iterations=np.full((count, config.restarts), config.steps),
        status=("ok",) * count,
        seconds=0.0,
        record={"engine": "fake"},
    )


def report(progress: Progress, config: FakeConfig, done: int, state: np.ndarray, losses: np.ndarray) -> None:
    import torch

    progress.step(done, config.steps, torch.from_numpy(losses))
    if progress.preview_due(done, config.steps):
        progress.preview(done, (state[:, 0] * 255).astype(np.uint8))
    if progress.checkpoint_due():
        buffer = io.BytesIO()
        np.savez(buffer, state=state, done=done)
        progress.checkpoint(done, buffer.getvalue())


def misbehave(config: FakeConfig, done: int) -> None:
    if not config.evil or done != config.at:
        return
    if config.once:
        marker = Path(config.once)
        if marker.exists():
            return
        marker.touch()
    if config.evil == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    if config.evil == "hang":
        RELEASED.wait(10_000)
    if config.evil == "error":
        raise RuntimeError("the sum of it all is not finite")


FAKE = Attack(
    name="fake",
    title="Fake",
    summary="It walks. It never attacks.",
    source="none",
    config=FakeConfig(),
    reconstruct=reconstruct,
)

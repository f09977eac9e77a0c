"""What a training tells its runner, and how often, by a clock that the test turns."""

from types import SimpleNamespace

import pytest

from core.jobs import compute_train
from core.jobs.compute_train import CHECKPOINT_SHARE, WRITING, WorkerTraining
from core.jobs.events import Event
from core.jobs.progress import BEAT_SECONDS


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(compute_train, "time", SimpleNamespace(monotonic=lambda: self.now))


def progress(emit, seconds: float = 20.0) -> WorkerTraining:
    return WorkerTraining(
        emit, lambda: False, counts={}, checkpoint=None, checkpoint_number=0, checkpoint_seconds=seconds
    )


def waits(talk: WorkerTraining, clock: Clock) -> int:
    """Whole seconds until a checkpoint is due."""
    start = clock.now
    while not talk.checkpoint_due():
        clock.now += 1
    return int(clock.now - start)


def test_a_checkpoint_that_takes_long_is_made_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    costs = iter((3.0, 0.5))

    def emit(_event: Event) -> None:
        clock.now += next(costs)

    talk = progress(emit)
    assert waits(talk, clock) == 20
    talk.checkpoint(1, b"state")
    assert waits(talk, clock) == 60  # 3 s of 60
    talk.checkpoint(2, b"state")
    assert waits(talk, clock) == 20  # half a second would allow every 10 s, but less than was asked for is not done


def test_a_large_checkpoint_is_made_less_often_though_another_process_writes_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch)
    talk = progress(lambda event: None)
    state = bytes(int(2 * WRITING))
    talk.checkpoint(1, state)
    assert waits(talk, clock) == round(2 / CHECKPOINT_SHARE) == 40


def test_looking_at_held_out_images_gives_signs_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, told = Clock(monkeypatch), []
    talk = progress(told.append)
    talk.step(50, 100, 1.0)
    told.clear()
    for _ in range(10):
        clock.now += BEAT_SECONDS / 2
        talk.looking()
    assert [(event.kind, event.values) for event in told] == [
        ("progress", {"step": 50, "total": 100, "curve": False})
    ] * 5

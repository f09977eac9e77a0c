"""Where shards run: in this process, or on Dask workers. Bytes go in, events come out."""

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from core.jobs.events import LAST, Event, failed
from core.jobs.shards import run_shard
from core.settings import Settings

Message = tuple[int, Event]


class Executor(Protocol):
    """Runs shards, each under a key of the caller's, and hands their events over in order.

    Every submitted shard ends with one event of events.LAST, whatever happens to its worker, except one that hangs:
    the caller, who sees the silence, then calls `abandon`.
    """

    @property
    def slots(self) -> int:
        """How many shards run at once."""

    def submit(self, key: int, data: bytes) -> None:
        """Queue a shard; returns at once."""

    def cancel(self, key: int) -> None:
        """Raise the flag that the shard's loop reads; it then ends with `failed` (cancelled)."""

    def abandon(self, key: int) -> None:
        """Forget a shard that hangs, and its worker; it ends with `failed` (lost)."""

    def poll(self, seconds: float) -> list[Message]:
        """Events since the last call; waits up to `seconds` for one."""

    def close(self) -> None:
        """Stop everything."""


class InlineExecutor:
    """One shard at a time in a thread of this process: for tests and small machines."""

    slots = 1

    def __init__(self) -> None:
        self._messages: queue.Queue[tuple[int, threading.Event, Event]] = queue.Queue()
        self._flags: dict[int, threading.Event] = {}
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="shard")

    def submit(self, key: int, data: bytes) -> None:
        """Queue a shard behind those that run."""
        flag = self._flags[key] = threading.Event()
        self._pool.submit(self._work, key, flag, data)

    def cancel(self, key: int) -> None:
        """Set the shard's flag."""
        if key in self._flags:
            self._flags[key].set()

    def abandon(self, key: int) -> None:
        """Leave the hung thread behind and go on with another."""
        flag = self._flags.get(key)
        if flag is not None:
            flag.set()
            self._pool.shutdown(wait=False)
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="shard")
            self._messages.put((key, flag, failed("lost", "it gave no sign of life")))

    def poll(self, seconds: float) -> list[Message]:
        """Events so far, or the first that comes within `seconds`."""
        found: list[Message] = []
        deadline = time.monotonic() + seconds
        while True:
            try:
                wait = 0.0 if found else max(0.0, deadline - time.monotonic())
                key, flag, event = self._messages.get(timeout=wait) if wait else self._messages.get_nowait()
            except queue.Empty:
                return found
            if self._flags.get(key) is not flag:
                continue  # said by a shard that was abandoned
            if event.kind in LAST:
                del self._flags[key]
            found.append((key, event))

    def close(self) -> None:
        """Raise every flag and wait for the shard that runs."""
        for flag in self._flags.values():
            flag.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _work(self, key: int, flag: threading.Event, data: bytes) -> None:
        try:
            run_shard(data, lambda event: self._messages.put((key, flag, event)), flag.is_set)
        except BaseException as error:
            self._messages.put((key, flag, failed("error", f"{type(error).__name__}: {error}")))
            raise


def make_executor(settings: Settings) -> Executor:
    """The executor that the settings ask for; starts its workers."""
    makers: dict[str, Callable[[], Executor]] = {"inline": InlineExecutor, "dask": lambda: _dask(settings)}
    return makers[settings.executor]()


def _dask(settings: Settings) -> Executor:
    from core.jobs.dask_executor import DaskExecutor  # a second to import

    return DaskExecutor(settings)

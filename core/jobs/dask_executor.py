"""Shards on Dask workers: a cluster of our own on this machine, or the one that SEMSIGHT_SCHEDULER names.

Measured here (2 cores): a worker starts in 0.8 s, a cancel flag is seen after 16 ms, a killed worker is noticed
after 15 ms. Cancelling a future leaves its function running, so the function reads a flag.
"""

# mypy: disable-error-code="no-untyped-call"
# distributed is typed in part only.

import os
import time
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import dask
from distributed import Client, Future, KilledWorker, Nanny, Queue, Scheduler, SpecCluster, get_client, get_worker
from distributed import Event as Flag
from distributed.system import MEMORY_LIMIT

from core.errors import UserError
from core.jobs.devices import visible_gpus
from core.jobs.events import LAST, Event, failed
from core.jobs.executors import Message
from core.jobs.launch import environment_of
from core.jobs.shards import run_shard
from core.settings import Settings

LOOK_SECONDS = 0.4  # between two looks at the cancel flag, each a round trip to the scheduler of some ms
MEMORY_SHARE = 0.8  # of the machine's memory for all workers; the rest is for the app, the runner and the system
CONFIG = {
    "distributed.worker.multiprocessing-method": "spawn",  # CUDA does not survive a fork
    "distributed.scheduler.allowed-failures": 0,  # we count attempts ourselves, and go on from a checkpoint
    "distributed.admin.large-graph-warning-threshold": "1TB",  # a shard carries its weights on purpose
    "distributed.worker.daemon": True,  # a worker ends with its runner
    # an idle worker and its scheduler took 4 % of a core each, most of it by looking at themselves 50 times a second
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.tick.limit": "60s",
    "distributed.admin.system-monitor.interval": "10s",
    "distributed.worker.memory.monitor-interval": "500ms",
}


class DaskExecutor:
    """core.jobs.executors.Executor on Dask."""

    def __init__(self, settings: Settings) -> None:
        dask.config.set(CONFIG)
        self._cluster = None if settings.scheduler else local_cluster(settings)
        try:
            self._client = Client(settings.scheduler or self._cluster, set_as_default=False, timeout=30)
        except OSError as error:
            raise UserError(
                f"No Dask scheduler answers at {settings.scheduler}; start it, or unset SEMSIGHT_SCHEDULER."
            ) from error
        self._topic = f"semsight-{uuid4().hex}"
        self._queue = Queue(self._topic, client=self._client)
        self._running: dict[str, tuple[int, Future[None]]] = {}
        for future in self._client.map(_warm, range(self.slots), pure=False):
            future.add_done_callback(lambda _done: None)  # torch is imported while nobody waits for it

    @property
    def slots(self) -> int:
        """One shard for each worker."""
        return max(1, len(self._client.scheduler_info(n_workers=-1)["workers"]))

    def submit(self, key: int, data: bytes) -> None:
        """Hand the shard to the scheduler."""
        token = uuid4().hex
        future = self._client.submit(_work, self._topic, token, data, key=f"shard-{key}-{token}", pure=False)
        self._running[token] = (key, future)

    def cancel(self, key: int) -> None:
        """Set the shard's flag on the scheduler."""
        for token, (other, _future) in self._running.items():
            if other == key:
                Flag(token, client=self._client).set()

    def abandon(self, key: int) -> None:
        """Forget the shard and have the nanny kill the worker that runs it; `poll` then tells that it is lost."""
        for other, future in list(self._running.values()):
            if other == key:
                busy = [worker for worker, keys in self._client.processing().items() if future.key in keys]
                future.cancel()
                self._client.restart_workers(busy, timeout=30, raise_for_error=False)

    def poll(self, seconds: float) -> list[Message]:
        """Events so far; waits in steps, because an empty queue answers at once."""
        deadline = time.monotonic() + seconds
        while True:
            ended = [token for token, (_key, future) in self._running.items() if future.done()]
            found = [m for token, data in self._queue.get(batch=True) if (m := self._message(token, data))]
            found += [m for token in ended if (m := self._without_a_word(token))]
            left = deadline - time.monotonic()
            if found or left <= 0:
                return found
            time.sleep(min(0.1, left))

    def close(self) -> None:
        """Stop our workers; on a cluster of others, raise every flag."""
        for token in self._running:
            Flag(token, client=self._client).set()
        self._client.close()
        if self._cluster is not None:
            self._cluster.close()

    def _message(self, token: str, data: bytes) -> Message | None:
        if token not in self._running:
            return None  # said by a shard that was abandoned
        key, _future = self._running[token]
        event = Event.from_bytes(data)
        if event.kind in LAST:
            self._forget(token)
        return key, event

    def _without_a_word(self, token: str) -> Message | None:
        """A future that is over although its shard never said so: its worker died, or it could not be sent."""
        if token not in self._running:
            return None
        key, future = self._running[token]
        self._forget(token)
        error = future.exception() if future.status == "error" else None
        if error is None or isinstance(error, KilledWorker):
            return key, failed("lost", "its worker process hung, died, or was killed for memory")
        return key, failed("error", f"{type(error).__name__}: {error}"[:1000])

    def _forget(self, token: str) -> None:
        del self._running[token]
        Flag(token, client=self._client).clear()


def local_cluster(settings: Settings) -> SpecCluster:
    """The workers of `worker_specs` on this machine, and bound to it."""
    options = {"host": "127.0.0.1", "port": 0, "dashboard": False, "dashboard_address": "127.0.0.1:0"}
    scheduler = {"cls": Scheduler, "options": options}
    workers = worker_specs(settings, visible_gpus(settings.device, os.environ))
    return SpecCluster(workers=workers, scheduler=scheduler, silence_logs=30)


def worker_specs(settings: Settings, gpus: Sequence[str]) -> dict[int, dict[str, Any]]:
    """One process for each GPU, pinned to it before torch is imported, or one that computes with all threads."""
    common = {
        "nthreads": 1,  # one shard at a time; torch uses the threads that the shard names
        "memory_limit": int(MEMORY_SHARE * MEMORY_LIMIT / max(1, len(gpus))),
        "host": "127.0.0.1",
        "dashboard": False,
        "dashboard_address": "127.0.0.1:0",  # its own page is off, but it serves a health check; never on a known port
        "local_directory": str(settings.home / "dask"),
        "silence_logs": 30,
    }
    pins: list[dict[str, str]] = [{"CUDA_VISIBLE_DEVICES": gpu} for gpu in gpus] or [{}]
    base = {name: value for name, value in environment_of(settings).items() if name.startswith("SEMSIGHT_")}
    return {place: {"cls": Nanny, "options": {**common, "env": {**base, **pin}}} for place, pin in enumerate(pins)}


def _warm(_place: int) -> None:
    import torch

    torch.zeros(1)


def _work(topic: str, token: str, data: bytes) -> None:
    """On the worker: run the shard, send its events, and stop when asked or when nobody waits any more."""
    client, worker = get_client(), get_worker()
    messages = Queue(topic, client=client)
    stop = _StopSign(Flag(token, client=client), worker, str(worker.get_current_task()))
    run_shard(data, lambda event: messages.put([token, event.to_bytes()]), stop)


class _StopSign:
    """The shard's cancel flag, looked at now and then; also up when the scheduler has dropped the task."""

    def __init__(self, flag: Flag, worker: Any, key: str) -> None:
        self._flag, self._worker, self._key = flag, worker, key
        self._looked, self._up = 0.0, False

    def __call__(self) -> bool:
        task = self._worker.state.tasks.get(self._key)
        if task is None or task.state not in ("executing", "long-running"):
            self._up = True  # its runner is gone: nobody waits for the result
        elif time.monotonic() - self._looked >= LOOK_SECONDS:
            self._looked = time.monotonic()
            self._up = self._up or bool(self._flag.is_set())
        return self._up

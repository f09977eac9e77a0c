"""What a kind of job is to the runner: how it is cut, what a shard carries, and what is written of its events."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row

from core.jobs.events import Event
from core.jobs.payloads import Payload
from core.jobs.plan import ShardPlan
from core.jobs.results import ShardRow
from core.jobs.sources import Beat, still
from core.storage.store import Store

Later = Callable[[Connection], object]  # what is written in the transaction of a round


@dataclass(frozen=True)
class Task:
    """A claimed job, as the functions of its kind see it."""

    store: Store
    job_id: int
    title: str
    payload: Payload
    beat: Beat = still  # called between pictures; raises Interrupted

    def device(self) -> str:
        """The device that a shard is told, from the job's own and the settings'."""
        settings, asked = self.store.settings, getattr(self.payload, "device", "auto")
        device = settings.device if asked == "auto" else asked
        # a Dask worker sees only the GPU that it is pinned to, which is its first
        return "cuda" if settings.executor == "dask" and device.startswith("cuda") else device

    def checkpoint(self, row: Row[Any]) -> bytes | None:
        """The newest checkpoint of a shard's row, if its file is still there."""
        sha, artifacts = row.checkpoint_sha, self.store.artifacts
        return artifacts.read_bytes(sha) if sha and artifacts.exists(sha) else None


def nothing(_task: Task, _connection: Connection) -> None:
    """What most kinds do once they are done."""


@dataclass(frozen=True)
class Kind:
    """One kind of job.

    plan        cuts the job into shards; UserError when it cannot be run, Interrupted when it had better wait
    shard_bytes a shard for the way to the worker; the row is the shard's, with its checkpoint
    writes      what is to be written of an event; files are written here and now, failures and checkpoints are not its
    after       in the transaction that ends the job as done
    advice      what may help a shard whose worker died again and again
    """

    plan: Callable[[Task], list[ShardPlan]]
    shard_bytes: Callable[[Task, ShardPlan, Row[Any]], bytes]
    writes: Callable[[Task, ShardRow, Event], list[Later]]
    after: Callable[[Task, Connection], object] = nothing
    advice: str = "try another device"

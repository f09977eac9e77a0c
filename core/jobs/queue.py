"""What pages and commands ask of the runner: rows only, and no torch."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from sqlalchemy import Connection, and_, func, insert, select, update

from core.errors import UserError
from core.jobs.payloads import Payload, identity, to_json
from core.jobs.plan import check_payload
from core.jobs.sources import keep_unaugmented
from core.models.spec import ModelSpec, spec_identity
from core.storage.database import bump, insert_once
from core.storage.schema import job_dependencies, jobs, models, originals, shards
from core.storage.store import Store

ENDED = ("done", "failed", "cancelled")
Wanted = Literal["run", "pause", "cancel"]


@dataclass(frozen=True)
class Submitted:
    """The job that answers a request; `already` when it was asked before and is done or on its way."""

    job_id: int
    already: bool
    state: str


@dataclass(frozen=True)
class JobRow:
    """One job as a page lists it. step and total count over all its shards."""

    id: int
    kind: str
    title: str
    state: str
    wanted: str
    attempt: int
    error: str | None
    parent_id: int | None
    created: float
    started: float | None
    finished: float | None
    step: int
    total: int
    shards: int
    shards_done: int


class PreparedImage(Protocol):
    """What `store_originals` needs of an image (core.images.load.Prepared is one).

    original: uint8 (H, W, C), the very pixels given to the victim. source: uint8, before resize and crop.
    """

    @property
    def name(self) -> str: ...
    @property
    def original(self) -> np.ndarray: ...
    @property
    def source(self) -> np.ndarray: ...
    @property
    def label(self) -> int: ...
    @property
    def label_source(self) -> str: ...
    @property
    def class_name(self) -> str: ...


def submit(
    store: Store,
    payload: Payload,
    title: str,
    *,
    parent: int | None = None,
    depends_on: Sequence[int] = (),
    anew: bool = False,
) -> Submitted:
    """Store a job and return at once; the same question that is done or alive is offered instead unless `anew`.

    Raises UserError for a payload that no runner could run.
    """
    check_payload(payload)
    with store.database.write() as connection:
        return submit_within(connection, payload, title, parent=parent, depends_on=depends_on, anew=anew)


def submit_within(
    connection: Connection,
    payload: Payload,
    title: str,
    *,
    parent: int | None = None,
    depends_on: Sequence[int] = (),
    anew: bool = False,
) -> Submitted:
    """`submit` as a part of the caller's write transaction, unchecked."""
    name = identity(payload)
    if not anew:
        alive = and_(jobs.c.identity == name, jobs.c.state.in_(("queued", "running", "paused", "done")))
        found = connection.execute(select(jobs.c.id, jobs.c.state).where(alive).order_by(jobs.c.id.desc())).first()
        if found is not None:
            return Submitted(found.id, True, found.state)
    values = {
        "kind": payload.kind,
        "title": title[:300],
        "payload_type": payload.type_tag,
        "payload_version": payload.version,
        "payload": to_json(payload),
        "identity": name,
        "parent_id": parent,
        "state": "queued",
        "wanted": "run",
        "attempt": 0,
        "created": time.time(),
    }
    job_id = int(connection.execute(insert(jobs).values(**values).returning(jobs.c.id)).scalar_one())
    insert_once(connection, job_dependencies, [{"job_id": job_id, "depends_on": other} for other in depends_on])
    bump(connection, "jobs")
    return Submitted(job_id, False, "queued")


def set_wanted(store: Store, job_id: int, wanted: Wanted) -> None:
    """Ask that a job runs on, pauses or is cancelled; the runner obeys within moments.

    Raises UserError for a job that does not exist or has ended.
    """
    if wanted not in ("run", "pause", "cancel"):
        raise UserError(f"A job can be asked to run, pause or cancel, not {str(wanted)[:40]!r}.")
    with store.database.write() as connection:
        row = connection.execute(select(jobs.c.state).where(jobs.c.id == job_id)).first()
        if row is None:
            raise UserError(f"There is no job {job_id}; pick one from the history of runs.")
        if row.state in ENDED:
            raise UserError(f"Job {job_id} is {row.state} already; start it anew instead.")
        values: dict[str, object] = {"wanted": wanted}
        if row.state in ("queued", "paused"):  # no runner holds it: the answer is ours to write
            values["state"] = {"run": "queued", "pause": "paused", "cancel": "cancelled"}[wanted]
            if wanted == "cancel":
                values["finished"] = time.time()
        connection.execute(update(jobs).where(jobs.c.id == job_id).values(**values))
        bump(connection, "jobs")


def store_originals(
    store: Store, dataset: str, prepared: Sequence[PreparedImage], augmented_for: ModelSpec | None = None
) -> list[int]:
    """Keep images to be attacked; the same image of the same data set is kept once. Returns their ids, in order.

    augmented_for: the model, where a defence may have changed the images: the runner will want their sources at its
    size, and here they are in memory.
    """
    rows: list[dict[str, Any]] = [
        {
            "dataset": dataset[:200],
            "name": image.name[:400],
            "image_sha": store.artifacts.put_png(image.original),
            "source_sha": store.artifacts.put_png(image.source),
            "label": int(image.label),
            "label_source": image.label_source,
            "class_name": image.class_name[:200] or None,
            "created": time.time(),
        }
        for image in prepared
    ]
    if augmented_for is not None:
        for row, image in zip(rows, prepared, strict=True):
            keep_unaugmented(store, row["source_sha"], image.source, augmented_for)
    key = ("dataset", "name", "image_sha", "label")
    ids = []
    with store.database.write() as connection:
        insert_once(connection, originals, rows)
        for row in rows:
            same = and_(*(originals.c[name] == row[name] for name in key))
            ids.append(int(connection.execute(select(originals.c.id).where(same)).scalar_one()))
    return ids


def original_hashes(store: Store, ids: Sequence[int]) -> tuple[str, ...]:
    """The pixels' hashes of originals, in order, as AttackJob names them; UserError for an unknown id."""
    with store.database.read() as connection:
        rows = connection.execute(select(originals.c.id, originals.c.image_sha).where(originals.c.id.in_(ids))).all()
    known = {row.id: row.image_sha for row in rows}
    missing = [number for number in ids if number not in known]
    if missing:
        raise UserError(f"There is no original {missing[0]}; choose the images again.")
    return tuple(known[number] for number in ids)


def store_model(store: Store, spec: ModelSpec, name: str, weights: bytes | None = None) -> int:
    """Keep a model and its safetensors weights, which must be those that the spec names; returns its id."""
    sha = store.artifacts.put_bytes(weights, ".safetensors") if weights is not None else None
    if (sha or "") != spec.weights_sha256:
        raise ValueError(f"The spec names the weights {spec.weights_sha256[:12]!r}, but {(sha or '')[:12]!r} came.")
    text = spec.to_json()
    row = {
        "name": name[:200],
        "spec": text,
        "identity": spec_identity(spec),
        "weights_sha": sha,
        "origin": spec.origin[:200],
        "created": time.time(),
    }
    with store.database.write() as connection:
        insert_once(connection, models, [row])
        same = models.c.identity == row["identity"]
        return int(connection.execute(select(models.c.id).where(same)).scalar_one())


def jobs_table(store: Store, *, limit: int = 200, job_id: int | None = None) -> list[JobRow]:
    """The newest jobs first, with the progress of their shards."""
    live = shards.c.state != "split"
    sums = (
        select(
            shards.c.job_id,
            func.sum(shards.c.step).label("step"),
            func.sum(shards.c.total).label("total"),
            func.count().label("shards"),
            func.count().filter(shards.c.state == "done").label("shards_done"),
        )
        .where(live)
        .group_by(shards.c.job_id)
        .subquery()
    )
    names = (
        "id",
        "kind",
        "title",
        "state",
        "wanted",
        "attempt",
        "error",
        "parent_id",
        "created",
        "started",
        "finished",
    )
    counts = [func.coalesce(sums.c[name], 0).label(name) for name in ("step", "total", "shards", "shards_done")]
    query = select(*(jobs.c[name] for name in names), *counts).outerjoin(sums, sums.c.job_id == jobs.c.id)
    if job_id is not None:
        query = query.where(jobs.c.id == job_id)
    with store.database.read() as connection:
        rows = connection.execute(query.order_by(jobs.c.id.desc()).limit(limit)).mappings().all()
    return [JobRow(**{**row, "step": int(row["step"]), "total": int(row["total"])}) for row in rows]

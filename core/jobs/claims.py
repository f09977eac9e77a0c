"""Who works on which job: leases, heartbeats and states. Each function runs inside the caller's write."""

import hashlib
import socket
import time
from uuid import uuid4

from sqlalchemy import Connection, Row, and_, case, or_, select, update
from sqlalchemy.sql.elements import ColumnElement

from core.jobs.queue import ENDED
from core.settings import Settings
from core.storage.database import bump
from core.storage.schema import job_dependencies, jobs, shards


def owner_name(settings: Settings) -> str:
    """host:home:runner. A home has one runner at a time, so another owner of our host and home is dead."""
    home = hashlib.sha256(str(settings.home).encode()).hexdigest()[:16]
    return f"{socket.gethostname()[:40]}:{home}:{uuid4().hex}"


def claim(connection: Connection, owner: str, lease_seconds: float) -> Row[tuple[object, ...]] | None:
    """Take the next job that may run: scores before attacks, what is scored in the background last, then the oldest.

    None when there is none.

    A running job is taken over when its lease is over, or when its owner was an earlier runner of this home.
    """
    now = time.time()
    place = owner.rpartition(":")[0]
    ours = jobs.c.lease_owner.startswith(f"{place}:", autoescape=True) & (jobs.c.lease_owner != owner)
    free = _free()
    orphan = and_(jobs.c.state == "running", or_(jobs.c.lease_until < now, jobs.c.lease_owner.is_(None), ours))
    work = jobs.c.kind != "campaign"  # a campaign is advanced between jobs (core.jobs.runner) and computes nothing
    order = (case((jobs.c.kind == "score", 0), (jobs.c.kind == "rescore", 2), else_=1), jobs.c.id)
    row = connection.execute(select(jobs).where(work, or_(free, orphan)).order_by(*order).limit(1)).first()
    if row is None:
        return None
    connection.execute(
        update(jobs)
        .where(jobs.c.id == row.id)
        .values(
            state="running",
            lease_owner=owner,
            lease_until=now + lease_seconds,
            attempt=row.attempt + 1,
            started=row.started or now,
            error=None,
        )
    )
    bump(connection, "jobs")
    return row


def somebody_waits(connection: Connection) -> bool:
    """Whether a job that a person asked for could run now: one in the background lets it pass."""
    fresh = and_(jobs.c.kind == "campaign", jobs.c.state == "queued")  # the runner is to bring it on its way
    asked = select(jobs.c.id).where(or_(and_(_free(), jobs.c.kind != "rescore"), fresh)).limit(1)
    return connection.execute(asked).first() is not None


def _free() -> ColumnElement[bool]:
    """Queued jobs that wait for nothing but a runner. A campaign is none: its trainings and attacks are."""
    predecessors = jobs.alias("predecessors")
    waits = (
        select(job_dependencies.c.job_id)
        .join(predecessors, predecessors.c.id == job_dependencies.c.depends_on)
        .where(job_dependencies.c.job_id == jobs.c.id, predecessors.c.state != "done")
        .exists()
    )
    return and_(jobs.c.state == "queued", jobs.c.wanted == "run", jobs.c.kind != "campaign", ~waits)


def heartbeat(connection: Connection, job_id: int, owner: str, lease_seconds: float) -> bool:
    """Prolong the lease; False when the job is no longer ours."""
    mine = and_(jobs.c.id == job_id, jobs.c.lease_owner == owner, jobs.c.state == "running")
    lease = update(jobs).where(mine).values(lease_until=time.time() + lease_seconds)
    return len(connection.execute(lease.returning(jobs.c.id)).all()) == 1


def let_go(connection: Connection, job_id: int, owner: str, state: str, error: str | None = None) -> bool:
    """End our hold on a job in `state`; False when it was not ours any more."""
    mine = and_(jobs.c.id == job_id, jobs.c.lease_owner == owner, jobs.c.state == "running")
    values: dict[str, object] = {"state": state, "error": error, "lease_owner": None, "lease_until": None}
    if state in ENDED:
        values["finished"] = time.time()
    changed = connection.execute(update(jobs).where(mine).values(**values).returning(jobs.c.id)).all()
    bump(connection, "jobs")
    return len(changed) == 1


def fail_orphans_of_failure(connection: Connection) -> None:
    """A job whose predecessor failed or was cancelled can never run: say so."""
    predecessors = jobs.alias("predecessors")
    doomed = (
        select(jobs.c.id)
        .join(job_dependencies, job_dependencies.c.job_id == jobs.c.id)
        .join(predecessors, predecessors.c.id == job_dependencies.c.depends_on)
        .where(jobs.c.state == "queued", predecessors.c.state.in_(("failed", "cancelled")))
    )
    ids = [row.id for row in connection.execute(doomed)]
    if ids:
        sentence = "The job that it depends on did not finish; start that one anew."
        values = {"state": "failed", "error": sentence, "finished": time.time()}
        connection.execute(update(jobs).where(jobs.c.id.in_(ids)).values(**values))
        bump(connection, "jobs")


def forget_checkpoints(connection: Connection) -> list[str]:
    """Let go of checkpoints that nobody will resume: of jobs that ended, and of shards that were split.

    Returns the shas that no shard names any more; removing their files is the caller's.
    """
    ended = select(jobs.c.id).where(jobs.c.state.in_(ENDED))
    over = or_(shards.c.job_id.in_(ended), shards.c.state.in_(("done", "failed", "split")))
    useless = and_(shards.c.checkpoint_sha.is_not(None), over)
    found = set(connection.execute(select(shards.c.checkpoint_sha).where(useless)).scalars())
    if not found:
        return []
    connection.execute(update(shards).where(useless).values(checkpoint_sha=None))
    named = select(shards.c.checkpoint_sha).where(shards.c.checkpoint_sha.is_not(None))
    return sorted(found - set(connection.execute(named).scalars()))

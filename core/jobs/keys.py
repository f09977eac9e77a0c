"""Keys of private trainings: a file a job, made when its training begins and deleted when it has ended. No torch.

Not in the job's row, which pages read and which decides whether two jobs ask the same: the key is no part of the
question.
"""

import hashlib
from pathlib import Path

from sqlalchemy import select

from core.jobs.payloads import TrainJob
from core.jobs.queue import ENDED
from core.models.training.secret import kept_key
from core.storage.schema import jobs
from core.storage.store import Store

FOLDER = "keys"  # in the home
SUFFIX = ".key"


def training_key(store: Store, job_id: int, payload: TrainJob) -> int | None:
    """The job's key, the same at every attempt; None for a training that is not private."""
    if payload.recipe.get("defence") != "dp-sgd":
        return None
    return kept_key(key_file(store, job_id))


def forget_keys(store: Store) -> int:
    """Delete the keys of trainings that have ended, and of none: nobody resumes those. Returns how many."""
    files = list((store.settings.home / FOLDER).glob(f"{_database(store)}-*{SUFFIX}"))
    if not files:
        return 0
    with store.database.read() as connection:
        alive = set(connection.execute(select(jobs.c.id).where(jobs.c.state.not_in(ENDED))).scalars())
    kept = {key_file(store, job_id) for job_id in alive}
    useless = [file for file in files if file not in kept]
    for file in useless:
        file.unlink(missing_ok=True)
    return len(useless)


def key_file(store: Store, job_id: int) -> Path:
    """Where a job's key lies, if it has one now."""
    return store.settings.home / FOLDER / f"{_database(store)}-{job_id}{SUFFIX}"


def _database(store: Store) -> str:
    """A home may have been used with several databases, each of which counts its jobs from 1."""
    return hashlib.sha256(store.database.url.render_as_string().encode()).hexdigest()[:12]

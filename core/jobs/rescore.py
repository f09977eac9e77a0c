"""Scoring a run again: after a failure, or once weights that were missing have come. Rows only, and no torch."""

from sqlalchemy import select

from core.errors import UserError
from core.jobs.payloads import ScoreJob
from core.jobs.queue import ENDED, Submitted, submit_within
from core.storage.schema import jobs, reconstructions
from core.storage.store import Store


def rescore(store: Store, run_id: int) -> Submitted:
    """Queue another score job of an attack job; what has a value keeps it, and a mere reason gives way to a value.

    Raises UserError when there is no such run, it has not ended, it has nothing to score, or it is being scored.
    """
    mine = reconstructions.c.job_id == run_id
    scoring = (jobs.c.kind == "score", jobs.c.parent_id == run_id, jobs.c.state.not_in(ENDED))
    with store.database.write() as connection:
        run = connection.execute(select(jobs).where(jobs.c.id == run_id, jobs.c.kind == "attack")).first()
        if run is None:
            raise UserError(f"There is no run {run_id}; pick one from the history of runs.")
        if run.state not in ENDED:
            raise UserError(f"Run {run_id} is {run.state}; it can be scored again once it has ended.")
        if connection.execute(select(reconstructions.c.id).where(mine).limit(1)).first() is None:
            raise UserError(f"Run {run_id} stored no reconstruction, so there is nothing to score; start it anew.")
        if (alive := connection.execute(select(jobs.c.state).where(*scoring).limit(1)).first()) is not None:
            raise UserError(f"The scores of run {run_id} are {alive.state} already; wait until they are done.")
        title = f"Scores of {run.title}"
        return submit_within(connection, ScoreJob(attack_job=run_id), title, parent=run_id, anew=True)

"""Where each setting of a campaign is, as the runner and the pages read it: one query, however many settings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select

from core.storage.schema import campaign_settings, jobs
from core.storage.store import Store

FAILED = ("failed", "cancelled")
LIVE = ("queued", "running", "paused")


@dataclass(frozen=True)
class SettingState:
    """One setting with the states of its jobs; None where there is no such job."""

    id: int
    position: int
    title: str
    parts: dict[str, Any]  # names within the plan: data, victim, recipe, epoch, threat, attack
    error: str | None  # why it has no run
    train_job: int | None
    train_state: str | None
    train_error: str | None
    attack_job: int | None
    attack_state: str | None
    attack_error: str | None
    score_job: int | None  # the newest that a run's end, or a person, asked for
    score_state: str | None
    score_error: str | None

    @property
    def over(self) -> bool:
        """Nothing of it is left to do."""
        if self.error is not None or self.attack_state in FAILED:
            return True
        return self.attack_state == "done" and self.score_state not in LIVE

    @property
    def failed(self) -> bool:
        """Over without scores."""
        return self.over and (self.attack_state != "done" or self.score_state in FAILED)

    @property
    def busy(self) -> bool:
        """A training or an attack of it is in the queue or at work."""
        going = ("queued", "running")
        training = self.attack_job is None and self.error is None and self.train_state in going
        return training or self.attack_state in going

    @property
    def state(self) -> str:
        """waiting, training, attacking, scoring, paused, done or failed."""
        if self.over:
            return "failed" if self.failed else "done"
        for state, word in ((self.score_state, "scoring"), (self.attack_state, "attacking")):
            if state is not None:
                return "paused" if state == "paused" else word
        if self.train_state in ("queued", "running", "paused"):
            return "paused" if self.train_state == "paused" else "training"
        return "waiting"

    @property
    def paused_job(self) -> int | None:
        """The job that waits for somebody to resume it."""
        if self.state != "paused":
            return None
        stages = ((self.score_state, self.score_job), (self.attack_state, self.attack_job))
        return next((job for state, job in stages if state == "paused"), self.train_job)

    @property
    def why(self) -> str | None:
        """The sentence of what failed, or of what paused it."""
        if self.paused_job is not None:
            said = {
                self.train_job: self.train_error,
                self.attack_job: self.attack_error,
                self.score_job: self.score_error,
            }
            return f"Paused: {said[self.paused_job] or f'job {self.paused_job} waits to be resumed.'}"
        if not self.failed:
            return None
        if self.error is not None:
            return self.error
        if self.attack_state in FAILED:
            return self.attack_error or f"Its run {self.attack_job} was {self.attack_state}."
        return f"Its scoring did not finish: {self.score_error or self.score_state}"


def halted(states: Sequence[SettingState]) -> SettingState | None:
    """The first paused setting, where all that is left of a campaign is paused; None where anything goes on."""
    left = [state for state in states if not state.over]
    return left[0] if left and all(state.state == "paused" for state in left) else None


def setting_states(store: Store, campaign_id: int) -> list[SettingState]:
    """All settings of a campaign, in order."""
    training, attack, score, newest = (jobs.alias(name) for name in ("training", "attack", "score", "newest"))
    last = (
        select(func.max(newest.c.id))
        .where(newest.c.parent_id == attack.c.id, newest.c.kind == "score")
        .correlate(attack)
        .scalar_subquery()
    )
    one = campaign_settings
    statement = (
        select(
            *(one.c.id, one.c.position, one.c.title, one.c.parts, one.c.error),
            *(one.c.train_job_id, training.c.state, training.c.error),
            *(one.c.attack_job_id, attack.c.state, attack.c.error),
            *(score.c.id, score.c.state, score.c.error),
        )
        .outerjoin(training, training.c.id == one.c.train_job_id)
        .outerjoin(attack, attack.c.id == one.c.attack_job_id)
        .outerjoin(score, score.c.id == last)
        .where(one.c.campaign_id == campaign_id)
        .order_by(one.c.position)
    )
    with store.database.read() as connection:
        rows: list[list[Any]] = [list(row) for row in connection.execute(statement)]
    return [SettingState(*[*row[:3], json.loads(row[3]), *row[4:]]) for row in rows]

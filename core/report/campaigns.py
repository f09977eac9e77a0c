"""What pages and the command line read about campaigns: how far each is, setting by setting. Rows only, no torch."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, case, func, select

from core.campaigns.parse import parse
from core.campaigns.plan import Campaign
from core.errors import UserError
from core.storage import schema
from core.storage.campaigns import SettingState, setting_states
from core.storage.store import Store

jobs, shards, settings = schema.jobs, schema.shards, schema.campaign_settings
ACTIVE = ("queued", "running", "paused")


@dataclass(frozen=True)
class CampaignRow:
    """One campaign as a list shows it. asked: settings with a run in the queue or further."""

    id: int
    title: str
    state: str
    wanted: str
    error: str | None
    created: float
    started: float | None
    finished: float | None
    settings: int
    asked: int
    ended: int  # settings whose attack has ended, or that have none for a reason

    @property
    def live(self) -> bool:
        """Whether anything of it may still change."""
        return self.state in ACTIVE


@dataclass(frozen=True)
class SettingRow:
    """One setting while it is watched. share: of its work that is done, 0 to 1, each stage counting the same."""

    position: int
    title: str
    parts: dict[str, Any]
    state: str  # waiting, training, attacking, scoring, paused, done, failed
    share: float
    training: int | None  # job
    run: int | None  # job
    why: str | None  # the sentence of what failed, or paused it


@dataclass(frozen=True)
class CampaignView:
    """A campaign and all of its settings. left: seconds to its end at its own pace; None while there is none."""

    row: CampaignRow
    settings: tuple[SettingRow, ...]
    left: float | None

    @property
    def share(self) -> float:
        """Mean share of its settings."""
        return sum(one.share for one in self.settings) / max(1, len(self.settings))

    @property
    def counts(self) -> dict[str, int]:
        """Settings in each state that any is in."""
        found: dict[str, int] = {}
        for one in self.settings:
            found[one.state] = found.get(one.state, 0) + 1
        return found


def campaigns(store: Store, *, limit: int = 100) -> list[CampaignRow]:
    """The newest campaigns first; one query."""
    with store.database.read() as connection:
        return _rows(connection, limit=limit)


def campaign(store: Store, campaign_id: int) -> CampaignView:
    """One campaign with its settings; a fixed number of queries. Raises UserError for an unknown one."""
    with store.database.read() as connection:
        rows = _rows(connection, campaign_id=campaign_id)
        if not rows:
            raise UserError(f"There is no campaign {campaign_id} in this store; choose one from the list.")
    states = setting_states(store, campaign_id)
    with store.database.read() as connection:
        shares = _shares(connection, campaign_id)
        paces = _seconds(connection, campaign_id)
    found = tuple(_setting(state, shares) for state in states)
    return CampaignView(rows[0], found, _left(found, shares, paces) if rows[0].live else None)


def plan_of(store: Store, campaign_id: int) -> Campaign:
    """What was launched. Raises UserError for an unknown campaign, or one that this version cannot read."""
    with store.database.read() as connection:
        wanted = select(jobs.c.payload).where(jobs.c.id == campaign_id, jobs.c.kind == "campaign")
        text = connection.execute(wanted).scalar()
    if text is None:
        raise UserError(f"There is no campaign {campaign_id} in this store; choose one from the list.")
    return parse(json.loads(text)["plan"])


def _rows(connection: Connection, *, campaign_id: int | None = None, limit: int = 1) -> list[CampaignRow]:
    attack = jobs.alias("attack")
    over = case((settings.c.error.is_not(None), 1), (attack.c.state.in_(("done", "failed", "cancelled")), 1))
    names = ("id", "title", "state", "wanted", "error", "created", "started", "finished")
    statement = (
        select(
            *(jobs.c[name] for name in names),
            func.count(settings.c.id),
            func.count(settings.c.attack_job_id),
            func.count(over),
        )
        .outerjoin(settings, settings.c.campaign_id == jobs.c.id)
        .outerjoin(attack, attack.c.id == settings.c.attack_job_id)
        .where(jobs.c.kind == "campaign")
        .group_by(jobs.c.id)
        .order_by(jobs.c.id.desc())
        .limit(limit)
    )
    if campaign_id is not None:
        statement = statement.where(jobs.c.id == campaign_id)
    return [CampaignRow(*row) for row in connection.execute(statement)]


def _its_jobs(campaign_id: int) -> Any:
    """Ids of the trainings and attacks of a campaign."""
    mine = settings.c.campaign_id == campaign_id
    return (
        select(settings.c.train_job_id)
        .where(mine, settings.c.train_job_id.is_not(None))
        .union(select(settings.c.attack_job_id).where(mine, settings.c.attack_job_id.is_not(None)))
    )


def _shares(connection: Connection, campaign_id: int) -> dict[int, float]:
    """Share of the planned steps done of each job that runs, 0 to 1."""
    statement = (
        select(shards.c.job_id, func.sum(shards.c.step), func.sum(shards.c.total))
        .join(jobs, jobs.c.id == shards.c.job_id)
        .where(shards.c.job_id.in_(_its_jobs(campaign_id)), shards.c.state != "split", jobs.c.state != "done")
        .group_by(shards.c.job_id)
    )
    return {row[0]: min(1.0, float(row[1] or 0) / row[2]) for row in connection.execute(statement) if row[2]}


def _seconds(connection: Connection, campaign_id: int) -> dict[str, float]:
    """Mean seconds of a finished training, attack and scoring of the campaign."""
    took = func.avg(jobs.c.finished - jobs.c.started)
    done = (jobs.c.state == "done", jobs.c.started.is_not(None))
    own = select(jobs.c.kind, took).where(jobs.c.id.in_(_its_jobs(campaign_id)), *done).group_by(jobs.c.kind)
    scored = select(took).where(jobs.c.parent_id.in_(_its_jobs(campaign_id)), jobs.c.kind == "score", *done)
    found = {kind: float(mean) for kind, mean in connection.execute(own) if mean is not None}
    scoring = connection.execute(scored).scalar()
    return {**found, **({"score": float(scoring)} if scoring is not None else {})}


def _setting(state: SettingState, shares: dict[int, float]) -> SettingRow:
    stages = (("train", state.train_job, state.train_state),) if _trains(state) else ()
    done = 0.0
    for _, job, reached in (*stages, ("attack", state.attack_job, state.attack_state)):
        done += 1.0 if reached == "done" else shares.get(job or 0, 0.0)
    share = 1.0 if state.over else done / (len(stages) + 2)
    return SettingRow(
        state.position, state.title, state.parts, state.state, share, state.train_job, state.attack_job, state.why
    )


def _trains(state: SettingState) -> bool:
    """Whether a training stands before its attack; not known to be none before the attack is asked for."""
    return bool(state.parts.get("recipe")) and (state.train_job is not None or state.attack_job is None)


def _left(found: Sequence[SettingRow], shares: dict[int, float], paces: dict[str, float]) -> float | None:
    """What is left of trainings, attacks and scorings, each at the mean time of those that are done."""
    trainings: dict[object, float] = {}
    attacks = scorings = 0.0
    for one in found:
        if one.state in ("done", "failed"):
            continue
        key = one.training or (one.parts.get("data"), one.parts.get("victim"), one.parts.get("recipe"))
        if one.parts.get("recipe") and one.run is None:
            trainings[key] = 1.0 - shares.get(one.training or 0, 0.0)
        attacks += 0.0 if one.state == "scoring" else 1.0 - shares.get(one.run or 0, 0.0)
        scorings += 1.0
    if (trainings and "train" not in paces) or (attacks and "attack" not in paces) or "score" not in paces:
        return None
    return (
        sum(trainings.values()) * paces.get("train", 0) + attacks * paces.get("attack", 0) + scorings * paces["score"]
    )


def elapsed(row: CampaignRow) -> float | None:
    """Seconds since it began, up to its end."""
    return None if row.started is None else (row.finished or time.time()) - row.started

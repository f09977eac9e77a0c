"""Campaigns as jobs: a stored grid of settings that is launched, paused, resumed and cancelled as one. No torch.

The job of kind campaign is never claimed: it stands for its settings, whose trainings and attacks are jobs of their
own. `core.jobs.campaign_work` asks for those as their turn comes.
"""

import json
import time
from itertools import islice
from typing import Any

from sqlalchemy import Connection, and_, insert, or_, select, update

from core.campaigns.grid import count, settings_of
from core.campaigns.parse import to_tables
from core.campaigns.plan import ASK_ABOVE, Campaign, Setting
from core.campaigns.size import check_room, size_of
from core.errors import UserError
from core.jobs.payloads import SCORING, CampaignJob
from core.jobs.queue import ENDED, Submitted, Wanted, submit_within
from core.storage.campaigns import LIVE
from core.storage.database import bump
from core.storage.schema import campaign_settings, jobs
from core.storage.store import Store

ROWS_AT_ONCE = 10_000  # settings that are held in memory while they are stored


def submit_campaign(store: Store, campaign: Campaign, *, confirm: bool = False, anew: bool = False) -> Submitted:
    """Store a campaign and its settings, all or nothing, and return at once.

    The same campaign that is done or on its way is offered instead, unless `anew`: then it is gone through again, and
    what failed is tried again; what is done is not computed twice. confirm: a grid above ASK_ABOVE settings is meant.
    Raises UserError for a grid that is too large, and for settings that cannot run.
    """
    from core.jobs.campaign_requests import check_campaign

    number = count(campaign)
    if number > ASK_ABOVE and not confirm:
        raise UserError(
            f"This campaign has {number:,} settings, each a run of its own; confirm that you mean it, or leave "
            "some of it out."
        )
    found = check_campaign(store, campaign)
    check_room(size_of(campaign, found), store.settings.home)
    payload = CampaignJob(plan=to_tables(campaign), device=campaign.device)
    with store.database.write() as connection:
        submitted = submit_within(connection, payload, campaign.name, anew=anew)
        if not submitted.already:
            settings = settings_of(campaign)
            while some := list(islice(settings, ROWS_AT_ONCE)):
                connection.execute(insert(campaign_settings), [_row(submitted.job_id, one) for one in some])
    return submitted


def _row(campaign_id: int, setting: Setting) -> dict[str, Any]:
    parts = json.dumps(setting.parts, sort_keys=True)
    return {"campaign_id": campaign_id, "position": setting.position, "title": setting.title, "parts": parts}


def ask_campaign(store: Store, campaign_id: int, wanted: Wanted) -> None:
    """Run, pause or cancel a campaign and all its live jobs, at once. Raises UserError for one that is over or unknown.

    A job that another campaign waits for too, or that somebody asked for alone, goes on. run: whatever the campaign
    waits for goes on, whoever paused it, be it the runner on a full disk.
    """
    if wanted not in ("run", "pause", "cancel"):
        raise UserError(f"A campaign can be asked to run, pause or cancel, not {str(wanted)[:40]!r}.")
    with store.database.write() as connection:
        one = and_(jobs.c.id == campaign_id, jobs.c.kind == CampaignJob.kind)
        row = connection.execute(select(jobs.c.state).where(one)).first()
        if row is None:
            raise UserError(f"There is no campaign {campaign_id}; pick one from the list of campaigns.")
        if row.state in ENDED:
            raise UserError(f"Campaign {campaign_id} is {row.state} already; launch it anew instead.")
        now = time.time()
        goes_on = wanted == "run" and row.state == "running"
        values: dict[str, Any] = {"wanted": wanted, "state": row.state if goes_on else _resting(wanted)}
        if wanted == "cancel":
            values["finished"] = now
        connection.execute(update(jobs).where(jobs.c.id == campaign_id).values(**values))
        children = _alive(connection, list(_children(connection, campaign_id))) if wanted == "run" else None
        for child in _own_jobs(connection, campaign_id) if children is None else children:
            ask_child(connection, child, wanted, now)
        bump(connection, "jobs")


def ask_child(connection: Connection, job_id: int, wanted: str, now: float) -> None:
    """Pause, cancel or run on one job of a campaign; one that a runner holds obeys within moments."""
    mine = and_(jobs.c.id == job_id, jobs.c.state.in_(LIVE))
    connection.execute(update(jobs).where(mine).values(wanted=wanted))
    held: dict[str, Any] = {"state": _resting(wanted)}
    if wanted == "cancel":
        held["finished"] = now
    connection.execute(update(jobs).where(mine, jobs.c.state != "running").values(**held))


def _resting(wanted: str) -> str:
    return {"run": "queued", "pause": "paused", "cancel": "cancelled"}[wanted]


def _own_jobs(connection: Connection, campaign_id: int) -> list[int]:
    """Live jobs that no campaign but this one waits for: its trainings, its attacks, and their scores.

    What a campaign asked for that is over itself is this one's too; what a person asked for is nobody's.
    """
    work = _children(connection, campaign_id)
    campaign = jobs.alias("campaign")
    others = and_(campaign.c.kind == CampaignJob.kind, campaign.c.id != campaign_id, campaign.c.state.in_(LIVE))
    shared = select(campaign_settings.c.train_job_id, campaign_settings.c.attack_job_id).join(
        campaign, campaign.c.id == campaign_settings.c.campaign_id
    )
    elsewhere = {number for row in connection.execute(shared.where(others)) for number in row if number is not None}
    elsewhere |= {job for job, asker in work.items() if asker is None}
    living = set(connection.execute(select(campaign.c.id).where(others)).scalars())
    elsewhere |= {job for job, asker in work.items() if asker in living}
    return _alive(connection, [job for job in work if job not in elsewhere])


def _children(connection: Connection, campaign_id: int) -> dict[int, int | None]:
    """Trainings and attacks that a campaign asked for or waits for, each with the campaign that asked first."""
    mine = campaign_settings.c.campaign_id == campaign_id
    waited = select(campaign_settings.c.train_job_id).where(mine)
    waited_too = select(campaign_settings.c.attack_job_id).where(mine)
    either = or_(jobs.c.parent_id == campaign_id, jobs.c.id.in_(waited), jobs.c.id.in_(waited_too))
    return {row.id: row.parent_id for row in connection.execute(select(jobs.c.id, jobs.c.parent_id).where(either))}


def _alive(connection: Connection, work: list[int]) -> list[int]:
    """Those of these jobs that are live, and the live scorings of them."""
    found: list[int] = []
    for start in range(0, len(work), 500):
        some = work[start : start + 500]
        scoring = and_(jobs.c.parent_id.in_(some), jobs.c.kind.in_(SCORING))
        wanted = select(jobs.c.id).where(jobs.c.state.in_(LIVE), or_(jobs.c.id.in_(some), scoring))
        found += connection.execute(wanted).scalars()
    return found

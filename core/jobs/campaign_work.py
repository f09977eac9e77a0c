"""A campaign while it runs: what it asks for next, and when it is over. The runner calls `advance`. No torch.

Every step is one transaction, and what is asked for twice is found by its identity: a runner that is killed anywhere in
here goes on as if nothing had happened. A campaign has one training or attack at a time in the queue, so that other
people's jobs take their turn between.
"""

from __future__ import annotations

import json
import logging
import time
from functools import lru_cache

from sqlalchemy import Connection, and_, func, select, update

from core.campaigns.grid import expand
from core.campaigns.parse import parse
from core.campaigns.plan import Campaign, Setting
from core.errors import UserError
from core.jobs.campaign_requests import attack_request, kept_epochs, train_request
from core.jobs.campaigns import ask_child
from core.jobs.compose import prepare_attack
from core.jobs.payloads import CampaignJob, ScoreJob
from core.jobs.queue import submit_within
from core.jobs.sources import Beat, still
from core.jobs.training import submit_training
from core.storage.campaigns import FAILED, SettingState, setting_states
from core.storage.database import bump
from core.storage.schema import campaign_settings, jobs
from core.storage.store import Store

log = logging.getLogger("semsight.runner")
UNREADABLE = (ValueError, LookupError, TypeError, OSError)  # what a broken row or a lost file raises


def advance(store: Store, beat: Beat = still) -> bool:
    """Bring every running campaign on by one step: ask for a training or attack, or end it. True if anything was done.

    Cheap where there is nothing to do: one query. Preparing an attack decodes its originals; `beat` is called before,
    and may raise Interrupted.
    """
    with store.database.read() as connection:
        asked = and_(jobs.c.kind == CampaignJob.kind, jobs.c.state.in_(("queued", "running")), jobs.c.wanted == "run")
        found = connection.execute(
            select(jobs.c.id, jobs.c.state, jobs.c.payload).where(asked).order_by(jobs.c.id)
        ).all()
    fresh = [row.id for row in found if row.state == "queued"]
    if fresh:
        _start(store, fresh)
    moved = [_advance(store, row.id, row.payload, beat) for row in found]
    return any(moved)


def _start(store: Store, ids: list[int]) -> None:
    with store.database.write() as connection:
        waiting = and_(jobs.c.id.in_(ids), jobs.c.state == "queued")
        values = {"state": "running", "started": func.coalesce(jobs.c.started, time.time())}
        connection.execute(update(jobs).where(waiting).values(**values))
        bump(connection, "jobs")


def _advance(store: Store, campaign_id: int, payload: str, beat: Beat) -> bool:
    states = setting_states(store, campaign_id)
    if all(state.over for state in states):
        _end(store, campaign_id, states)
        return True
    if any(state.busy for state in states):
        return False
    try:
        campaign, settings = _plan(payload)
    except UNREADABLE as error:
        log.warning("campaign %d cannot be read", campaign_id, exc_info=True)
        _end(store, campaign_id, states, f"Its stored plan cannot be read any more ({error}); launch it anew.")
        return True
    for state in states:
        if state.over or state.attack_job is not None or state.train_state == "paused":
            continue  # what somebody paused by hand waits for them, and the others go on
        beat()
        try:
            _ask(store, campaign_id, campaign, settings, state)
        except UNREADABLE as error:
            log.warning("campaign %d: %s cannot run", campaign_id, state.title, exc_info=True)
            said = str(error) if isinstance(error, UserError) else f"It could not be prepared ({error})."
            _note(store, state.id, said)
        return True
    return False  # all that is left is paused, or being scored


@lru_cache(maxsize=8)
def _plan(payload: str) -> tuple[Campaign, tuple[Setting, ...]]:
    campaign = parse(json.loads(payload)["plan"])
    return campaign, expand(campaign)


def _ask(store: Store, campaign_id: int, campaign: Campaign, settings: tuple[Setting, ...], row: SettingState) -> None:
    """Ask for what the setting lacks next; a training is asked for once, for all settings that attack its victim."""
    setting = settings[row.position]
    trained = setting.recipe is not None
    if trained and row.train_state is None:
        _ask_training(store, campaign_id, campaign, settings, setting)
        return
    if trained and row.train_state in FAILED:
        why = row.train_error or "it was cancelled"
        _note(store, row.id, f"Its training (job {row.train_job}) did not finish: {why}")
        return
    request = attack_request(store, campaign, setting, row.train_job)
    payload = prepare_attack(store, request)
    with store.database.write() as connection:
        submitted = submit_within(connection, payload, f"{campaign.name}: {setting.title}", parent=campaign_id)
        if submitted.state == "done":
            _score_again(connection, submitted.job_id)
        _link(connection, campaign_id, [row.position], submitted.job_id, "attack_job_id")


def _score_again(connection: Connection, run: int) -> None:
    """Ask for the scores of a finished run whose scoring failed; once, when a campaign takes the run over."""
    scoring = select(jobs.c.state).where(jobs.c.parent_id == run, jobs.c.kind == ScoreJob.kind)
    newest = connection.execute(scoring.order_by(jobs.c.id.desc()).limit(1)).scalar()
    if newest in FAILED:
        title = connection.execute(select(jobs.c.title).where(jobs.c.id == run)).scalar_one()
        submit_within(connection, ScoreJob(attack_job=run), f"Scores of {title}", parent=run, anew=True)


def _ask_training(
    store: Store, campaign_id: int, campaign: Campaign, settings: tuple[Setting, ...], setting: Setting
) -> None:
    """One training for all settings of its victim. Of one that is done, weights that somebody deleted are made anew."""
    victim = (setting.data, setting.victim, setting.training)
    mine = [one for one in settings if (one.data, one.victim, one.training) == victim]
    request = train_request(store, campaign, setting)
    submitted = submit_training(store, request, parent=campaign_id)
    lost: list[int] = []
    if submitted.state == "done":
        there = kept_epochs(store, submitted.job_id)
        lost = [one.position for one in mine if one.epoch not in there]
    again = submit_training(store, request, parent=campaign_id, anew=True) if lost else submitted
    with store.database.write() as connection:
        kept = [one.position for one in mine if one.position not in set(lost)]
        _link(connection, campaign_id, kept, submitted.job_id, "train_job_id")
        _link(connection, campaign_id, lost, again.job_id, "train_job_id")


def _link(connection: Connection, campaign_id: int, places: list[int], job_id: int, column: str) -> None:
    """Note the job of settings; where the campaign was paused or cancelled meanwhile, the job follows it."""
    table = campaign_settings
    for start in range(0, len(places), 500):
        mine = and_(table.c.campaign_id == campaign_id, table.c.position.in_(places[start : start + 500]))
        connection.execute(update(table).where(mine).values({column: job_id}))
    wanted = str(connection.execute(select(jobs.c.wanted).where(jobs.c.id == campaign_id)).scalar_one())
    parent = connection.execute(select(jobs.c.parent_id).where(jobs.c.id == job_id)).scalar_one()
    if wanted != "run" and parent == campaign_id:
        ask_child(connection, job_id, wanted, time.time())
    bump(connection, "jobs")


def _note(store: Store, setting_id: int, sentence: str) -> None:
    with store.database.write() as connection:
        one = campaign_settings.c.id == setting_id
        connection.execute(update(campaign_settings).where(one).values(error=sentence))
        bump(connection, "jobs")


def _end(store: Store, campaign_id: int, states: list[SettingState], sentence: str | None = None) -> None:
    """Done, with the number of settings that failed in its sentence; failed where all did."""
    failed = sum(state.failed for state in states)
    if sentence is None and failed:
        sentence = f"{failed} of {len(states)} settings failed; the table says why of each."
    state = "failed" if failed == len(states) or (sentence and not all(one.over for one in states)) else "done"
    with store.database.write() as connection:
        mine = and_(jobs.c.id == campaign_id, jobs.c.state.in_(("queued", "running")))
        values = {"state": state, "error": sentence, "finished": time.time()}
        connection.execute(update(jobs).where(mine).values(**values))
        bump(connection, "jobs")

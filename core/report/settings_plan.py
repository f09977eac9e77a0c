"""Which settings a table has, and how far each is: the plan of a campaign, or the store's runs, grouped. No torch."""

import json
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any

from sqlalchemy import Connection, func, select

from core.errors import UserError
from core.models.spec import ModelSpec, spec_identity
from core.report.settings_names import campaign_parts, named, victim_name
from core.report.settings_records import State, Victim
from core.report.settings_words import recipe_words
from core.storage import schema
from core.storage.database import change
from core.storage.sets import setting_key
from core.storage.store import Store

jobs = schema.jobs
MOST_RUNS = 2_000  # newest runs of a store that are grouped
KEPT = 4_000  # payloads; what is kept of one takes some kilobytes
CHUNK = 400  # ids of one question: databases bound the parameters of a statement
LIVE = ("queued", "running", "paused")
COUNTERS = ("scores", "reconstructions")


@dataclass(frozen=True)
class Asked:
    """What an attack job asks, without its list of originals."""

    values: Mapping[str, Any]  # the payload's model, threat, attack and config
    dataset: str
    setting: str  # core.storage.sets.setting_key
    model: str  # core.models.spec.spec_identity
    originals: int


@dataclass(frozen=True)
class RunState:
    """An attack job and how far it is. mark: equal marks mean that its results are the same."""

    id: int
    state: State
    error: str
    identity: str
    mark: tuple[object, ...]


@dataclass(frozen=True)
class Planned:
    """A row of the table before anything is read of its results."""

    title: str
    parts: Mapping[str, str]
    state: State
    reason: str
    runs: tuple[RunState, ...]  # whose results are shown
    job: int | None
    train_job: int | None
    asked: Asked | None  # None: no run was asked for yet
    victim: Victim = field(default_factory=Victim)


_asked: OrderedDict[tuple[str, int], Asked] = OrderedDict()
_lock = Lock()


def planned(store: Store, campaign: int | None, runs: Sequence[int] | None) -> tuple[Planned, ...]:
    """The rows, in the order of the campaign's plan or of the settings' first runs.

    runs: only these; UserError for one, or for a campaign, that the store does not have.
    """
    with store.database.read() as connection:
        if campaign is not None:
            found = _of_campaign(connection, str(store.database.url), campaign)
            if runs is not None:
                found = [row for row in found if row.job in set(runs)]
        else:
            found = _grouped(connection, str(store.database.url), runs)
        victims = _victims(connection, {row.asked.model for row in found if row.asked})
        given = _given(connection, [run.id for row in found if row.asked and not row.parts for run in row.runs])
    rows = [replace(row, victim=victims.get(row.asked.model, Victim()) if row.asked else Victim()) for row in found]
    return tuple(replace(row, **words) for row, words in zip(rows, named(rows, given), strict=True))


# --- a campaign -------------------------------------------------------------------------------------------
def _of_campaign(connection: Connection, url: str, campaign: int) -> list[Planned]:
    table = schema.campaign_settings
    rows = connection.execute(select(table).where(table.c.campaign_id == campaign).order_by(table.c.position)).all()
    if not rows:
        known = select(jobs.c.id).where(jobs.c.id == campaign, jobs.c.kind == "campaign")
        if connection.execute(known).first() is None:
            raise UserError(f"There is no campaign {campaign} in this store; choose one from the list.")
    attacks = run_states(connection, [row.attack_job_id for row in rows if row.attack_job_id is not None])
    trained = _states(connection, [row.train_job_id for row in rows if row.train_job_id is not None])
    asked = _payloads(connection, url, list(attacks))
    found = []
    for row in rows:
        run = attacks.get(row.attack_job_id)
        state, reason = _state(run, trained.get(row.train_job_id), row.error)
        found.append(
            Planned(
                title=row.title,
                parts=campaign_parts(row.parts),
                state=state,
                reason=reason,
                runs=(run,) if run else (),
                job=run.id if run else None,
                train_job=row.train_job_id,
                asked=asked.get(run.id) if run else None,
            )
        )
    return found


def _state(run: RunState | None, trained: Any, error: str | None) -> tuple[State, str]:
    """How far a campaign's row is, and why it got no further."""
    if run is not None:
        return run.state, run.error or error or ""
    if error:
        return "failed", error
    if trained is None or trained.state == "done":
        return "waiting", ""
    if trained.state in ("failed", "cancelled"):
        why = f": {trained.error}" if trained.error else "."
        return "failed", f"The training of its victim {'failed' if trained.state == 'failed' else 'was stopped'}{why}"
    return "training", ""


# --- the store's runs -------------------------------------------------------------------------------------
def _grouped(connection: Connection, url: str, runs: Sequence[int] | None) -> list[Planned]:
    """Runs of one setting in one row; of a run that was done again, the newest counts."""
    query = select(jobs.c.id).where(jobs.c.kind == "attack").order_by(jobs.c.id.desc())
    if runs is None:
        ids = list(connection.execute(query.limit(MOST_RUNS)).scalars())
    else:
        ids = [
            int(one)
            for part in _parts(list(runs))
            for one in connection.execute(query.where(jobs.c.id.in_(part))).scalars()
        ]
        missing = sorted(set(runs) - set(ids))
        if missing:
            raise UserError(f"There is no run {missing[0]} in this store; choose one from the list.")
    states = run_states(connection, ids)
    asked = _payloads(connection, url, ids)
    groups: dict[str, list[RunState]] = {}
    for run in sorted(states.values(), key=lambda one: one.id):
        if run.id in asked:
            groups.setdefault(asked[run.id].setting, []).append(run)
    return [_group(members, asked) for members in groups.values()]


def _group(members: Sequence[RunState], asked: Mapping[int, Asked]) -> Planned:
    """One row from the runs of one setting, oldest first: those that ended well, else the newest with what it has."""
    ended = {run.identity: run for run in members if run.state in ("done", "scoring")}
    shown = sorted(ended.values(), key=lambda run: run.id) or [members[-1]]
    state: State = "scoring" if any(run.state == "scoring" for run in shown) else shown[-1].state
    reason = shown[-1].error
    failed = sum(run.state == "failed" for run in members)
    if ended and failed:
        reason = f"{failed} of {len(members)} runs of this setting failed and are left out."
    return Planned("", {}, state, reason, tuple(shown), members[-1].id, None, asked[shown[-1].id])


# --- rows that both need ----------------------------------------------------------------------------------
def run_states(connection: Connection, ids: Sequence[int]) -> dict[int, RunState]:
    """Attack jobs by id, in two questions. An ended run whose scoring has ended keeps its mark until it is rescored."""
    counters = tuple(change(connection, name) for name in COUNTERS)
    found: dict[int, RunState] = {}
    for part in _parts(ids):
        newest = (
            select(func.max(jobs.c.id)).where(jobs.c.parent_id.in_(part), jobs.c.kind.in_(("score", "rescore")))
        ).group_by(jobs.c.parent_id)
        scoring = {
            row.parent_id: row
            for row in connection.execute(
                select(jobs.c.parent_id, jobs.c.id, jobs.c.state, jobs.c.finished).where(jobs.c.id.in_(newest))
            )
        }
        columns = (jobs.c.id, jobs.c.state, jobs.c.error, jobs.c.identity)
        for row in connection.execute(select(*columns).where(jobs.c.id.in_(part), jobs.c.kind == "attack")):
            score = scoring.get(row.id)
            ended = score is not None and score.state not in LIVE
            mark = (row.state, *(tuple(score) if score is not None and ended and row.state not in LIVE else counters))
            state: State = "scoring" if row.state == "done" and score is not None and not ended else row.state
            found[row.id] = RunState(row.id, state, row.error or "", row.identity, mark)
    return found


def _states(connection: Connection, ids: Sequence[int]) -> dict[int, Any]:
    rows = (
        connection.execute(select(jobs.c.id, jobs.c.state, jobs.c.error).where(jobs.c.id.in_(p))) for p in _parts(ids)
    )
    return {row.id: row for part in rows for row in part}


def _payloads(connection: Connection, url: str, ids: Sequence[int]) -> dict[int, Asked]:
    """What these attack jobs ask. Payloads never change, so each is read once for a process."""
    with _lock:
        found = {one: _asked[url, one] for one in ids if (url, one) in _asked}
    raw: dict[int, dict[str, Any]] = {}
    for part in _parts([one for one in ids if one not in found]):
        for row in connection.execute(select(jobs.c.id, jobs.c.payload).where(jobs.c.id.in_(part))):
            raw[row.id] = json.loads(row.payload)
    firsts = sorted({payload["originals"][0] for payload in raw.values() if payload.get("originals")})
    datasets: dict[int, str] = {}
    orig = schema.originals
    for part in _parts(firsts):
        rows = connection.execute(select(orig.c.id, orig.c.dataset).where(orig.c.id.in_(part)))
        datasets |= {row.id: row.dataset for row in rows}
    for one, payload in raw.items():
        if payload.get("originals"):
            found[one] = _read(payload, datasets.get(payload["originals"][0], ""))
    with _lock:
        for one in raw.keys() & found.keys():
            _asked[url, one] = found[one]
        while len(_asked) > KEPT:
            _asked.popitem(last=False)
    return found


def _read(payload: Mapping[str, Any], dataset: str) -> Asked:
    values = {name: payload[name] for name in ("model", "threat", "attack", "config")}
    spec = ModelSpec.from_json(json.dumps(payload["model"]))
    return Asked(values, dataset, setting_key(payload, dataset), spec_identity(spec), len(payload["originals"]))


def _given(connection: Connection, runs: Sequence[int]) -> dict[int, tuple[int, dict[str, str]]]:
    """(campaign, what it calls the parts) of the runs that campaigns asked for; of several the newest's."""
    table = schema.campaign_settings
    found: dict[int, tuple[int, dict[str, str]]] = {}
    for part in _parts(runs):
        asked = select(table.c.attack_job_id, table.c.campaign_id, table.c.parts).where(table.c.attack_job_id.in_(part))
        for row in connection.execute(asked.order_by(table.c.campaign_id)):
            found[row.attack_job_id] = (row.campaign_id, campaign_parts(row.parts))
    return found


def _victims(connection: Connection, identities: set[str]) -> dict[str, Victim]:
    table = schema.models
    columns = (table.c.id, table.c.name, table.c.identity, table.c.epoch, table.c.facts)
    found = {}
    for part in _parts(sorted(identities)):
        for row in connection.execute(select(*columns).where(table.c.identity.in_(part))):
            facts = json.loads(row.facts) if row.facts else {}
            epoch = row.epoch if row.epoch is not None else facts.get("epoch")
            known = {name: facts.get(name) for name in ("accuracy", "held_out", "epsilon", "delta")}
            found[row.identity] = Victim(
                model=row.id,
                name=victim_name(row.name, facts),
                epoch=epoch,
                recipe=recipe_words(facts.get("recipe")),
                recipe_name=str(facts.get("recipe_words") or ""),
                unit=facts.get("unit") or "",
                **known,
            )
    return found


def _parts(values: Sequence[Any]) -> Iterable[list[Any]]:
    return (list(values[start : start + CHUNK]) for start in range(0, len(values), CHUNK))

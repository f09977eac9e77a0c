"""Which pictures a set metric compares: all that a run, or a setting, chose, with their originals. No torch."""

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from sqlalchemy import Connection, func, insert, select

from core.jobs.material import attack_of
from core.jobs.payloads import SCORING, AttackJob, RescoreJob, ScoreJob, to_json
from core.jobs.plan import ShardPlan
from core.jobs.references import ATTACKED, REFERENCES
from core.jobs.shards import SetShard
from core.jobs.sources import Beat, readable, still
from core.metrics.sets import SET_METRICS
from core.storage.database import insert_once
from core.storage.schema import jobs, originals, pairings, reconstructions, set_members, sets
from core.storage.sets import SCOPES, Scope, set_name, setting_key
from core.storage.store import Store

# A shard of sets has one target: the place in here of what it compares.
SETS: tuple[tuple[Scope, str], ...] = tuple((scope, reference) for scope in SCOPES for reference in REFERENCES)
MOST_MEMBERS = 5_000  # pictures of each side: their distances take minutes beyond
MOST_BYTES = 1 << 28  # of each side's pixels
Item = TypeVar("Item")


@dataclass(frozen=True)
class Members:
    """Both sides of a comparison, thinned evenly where there are too many."""

    runs: tuple[int, ...]
    pairings: tuple[int, ...]
    reconstructions: tuple[str, ...]  # image hashes, one for each pairing
    originals: tuple[str, ...]  # hashes of the pictures, each once
    found: tuple[int, int]  # originals and reconstructions before they were thinned
    unreadable: int = 0  # sources that were left out because their files are gone or damaged


def set_metrics(payload: ScoreJob) -> tuple[str, ...]:
    """The metrics that a score job computes of sets."""
    return tuple(name for name in payload.metrics or SET_METRICS if name in SET_METRICS)


def plan_sets(store: Store, payload: ScoreJob, references: Sequence[str]) -> list[ShardPlan]:
    """A shard for each set there is: of the run, and of its setting where other runs share it."""
    attack = attack_of(store, payload)
    if not set_metrics(payload):
        return []
    plans = []
    for place, (scope, reference) in enumerate(SETS):
        if reference not in references:
            continue
        runs = runs_of(store, payload.attack_job, attack, scope)
        # in the background every run of a setting may be scored anew: the newest one that can be does it for all
        others_do = isinstance(payload, RescoreJob) and payload.attack_job != max(_at_work(store, payload, runs))
        if scope == "run" or (len(runs) > 1 and not others_do):
            plans.append(ShardPlan("sets", (place,)))
    return plans


def _at_work(store: Store, payload: ScoreJob, runs: Sequence[int]) -> set[int]:
    """The payload's own run, and those of the runs whose newest scoring is done or on its way."""
    newest = select(func.max(jobs.c.id)).where(jobs.c.parent_id.in_(runs), jobs.c.kind.in_(SCORING))
    alive = select(jobs.c.parent_id).where(
        jobs.c.id.in_(newest.group_by(jobs.c.parent_id)), jobs.c.state.in_(("done", "queued", "running"))
    )
    with store.database.read() as connection:
        return {payload.attack_job, *connection.execute(alive).scalars()}


def set_shard(store: Store, payload: ScoreJob, plan: ShardPlan, threads: int, beat: Beat = still) -> SetShard:
    """The pictures of one set; its row and its members are stored. Sources that cannot be read are left out."""
    attack = attack_of(store, payload)
    scope, reference = SETS[plan.targets[0]]
    members = members_of(store, runs_of(store, payload.attack_job, attack, scope), attack, reference)
    key = str(payload.attack_job) if scope == "run" else setting_key(_json(attack), _dataset(store, attack))
    read = store.artifacts.read_png
    pictures, unreadable = {}, 0
    for sha in members.originals:
        beat()
        picture = read(sha) if reference == ATTACKED else readable(store, sha, attack.model)
        if picture is None:
            unreadable += 1
        else:
            pictures[sha] = picture
    members = replace(members, originals=tuple(pictures), unreadable=unreadable)
    made = []
    for sha in members.reconstructions:
        beat()
        made.append(read(sha))
    with store.database.write() as connection:
        set_id = _store_set(connection, set_name(scope, key, reference), scope, reference, members)
    shape = (0, attack.model.height, attack.model.width, 3)
    return SetShard(
        set_id=set_id,
        originals=np.stack(list(pictures.values())) if pictures else np.zeros(shape, np.uint8),
        reconstructions=np.stack(made) if made else np.zeros(shape, np.uint8),
        metrics=set_metrics(payload),
        device=payload.device,
        threads=threads,
    )


def runs_of(store: Store, run: int, attack: AttackJob, scope: Scope) -> tuple[int, ...]:
    """The run alone, or every finished run of its setting, itself included; of a run done again, the newest only."""
    if scope == "run":
        return (run,)
    mine = _json(attack)
    key = setting_key(mine, _dataset(store, attack))
    # canonical JSON begins with these two, so that the database looks through payloads of a megabyte
    start = json.dumps({name: mine[name] for name in ("attack", "config")}, sort_keys=True, separators=(",", ":"))
    alike = select(jobs.c.id, jobs.c.identity, jobs.c.payload).where(
        jobs.c.kind == "attack", jobs.c.state == "done", jobs.c.payload.startswith(f"{start[:-1]},", autoescape=True)
    )
    newest: dict[str, int] = {}
    with store.database.read() as connection:
        for row in connection.execute(alike.order_by(jobs.c.id)):
            payload = json.loads(row.payload)
            first = select(originals.c.dataset).where(originals.c.id == payload["originals"][0])
            if setting_key(payload, str(connection.execute(first).scalar())) == key and newest.get(row.identity) != run:
                newest[row.identity] = row.id
    return tuple(sorted({*newest.values(), run}))


def members_of(store: Store, runs: Sequence[int], attack: AttackJob, reference: str) -> Members:
    """All that the attack chose in these runs, controls left out, and all originals of the runs, each picture once."""
    chosen = (
        select(pairings.c.id, reconstructions.c.image_sha)
        .join(reconstructions, reconstructions.c.id == pairings.c.reconstruction_id)
        .where(
            reconstructions.c.job_id.in_(runs),
            reconstructions.c.chosen,
            reconstructions.c.role == "attack",
            pairings.c.reference == reference,
        )
        .order_by(pairings.c.id)
    )
    pictures: dict[str, None] = {}
    column = originals.c.image_sha if reference == ATTACKED else originals.c.source_sha
    with store.database.read() as connection:
        made = connection.execute(chosen).all()
        for text in connection.execute(select(jobs.c.payload).where(jobs.c.id.in_(runs)).order_by(jobs.c.id)).scalars():
            ids = json.loads(text)["originals"]
            for start in range(0, len(ids), 500):
                part = ids[start : start + 500]
                rows = connection.execute(select(column).where(originals.c.id.in_(part)).order_by(originals.c.id))
                pictures |= dict.fromkeys(sha for sha in rows.scalars() if sha is not None)
    most = max(1, min(MOST_MEMBERS, MOST_BYTES // (3 * attack.model.height * attack.model.width)))
    kept = _thinned(made, most)
    return Members(
        runs=tuple(runs),
        pairings=tuple(row.id for row in kept),
        reconstructions=tuple(row.image_sha for row in kept),
        originals=tuple(_thinned(list(pictures), most)),
        found=(len(pictures), len(made)),
    )


def _thinned(items: Sequence[Item], most: int) -> list[Item]:
    """At most so many of the items, evenly from the first to the last."""
    if len(items) <= most:
        return list(items)
    return [items[place * len(items) // most] for place in range(most)]


def _store_set(connection: Connection, name: str, scope: Scope, reference: str, members: Members) -> int:
    """The row of a set, made once for the same members."""
    rule: dict[str, Any] = {
        "scope": scope,
        "runs": list(members.runs),
        "reference": reference,
        "originals": len(members.originals),
        "reconstructions": len(members.reconstructions),
        "found": list(members.found),
        "members": hashlib.sha256(repr((members.pairings, members.originals)).encode()).hexdigest(),
    }
    if members.unreadable:
        rule["unreadable"] = members.unreadable
    text = json.dumps(rule, sort_keys=True)
    identity = hashlib.sha256(text.encode()).hexdigest()
    row = {"name": name, "rule": text, "identity": identity, "created": time.time()}
    fresh = insert_once(connection, sets, [row])
    set_id = int(connection.execute(select(sets.c.id).where(sets.c.identity == identity)).scalar_one())
    if fresh and members.pairings:
        rows = [{"set_id": set_id, "pairing_id": pairing} for pairing in members.pairings]
        connection.execute(insert(set_members), rows)
    return set_id


def _dataset(store: Store, attack: AttackJob) -> str:
    with store.database.read() as connection:
        first = select(originals.c.dataset).where(originals.c.id == attack.originals[0])
        return str(connection.execute(first).scalar())


def _json(attack: AttackJob) -> dict[str, Any]:
    """The attack as its row holds it."""
    values: dict[str, Any] = json.loads(to_json(attack))
    return values

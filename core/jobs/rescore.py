"""Scoring a run again: when a person asks, and in the background once a metric or its weights have changed.

Rows only, and no torch.
"""

import json
import logging
import time
from collections import defaultdict
from dataclasses import dataclass, field

from sqlalchemy import Connection, and_, func, or_, select, update

from core.errors import UserError
from core.jobs.payloads import SCORING, AttackJob, RescoreJob, ScoreJob, from_json, identity
from core.jobs.queue import ENDED, Submitted, submit_within
from core.jobs.references import ATTACKED, INPUT_DEFENCES, REFERENCES, SOURCE, is_augmented
from core.jobs.results import read_record, write_record
from core.jobs.sources import UNREADABLE, Beat, still
from core.metrics.registry import METRICS, missing_here, weights_hash
from core.metrics.sets import SET_METRICS, missing_for_set, set_weights_hash
from core.settings import Settings
from core.storage.schema import jobs, pairings, reconstructions, scores, sets
from core.storage.sets import set_name
from core.storage.store import Store

UNCHANGED = "source_as_attacked"  # in an attack's record: its input defences changed no picture
OF_SETTING = "setting"  # in what is present to a background job: its run is to score its setting's sets
log = logging.getLogger("semsight.runner")


@dataclass(frozen=True)
class Present:
    """What a metric is here and now. missing: its weights or package; it would be a reason."""

    version: str
    weights_hash: str
    missing: bool

    def __str__(self) -> str:
        return f"{self.version} {'missing' if self.missing else self.weights_hash}"


@dataclass
class Lacking:
    """What one run lacks. metrics: of each reference. of_setting: some of them are of its setting."""

    metrics: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    of_setting: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """All metrics, in the order of the registries."""
        names = {name for of_one in self.metrics.values() for name in of_one}
        return tuple(name for name in (*METRICS, *SET_METRICS) if name in names)


Wanted = dict[int, Lacking]  # by run


def rescore(store: Store, run_id: int) -> Submitted:
    """Queue another score job of an attack job; what has a value keeps it, and a mere reason gives way to a value.

    One that waits in the background gives way. Raises UserError when there is no such run, it has not ended, it has
    nothing to score, or it is being scored.
    """
    mine = reconstructions.c.job_id == run_id
    scoring = (jobs.c.kind.in_(SCORING), jobs.c.parent_id == run_id, jobs.c.state.not_in(ENDED))
    waiting = and_(jobs.c.kind == "rescore", jobs.c.state == "queued", jobs.c.parent_id == run_id)
    with store.database.write() as connection:
        run = connection.execute(select(jobs).where(jobs.c.id == run_id, jobs.c.kind == "attack")).first()
        if run is None:
            raise UserError(f"There is no run {run_id}; pick one from the history of runs.")
        if run.state not in ENDED:
            raise UserError(f"Run {run_id} is {run.state}; it can be scored again once it has ended.")
        if connection.execute(select(reconstructions.c.id).where(mine).limit(1)).first() is None:
            raise UserError(f"Run {run_id} stored no reconstruction, so there is nothing to score; start it anew.")
        connection.execute(update(jobs).where(waiting).values(state="cancelled", wanted="cancel", finished=time.time()))
        if (alive := connection.execute(select(jobs.c.state).where(*scoring).limit(1)).first()) is not None:
            raise UserError(f"The scores of run {run_id} are {alive.state} already; wait until they are done.")
        title = f"Scores of {run.title}"
        return submit_within(connection, ScoreJob(attack_job=run_id), title, parent=run_id, anew=True)


def present(settings: Settings) -> dict[str, Present]:
    """Every registered metric of pairs and of sets, as it is now on this machine. Cheap: no tensor is read."""
    found = {}
    for name, metric in METRICS.items():
        missing = bool(missing_here(metric, settings))
        found[name] = Present(metric.version, "" if missing else weights_hash(name, settings), missing)
    for name, of_set in SET_METRICS.items():
        missing = bool(missing_for_set(of_set, settings))
        found[name] = Present(of_set.version, "" if missing else set_weights_hash(of_set, settings), missing)
    return found


def outdated(store: Store, now: dict[str, Present] | None = None) -> dict[int, tuple[str, ...]]:
    """The finished runs that lack scores of what the metrics are now, with the metrics that they lack.

    A metric is lacking where a chosen reconstruction has no row of its present version with its present weights: it
    is new, its version or its weights changed, or its weights came. A reason that would be the same again is not:
    where weights are missing, any row of the version will do. Runs that are being scored, and those whose scoring
    failed or was cancelled and waits for a person, are left out.
    """
    wanted = _lacking(store, present(store.settings) if now is None else now)
    return {run: of_run.names for run, of_run in wanted.items()}


def queue_outdated(store: Store, now: dict[str, Present] | None = None, beat: Beat = still) -> list[int]:
    """Queue a background job for each outdated run; returns their ids.

    For one state of metrics and weights a run gets at most one such job, however that ends: nothing goes in circles.
    """
    here = present(store.settings) if now is None else now
    wanted = _lacking(store, here, beat)
    queued: list[int] = []
    if not wanted:
        return queued
    with store.database.write() as connection:
        for run, of_run in wanted.items():
            stated = tuple(f"{name} {here[name]}" for name in of_run.names)
            payload = RescoreJob(
                attack_job=run,
                metrics=of_run.names,
                references=tuple(one for one in REFERENCES if one in of_run.metrics),
                present=(*stated, OF_SETTING) if of_run.of_setting else stated,
            )
            if not _is_new(connection, run, payload):
                continue
            title = connection.execute(select(jobs.c.title).where(jobs.c.id == run)).scalar_one()
            name = f"Scores of {title}, brought up to date"
            queued.append(submit_within(connection, payload, name, parent=run, anew=True).job_id)
    return queued


def _is_new(connection: Connection, run: int, payload: RescoreJob) -> bool:
    """Whether this very job was never queued, and no other scores the run meanwhile."""
    alive = and_(jobs.c.kind.in_(SCORING), jobs.c.parent_id == run, jobs.c.state.not_in(ENDED))
    same = jobs.c.identity == identity(payload)
    return connection.execute(select(jobs.c.id).where(or_(alive, same)).limit(1)).first() is None


def _lacking(store: Store, now: dict[str, Present], beat: Beat = still) -> Wanted:
    """What each run lacks, from a few grouped questions over the store."""
    with store.database.read() as connection:
        runs = _runs(connection)
        pairs = _pairs(connection)
        scored = _scored(connection)
        of_sets = _scored_sets(connection)
        settings = _settings(connection)
    wanted: Wanted = defaultdict(Lacking)
    for (run, reference), count in pairs.items():
        if run not in runs:
            continue
        rows = scored[run, reference]
        lacking = [
            name
            for name, metric in METRICS.items()
            if (reference == ATTACKED or not metric.diagnostic) and not _is_scored(rows, name, now[name], count)
        ]
        rows = of_sets[set_name("run", str(run), reference)]
        lacking += [name for name in SET_METRICS if not _is_scored(rows, name, now[name], 1)]
        if lacking:
            wanted[run].metrics[reference].update(lacking)
    for name, (reference, members) in settings.items():
        lacking = [metric for metric in SET_METRICS if not _is_scored(of_sets[name], metric, now[metric], 1)]
        if lacking and (able := runs & members):
            wanted[max(able)].metrics[reference].update(lacking)
            wanted[max(able)].of_setting = True
    for run in _without_source(store, runs, pairs, beat):
        wanted[run].metrics[SOURCE].update(name for name in (*METRICS, *SET_METRICS) if _compares_with_source(name))
    return dict(wanted)


Rows = dict[tuple[str, str, str], int]  # (metric, version, weights) -> how many


def _is_scored(rows: Rows, name: str, now: Present, count: int) -> bool:
    if now.missing:
        return sum(n for (metric, version, _), n in rows.items() if (metric, version) == (name, now.version)) >= count
    return rows.get((name, now.version, now.weights_hash), 0) >= count


def _compares_with_source(name: str) -> bool:
    return name not in METRICS or not METRICS[name].diagnostic


def _runs(connection: Connection) -> set[int]:
    """Finished attacks whose newest scoring, if any, is done."""
    done = set(connection.execute(select(jobs.c.id).where(jobs.c.kind == "attack", jobs.c.state == "done")).scalars())
    states = select(jobs.c.parent_id, jobs.c.state).where(jobs.c.kind.in_(SCORING)).order_by(jobs.c.id)
    newest: dict[int, str] = {}
    for parent, state in connection.execute(states):
        newest[parent] = "busy" if state not in ENDED or newest.get(parent) == "busy" else state
    return {run for run in done if newest.get(run, "done") == "done"}


def _pairs(connection: Connection) -> dict[tuple[int, str], int]:
    query = (
        select(reconstructions.c.job_id, pairings.c.reference, func.count())
        .join(pairings, pairings.c.reconstruction_id == reconstructions.c.id)
        .where(reconstructions.c.chosen)
        .group_by(reconstructions.c.job_id, pairings.c.reference)
    )
    return {(run, reference): int(count) for run, reference, count in connection.execute(query)}


def _scored(connection: Connection) -> dict[tuple[int, str], Rows]:
    key = (scores.c.metric, scores.c.metric_version, scores.c.weights_hash)
    query = (
        select(reconstructions.c.job_id, scores.c.reference, *key, func.count())
        .join(pairings, pairings.c.id == scores.c.subject_id)
        .join(reconstructions, reconstructions.c.id == pairings.c.reconstruction_id)
        .where(scores.c.subject_kind == "pairing", reconstructions.c.chosen)
        .group_by(reconstructions.c.job_id, scores.c.reference, *key)
    )
    found: dict[tuple[int, str], Rows] = defaultdict(dict)
    for run, reference, metric, version, weights, count in connection.execute(query):
        found[run, reference][metric, version, weights] = int(count)
    return found


def _scored_sets(connection: Connection) -> dict[str, Rows]:
    key = (scores.c.metric, scores.c.metric_version, scores.c.weights_hash)
    query = select(sets.c.name, *key).join(sets, sets.c.id == scores.c.subject_id).where(scores.c.subject_kind == "set")
    found: dict[str, Rows] = defaultdict(dict)
    for name, metric, version, weights in connection.execute(query):
        found[name][metric, version, weights] = 1
    return found


def _settings(connection: Connection) -> dict[str, tuple[str, set[int]]]:
    """Name of a setting's set -> what it is compared with, and the runs that it was last made of."""
    rows = select(sets.c.name, sets.c.rule).where(sets.c.name.startswith("setting ")).order_by(sets.c.id)
    rules = {row.name: json.loads(row.rule) for row in connection.execute(rows)}
    return {name: (rule["reference"], set(rule["runs"])) for name, rule in rules.items()}


def _without_source(store: Store, runs: set[int], pairs: dict[tuple[int, str], int], beat: Beat) -> list[int]:
    """Runs of before there were second pairings, whose input defences changed a picture.

    Looks at each run once, but again at one of which a file is gone, which is left out.
    """
    named = or_(*(jobs.c.payload.contains(f'"name":"{name}"', autoescape=True) for name in INPUT_DEFENCES))
    unknown = or_(jobs.c.record.is_(None), ~jobs.c.record.contains(f'"{UNCHANGED}"', autoescape=True))
    query = select(jobs.c.id).where(jobs.c.kind == "attack", jobs.c.state == "done", named, unknown)
    with store.database.read() as connection:
        asked = [run for run in connection.execute(query).scalars() if run in runs]
    found = []
    for run in asked:
        if (run, ATTACKED) not in pairs or (run, SOURCE) in pairs:
            continue
        with store.database.read() as connection:
            columns = (jobs.c.payload_type, jobs.c.payload_version, jobs.c.payload)
            row = connection.execute(select(*columns).where(jobs.c.id == run)).one()
        try:
            attack = from_json(*row)
            augmented = isinstance(attack, AttackJob) and is_augmented(store, attack, beat)
        except UNREADABLE as error:
            log.warning("run %d is not compared with its sources: %s", run, error)
            continue
        if augmented:
            found.append(run)
        if augmented is None:
            log.warning("run %d is not compared with its sources: some are gone or damaged", run)
        if augmented is not False:
            continue
        with store.database.write() as connection:
            write_record(connection, run, {**read_record(connection, run), UNCHANGED: True})
    return found

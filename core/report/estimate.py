"""How long an attack will take: from its measured pace, else from this store's own runs, else from a small table.

The unit of work is an image-step: one iteration on one image of one restart. Controls count like targets.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

from sqlalchemy import func, select

from core.attacks import ATTACKS
from core.leakage.controls import easy_case
from core.leakage.threat import ThreatModel
from core.models.spec import ModelSpec
from core.registry import look_up
from core.report.estimate_table import COLD_SECONDS, MEASURED_ON, table_rate
from core.report.pace import Known, pace_of, question
from core.storage import schema
from core.storage.store import Store

NEWEST = 200  # finished runs that are looked at
ENOUGH = 5  # runs that the rate is taken from
SHORTEST = 5.0  # seconds of computing; in a shorter run most is preparation, which says nothing about pace


@dataclass(frozen=True)
class Work:
    """What a run asks for."""

    architecture: str
    attack: str
    images: int
    batch_size: int
    restarts: int
    iterations: int  # at most, each restart
    controls: int  # updates that are attacked again, twice
    arguments: Mapping[str, Any] = field(default_factory=dict)  # of the architecture: a narrow net is quicker
    height: int = 32  # pixels
    easy: bool = False  # the first image of each control update is attacked once more, as the easy case

    @property
    def image_steps(self) -> int:
        """Image-steps if nothing stops early; an attack without iterations counts one for each image."""
        updates = -(-self.images // self.batch_size)
        again = min(self.controls, updates)
        attack = ATTACKS.get(self.attack)
        roles = 2 if attack is None else len({"mismatched", "prior"} & set(attack.controls))
        images = (updates + roles * again) * self.batch_size + (again if self.easy else 0)
        return images * self.restarts * max(1, self.iterations)


@dataclass(frozen=True)
class TimeEstimate:
    """Expected and longest time in seconds, and what they rest on."""

    seconds: float
    at_most: float
    basis: str
    guess: bool = False  # nothing like it was ever measured: neither figure is a bound
    measuring: bool = False  # a measurement runs; ask again in a second


@dataclass(frozen=True)
class Pace:
    """One finished run: image-steps a second, and the share of the allowed iterations that it used."""

    rate: float
    used: float


def estimate_request(
    store: Store,
    *,
    spec: ModelSpec,
    attack: str,
    config: Mapping[str, Any],
    threat: ThreatModel,
    images: int,
    controls: int,
    device: str = "auto",
    measure: bool = True,
) -> TimeEstimate:
    """Time for what a page is about to launch; answers at once.

    config: complete, as `configure` gives it. Where the pace was never measured, a measurement is started in the
    background (unless `measure` is False) and `measuring` is True until it is there.
    """
    known = look_up(ATTACKS, attack, "attack")
    work = Work(
        architecture=spec.architecture,
        attack=attack,
        images=images,
        batch_size=threat.batch_size,
        restarts=int(config.get("restarts", 1)),
        iterations=iterations_of(config),
        controls=controls,
        arguments=spec.arguments,
        height=spec.height,
        easy=easy_case(threat, known.updates) is not None,
    )
    settings = store.settings if device == "auto" else replace(store.settings, device=device)
    return estimate(store, work, pace_of(store, question(settings, spec, attack, config, threat), measure=measure))


def estimate(store: Store, work: Work, pace: Known | None = None) -> TimeEstimate:
    """Time for `work`: at its measured `pace`, else the median of the newest runs like it, else the table's.

    How much of its steps an attack uses is known from runs or from the table alone, else all are expected.
    """
    pace = pace or Known()
    paces = measured(store, work)
    rate, used, known = table_rate(work.architecture, work.arguments, work.attack)
    rate *= (32 / work.height) ** 2
    basis = MEASURED_ON if known else f"a guess: {work.attack} on {work.architecture} was never measured here"
    if paces:
        rate, used = median(p.rate for p in paces), median(p.used for p in paces)
        runs = "the last run" if len(paces) == 1 else f"the last {len(paces)} runs"
        basis = f"measured on {runs} of {work.attack} on {work.architecture} in this store"
    if pace.rate:
        rate, basis = pace.rate, f"measured just for this on this machine ({pace.device})"
    elif pace.problem:
        basis += f"; {pace.problem}"
    return TimeEstimate(
        seconds=COLD_SECONDS + used * work.image_steps / rate,
        at_most=COLD_SECONDS + work.image_steps / rate,
        basis=basis,
        guess=not (pace.rate or paces or known),
        measuring=pace.measuring,
    )


def measured(store: Store, work: Work) -> list[Pace]:
    """The pace of the newest finished runs of this very architecture, image size and attack."""
    jobs, rec = schema.jobs, schema.reconstructions
    with store.database.read() as connection:
        rows = connection.execute(
            select(jobs.c.id, jobs.c.payload, jobs.c.record, jobs.c.started, jobs.c.finished)
            .where(jobs.c.kind == "attack", jobs.c.state == "done", jobs.c.finished > jobs.c.started)
            .order_by(jobs.c.id.desc())
            .limit(NEWEST)
        ).all()
        same = [
            (row, payload)
            for row in rows
            if _seconds(row) >= SHORTEST and _same(payload := json.loads(row.payload), work)
        ][:ENOUGH]
        steps = {
            row.job_id: (int(row.steps or 0), int(row.made))
            for row in connection.execute(
                select(rec.c.job_id, func.sum(rec.c.iterations).label("steps"), func.count().label("made"))
                .where(rec.c.job_id.in_([row.id for row, _ in same]))
                .group_by(rec.c.job_id)
            )
        }
    found = []
    for row, payload in same:
        done, made = steps.get(row.id, (0, 0))
        allowed = made * iterations_of(payload.get("config", {}))
        if done and allowed:
            found.append(Pace(rate=done / _seconds(row), used=min(1.0, done / allowed)))
    return found


def iterations_of(config: Mapping[str, Any]) -> int:
    """The most iterations that a config allows for each restart; 0 where it has no such field."""
    return int(config.get("iterations") or config.get("steps", 0) * config.get("evaluations", 1))


def _seconds(row: Any) -> float:
    """What the workers computed, so that a run's pauses do not count; its whole time where that was not recorded."""
    computed = json.loads(row.record or "{}").get("seconds", 0.0)
    return float(computed) or float(row.finished - row.started)


def _same(payload: Mapping[str, Any], work: Work) -> bool:
    model = payload["model"]
    asked = (work.architecture, dict(work.arguments), work.height, work.attack)
    return (model["architecture"], model["arguments"], model["height"], payload["attack"]) == asked

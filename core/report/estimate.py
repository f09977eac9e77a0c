"""How long an attack will take: from this store's own runs where there are any, else from a small measured table.

The unit of work is an image-step: one iteration on one image of one restart. Controls count like targets.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from sqlalchemy import func, select

from core.report.estimate_table import COLD_SECONDS, MEASURED_ON, RATES, UNKNOWN_RATE
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

    @property
    def image_steps(self) -> int:
        """Image-steps if nothing stops early."""
        updates = -(-self.images // self.batch_size)
        again = min(self.controls, updates)
        return (updates + 2 * again) * self.batch_size * self.restarts * self.iterations


@dataclass(frozen=True)
class TimeEstimate:
    """Expected and longest time in seconds, and what they rest on."""

    seconds: float
    at_most: float
    basis: str
    guess: bool = False  # nothing like it was ever measured: neither figure is a bound


@dataclass(frozen=True)
class Pace:
    """One finished run: image-steps a second, and the share of the allowed iterations that it used."""

    rate: float
    used: float


def estimate(store: Store, work: Work) -> TimeEstimate:
    """Time for `work`: the median pace of the newest runs of this architecture and attack, else the table's."""
    paces = measured(store, work)
    known = (work.architecture, work.attack) in RATES
    if paces:
        rate, used = median(p.rate for p in paces), median(p.used for p in paces)
        runs = "the last run" if len(paces) == 1 else f"the last {len(paces)} runs"
        basis = f"measured on {runs} of {work.attack} on {work.architecture} in this store"
    else:
        rate, used = RATES.get((work.architecture, work.attack), (UNKNOWN_RATE, 1.0))
        basis = MEASURED_ON if known else f"a guess: {work.attack} on {work.architecture} was never measured here"
    longest = COLD_SECONDS + work.image_steps / rate
    seconds = COLD_SECONDS + used * work.image_steps / rate
    return TimeEstimate(seconds=seconds, at_most=longest, basis=basis, guess=not (paces or known))


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

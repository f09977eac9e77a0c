"""What more effort buys: runs of the store that differ from one run in steps and restarts alone, side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from sqlalchemy import select

from core.attacks import ATTACKS
from core.report.evidence import RunVerdict, evidence, run_verdict
from core.report.verdict_records import Threshold
from core.storage.schema import jobs
from core.storage.store import Store

BESIDES = ("controls", "device")  # neither changes what is attacked, nor how


@dataclass(frozen=True)
class EffortPoint:
    """One run of the family. steps: at most, of each restart. score: median over originals by the threshold's metric
    (±inf included), of the `scored` ones; None while nothing is. seconds: what the workers computed, None until it is
    done."""

    run: int
    state: str
    steps: int
    restarts: int
    score: float | None
    scored: int
    judged: RunVerdict
    seconds: float | None

    @property
    def budget(self) -> int:
        """Steps × restarts, of one update."""
        return self.steps * self.restarts


def effort_curve(store: Store, run: int, cut: Threshold) -> tuple[EffortPoint, ...]:
    """The run and all like it, by effort; empty for an attack that more effort does not change."""
    with store.database.read() as connection:
        text = connection.execute(select(jobs.c.payload).where(jobs.c.id == run, jobs.c.kind == "attack")).scalar()
        own = json.loads(text) if text else None
        field = effort_name(own)
        if own is None or not field:
            return ()
        rows = connection.execute(
            select(jobs.c.id, jobs.c.state, jobs.c.payload, jobs.c.record)
            .where(jobs.c.kind == "attack", jobs.c.state != "cancelled")
            .where(*(jobs.c.payload.contains(part, autoescape=True) for part in _words(own)))
            .order_by(jobs.c.id)
        ).all()
    payloads = {row.id: json.loads(row.payload) for row in rows}
    alike = [row for row in rows if _question(payloads[row.id]) == _question(own)]
    newest = {_effort(payloads[row.id], field): row for row in alike if row.id != run}
    newest |= {_effort(own, field): row for row in alike if row.id == run}
    points = [_point(store, row, effort, cut) for effort, row in newest.items()]
    return tuple(sorted(points, key=lambda point: (point.budget, point.steps)))


def effort_name(payload: Mapping[str, Any] | None) -> str:
    """The setting of a run's attack that says how long it tries; "" where there is none."""
    attack = ATTACKS.get(str(payload["attack"])) if payload is not None else None
    return attack.effort if attack is not None else ""


def _words(payload: Mapping[str, Any]) -> tuple[str, ...]:
    """Parts of the canonical JSON that every run of the family holds: they spare reading most of the store."""
    return tuple(f'"{name}":{json.dumps(payload[name])}' for name in ("attack", "seed"))


def _question(payload: Mapping[str, Any]) -> dict[str, Any]:
    """What is asked, without how hard it is tried."""
    effort = {effort_name(payload), "restarts"}
    config = {name: value for name, value in _config(payload).items() if name not in effort}
    return {**{name: value for name, value in payload.items() if name not in BESIDES}, "config": config}


def _effort(payload: Mapping[str, Any], field: str) -> tuple[int, int]:
    config = _config(payload)
    return int(config[field]), int(config.get("restarts", 1))


def _config(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Every setting: a run of an older version may lack some that were added since."""
    return {**asdict(ATTACKS[str(payload["attack"])].config), **payload["config"]}


def _point(store: Store, row: Any, effort: tuple[int, int], cut: Threshold) -> EffortPoint:
    scored = [e.score for e in evidence(store, row.id, cut.metric, {}) if e.role == "attack" and e.score is not None]
    return EffortPoint(
        run=row.id,
        state=row.state,
        steps=effort[0],
        restarts=effort[1],
        score=median(scored) if scored else None,
        scored=len(scored),
        judged=run_verdict(store, row.id, cut),
        seconds=json.loads(row.record or "{}").get("seconds") if row.state == "done" else None,
    )

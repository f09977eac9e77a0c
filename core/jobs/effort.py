"""The same attack with more or less effort: jobs that differ from a run in its steps and restarts alone. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from typing import Any

from sqlalchemy import select

from core.attacks import ATTACKS, configure
from core.attacks.base import Attack
from core.errors import UserError
from core.jobs.payloads import AttackJob, from_json
from core.jobs.queue import Submitted, submit
from core.registry import look_up
from core.storage.schema import jobs
from core.storage.store import Store

FACTORS = (0.25, 0.5, 2.0, 4.0)


def submit_efforts(store: Store, run: int, factors: Sequence[float] = FACTORS) -> list[Submitted]:
    """Queue the run's attack again with its steps (or iterations) multiplied by each of `factors`; one that was asked
    before comes back as `already`. Raises UserError for an unknown run and for an attack that more effort cannot help.
    """
    columns = (jobs.c.payload_type, jobs.c.payload_version, jobs.c.payload, jobs.c.title)
    with store.database.read() as connection:
        row = connection.execute(select(*columns).where(jobs.c.id == run)).first()
    payload = from_json(row.payload_type, row.payload_version, row.payload) if row is not None else None
    if row is None or not isinstance(payload, AttackJob):
        raise UserError(f"There is no run {run} in this store; choose one from the list.")
    submitted = []
    for factor in factors:
        changed = with_effort(payload, factor)
        if changed != payload:
            submitted.append(submit(store, changed, f"{row.title} · {factor:g}× {effort_field(payload.attack)}"[:300]))
    return submitted


def with_effort(payload: AttackJob, factor: float) -> AttackJob:
    """The job with `factor` times its steps, within the attack's limits. UserError where effort changes nothing."""
    name = effort_field(payload.attack)
    attack = look_up(ATTACKS, payload.attack, "attack")
    config = {**asdict(attack.config), **payload.config}
    return replace(payload, config=_clipped(attack, config, name, round(int(config[name]) * factor)))


def effort_field(attack: str) -> str:
    """The setting that says how long the attack tries; UserError where there is none."""
    found = look_up(ATTACKS, attack, "attack")
    if not found.effort:
        raise UserError(f"{found.title} computes its answer at once: more effort changes nothing.")
    return found.effort


def _clipped(attack: Attack, config: dict[str, Any], name: str, steps: int) -> dict[str, Any]:
    limits = next(field.metadata for field in fields(attack.config) if field.name == name)
    low, high = limits.get("minimum"), limits.get("maximum")
    steps = max(steps, 1 if low is None else int(low))
    steps = steps if high is None else min(steps, int(high))
    return asdict(configure(attack.name, {**config, name: steps}))

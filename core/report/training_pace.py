"""How fast victims were trained here so far: what a new training's time is told from. Rows only, no torch."""

import json
import math
from statistics import median

from sqlalchemy import select

from core.models.spec import ModelSpec
from core.storage import schema
from core.storage.store import Store

LOOKED_AT = 50  # trainings, the newest first
EPOCHS = 5  # of each, the newest


def pace_of(store: Store, spec: ModelSpec) -> float | None:
    """Images a second of the newest training of the same architecture, arguments and input; None where none ran.

    The median over its newest epochs: the first one holds the worker's start.
    """
    jobs, epochs = schema.jobs, schema.training_epochs
    statement = select(jobs.c.id, jobs.c.payload).where(jobs.c.kind == "train").order_by(jobs.c.id.desc())
    with store.database.read() as connection:
        for row in connection.execute(statement.limit(LOOKED_AT)).all():
            if not _alike(json.loads(row.payload)["model"], spec):
                continue
            newest = select(epochs.c.facts).where(epochs.c.job_id == row.id).order_by(epochs.c.epoch.desc())
            facts = [json.loads(text) for text in connection.execute(newest.limit(EPOCHS)).scalars()]
            paces = [one["images_per_second"] for one in facts if _positive(one.get("images_per_second"))]
            if paces:
                return float(median(paces))
    return None


def _alike(model: dict[str, object], spec: ModelSpec) -> bool:
    names = ("architecture", "arguments", "channels", "height", "width")
    return all(model.get(name) == getattr(spec, name) for name in names)


def _positive(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and value > 0

"""Scores as rows: NaN is never a number here, it is a reason; infinities survive SQL."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, select
from sqlalchemy.sql.elements import ColumnElement

from core.storage.database import upsert
from core.storage.schema import scores


@dataclass(frozen=True)
class StoredScore:
    """One metric's answer about one pairing or set. value None: not scored, and reason says why."""

    subject_kind: str  # pairing, set
    subject_id: int
    reference: str  # attacked, source
    metric: str
    metric_version: str
    weights_hash: str
    value: float | None  # ±inf is a value
    reason: str = ""


def write_scores(connection: Connection, rows: Sequence[StoredScore]) -> None:
    """Write each score once. One that had only a reason gives way to a later answer; a value stays.

    A reason is not written beside a value of the same version, and never beside another reason.
    """
    now = time.time()
    for row in rows:
        value, special, reason = split_value(row.value, row.reason)
        if row.weights_hash or reason:
            _forget_reason(connection, row)
        if reason and _has_value(connection, row):
            continue
        answer = {"value": value, "special": special, "reason": reason, "created": now}
        statement = upsert(connection, scores).values(
            subject_kind=row.subject_kind,
            subject_id=row.subject_id,
            reference=row.reference,
            metric=row.metric,
            metric_version=row.metric_version,
            weights_hash=row.weights_hash,
            **answer,
        )
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=["subject_kind", "subject_id", "reference", "metric", "metric_version", "weights_hash"],
                set_=answer,
                where=scores.c.value.is_(None) & scores.c.special.is_(None),
            )
        )


def _forget_reason(connection: Connection, row: StoredScore) -> None:
    """Weights were missing when it was tried before, so that row could not name them."""
    valueless = scores.c.value.is_(None) & scores.c.special.is_(None)
    connection.execute(delete(scores).where(*_same(row), valueless))


def _has_value(connection: Connection, row: StoredScore) -> bool:
    """Whether this version scored it before, with whatever weights; what is missing now takes no value away."""
    one = select(scores.c.id).where(*_same(row), scores.c.metric_version == row.metric_version).limit(1)
    return connection.execute(one).first() is not None


def _same(row: StoredScore) -> list[ColumnElement[bool]]:
    return [scores.c[name] == getattr(row, name) for name in ("subject_kind", "subject_id", "reference", "metric")]


def split_value(value: float | None, reason: str) -> tuple[float | None, str | None, str]:
    """(value, special, reason) as columns hold them; raise ValueError for a missing value without a reason."""
    if value is not None and math.isfinite(value):
        return float(value), None, ""
    if value is not None and math.isinf(value):
        return None, "inf" if value > 0 else "-inf", ""
    if not reason:
        raise ValueError("A score that is not a number needs the reason why.")
    return None, None, reason


def score_value(row: Any) -> float | None:
    """The value of a row of table scores, ±inf included; None when there is only a reason."""
    if row.special is not None:
        return float(row.special)
    return None if row.value is None else float(row.value)

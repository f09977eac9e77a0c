"""Scores as rows: NaN is never a number here, it is a reason; infinities survive SQL."""

import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, bindparam, delete, not_, select

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

    A reason is not written beside a value of the same version, and never beside another reason. Rows count one after
    the other, as if each were written alone, but go to the database by the thousand.
    """
    now = time.time()
    rounds: list[dict[_Answer, StoredScore]] = []
    seen: Counter[_Answer] = Counter()
    for row in rows:
        key = _answer(row)
        if seen[key] == len(rounds):
            rounds.append({})
        rounds[seen[key]][key] = row  # a second row about the same answer waits until the first is written
        seen[key] += 1
    for alone in rounds:
        _write_round(connection, list(alone.values()), now)


_Answer = tuple[str, int, str, str]
_ANSWER = ("subject_kind", "subject_id", "reference", "metric")
_KEY = [*_ANSWER, "metric_version", "weights_hash"]
_TOLD = ("value", "special", "reason", "created")
_VALUELESS = and_(scores.c.value.is_(None), scores.c.special.is_(None))


def _answer(row: StoredScore) -> _Answer:
    return row.subject_kind, row.subject_id, row.reference, row.metric


def _write_round(connection: Connection, rows: Sequence[StoredScore], now: float) -> None:
    """Rows about different answers: in a few statements."""
    told = []
    for row in rows:
        value, special, reason = split_value(row.value, row.reason)
        told.append({**{name: getattr(row, name) for name in _KEY}, "value": value, "special": special})
        told[-1] |= {"reason": reason, "created": now}
    outdated = [row for row in told if row["weights_hash"] or row["reason"]]
    _forget_reasons(connection, outdated)
    valued = _valued(connection, [row for row in told if row["reason"]])
    kept = [row for row in told if not row["reason"] or (*_answer_of(row), row["metric_version"]) not in valued]
    if not kept:
        return
    statement = upsert(connection, scores)
    statement = statement.on_conflict_do_update(
        index_elements=_KEY, set_={name: statement.excluded[name] for name in _TOLD}, where=_VALUELESS
    )
    connection.execute(statement, kept)


def _answer_of(row: dict[str, Any]) -> _Answer:
    return row["subject_kind"], row["subject_id"], row["reference"], row["metric"]


def _forget_reasons(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Weights were missing when it was tried before, so that row could not name them."""
    if rows:
        same = [scores.c[name] == bindparam(f"the_{name}") for name in _ANSWER]
        old = [{f"the_{name}": row[name] for name in _ANSWER} for row in rows]
        connection.execute(delete(scores).where(*same, _VALUELESS), old)


def _valued(connection: Connection, rows: Sequence[dict[str, Any]]) -> set[tuple[object, ...]]:
    """(answer, version) of what was scored before, with whatever weights; what is missing now takes no value away."""
    found: set[tuple[object, ...]] = set()
    columns = [scores.c[name] for name in (*_ANSWER, "metric_version")]
    for kind, reference in {(row["subject_kind"], row["reference"]) for row in rows}:
        mine = [row for row in rows if (row["subject_kind"], row["reference"]) == (kind, reference)]
        metrics = {row["metric"] for row in mine}
        subjects = sorted({row["subject_id"] for row in mine})
        for start in range(0, len(subjects), _SUBJECTS):
            asked = (
                scores.c.subject_kind == kind,
                scores.c.subject_id.in_(subjects[start : start + _SUBJECTS]),
                scores.c.reference == reference,
                scores.c.metric.in_(metrics),
                not_(_VALUELESS),
            )
            found.update(tuple(row) for row in connection.execute(select(*columns).where(*asked)))
    return found


_SUBJECTS = 500  # of one question: databases bound the parameters of a statement


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

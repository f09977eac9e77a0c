"""Answers, append-only: an answer, its undo, and who counts are events; no row is ever changed."""

import math
import time
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from core.errors import UserError
from core.labels.events import current_events
from core.labels.protocols import protocol_named
from core.labels.studies import Study, default_study, ensure_item
from core.storage.database import bump
from core.storage.schema import annotators, item_reconstructions, items, label_events
from core.storage.store import Store

LONGEST_EVENT_ID = 64
LARGEST_ID = 2**31 - 1  # of an INTEGER column


@dataclass(frozen=True)
class Recorded:
    """What became of an event."""

    event_id: str
    item: int
    revision: int  # 1 for the first answer of this annotator to this item
    repeated: bool  # the store had this event already


@dataclass(frozen=True)
class Current:
    """An annotator's answer that stands."""

    answer: str
    blind: bool


def answer(
    store: Store,
    *,
    event_id: str,
    study: Study,
    item: int,
    annotator: int,
    answer: str,
    seconds: float | None,
    blind: bool = True,
    simulated: bool = False,
) -> Recorded:
    """Store one answer; the same event_id again is no second answer.

    seconds: from showing the item to the answer. blind: no score was in view; stored as not blind all the same
    when this annotator has answered the item beside its original before.
    Raises UserError for an unknown item, answer or annotator, a closed study, or an event_id of another answer.
    """
    with store.database.write() as connection:
        return _append(
            connection,
            kind="answer",
            event_id=event_id,
            study=study,
            item=item,
            annotator=annotator,
            given=protocol_named(study.protocol).check(answer),
            seconds=_check_seconds(seconds),
            blind=blind,
            simulated=simulated,
        )


def answer_reconstruction(
    store: Store,
    *,
    event_id: str,
    reconstruction: int,
    annotator: int,
    answer: str,
    seconds: float | None = None,
    blind: bool,
) -> Recorded:
    """Store one answer about a reconstruction in the default study; raises as `answer` does."""
    study = default_study(store)
    given = protocol_named(study.protocol).check(answer)
    with store.database.write() as connection:
        return _append(
            connection,
            kind="answer",
            event_id=event_id,
            study=study,
            item=ensure_item(connection, study, reconstruction),
            annotator=annotator,
            given=given,
            seconds=_check_seconds(seconds),
            blind=blind,
            simulated=False,
        )


def undo(store: Store, *, event_id: str, study: Study, annotator: int, item: int | None = None) -> Recorded | None:
    """Take back this annotator's answer to `item` (None: their latest answer in the study).

    The item is unanswered again. Returns None when there is nothing to take back.
    """
    with store.database.write() as connection:
        simulated = _annotator_is_simulated(connection, annotator)
        known = _known_event(connection, event_id, annotator, item, "undo")
        if known is not None:
            return known
        standing = current_events(study_id=study.id, annotator_id=annotator).order_by(label_events.c.id.desc())
        if item is not None:
            standing = standing.where(label_events.c.item_id == item)
        last = connection.execute(standing.limit(1)).first()
        if last is None:
            return None
        return _append(
            connection,
            kind="undo",
            event_id=event_id,
            study=study,
            item=last.item_id,
            annotator=annotator,
            given=None,
            seconds=None,
            blind=last.blind,
            simulated=simulated,
        )


def set_excluded(store: Store, *, event_id: str, annotator: int, excluded: bool, study: Study | None = None) -> None:
    """Leave this annotator's answers out of recognition rates (of one study, or of all), or take them in again."""
    _check_event_id(event_id)
    with store.database.write() as connection:
        kind = "exclude" if excluded else "include"
        if connection.execute(select(label_events.c.id).where(label_events.c.event_id == event_id)).first():
            return
        row = {
            "event_id": event_id,
            "kind": kind,
            "study_id": study.id if study else None,
            "annotator_id": annotator,
            "protocol_version": study.protocol_version if study else 0,
            "blind": True,
            "simulated": _annotator_is_simulated(connection, annotator),
            "revision": 1,
            "created": time.time(),
        }
        connection.execute(label_events.insert().values(**row))
        bump(connection, "labels")


def current_answers(store: Store, study: Study, annotator: int) -> dict[int, Current]:
    """This annotator's standing answers, by reconstruction id."""
    current = current_events(study_id=study.id, annotator_id=annotator).subquery()
    query = (
        select(item_reconstructions.c.reconstruction_id, current.c.answer, current.c.blind)
        .join(current, current.c.item_id == item_reconstructions.c.item_id)
        .where(item_reconstructions.c.slot == 0)
    )
    with store.database.read() as connection:
        return {row.reconstruction_id: Current(row.answer, bool(row.blind)) for row in connection.execute(query)}


def _append(
    connection: Connection,
    *,
    kind: str,
    event_id: str,
    study: Study,
    item: int,
    annotator: int,
    given: str | None,
    seconds: float | None,
    blind: bool,
    simulated: bool,
) -> Recorded:
    known = _known_event(connection, event_id, annotator, item, kind)
    if known is not None:
        return known
    if study.state != "open":
        raise UserError(f"The study {study.name!r} is closed; no more answers are taken.")
    if not isinstance(item, int) or isinstance(item, bool) or not 0 < item <= LARGEST_ID:
        raise UserError(f"The study {study.name!r} has no item {str(item)[:40]!r}; reload the page.")
    in_study = select(items.c.id).where(items.c.id == item, items.c.study_id == study.id)
    if connection.execute(in_study).first() is None:
        raise UserError(f"The study {study.name!r} has no item {item}; reload the page.")
    if _annotator_is_simulated(connection, annotator) != simulated:
        raise UserError("A person's answer and a simulated one cannot share an annotator; use another name.")
    about = (label_events.c.item_id == item, label_events.c.annotator_id == annotator)
    before = connection.execute(select(func.max(label_events.c.revision)).where(*about)).scalar() or 0
    if kind == "answer" and blind:  # whoever answered beside the original knows it, even once that answer is undone
        informed = select(label_events.c.id).where(*about, label_events.c.kind == "answer", ~label_events.c.blind)
        blind = connection.execute(informed.limit(1)).first() is None
    row = {
        "event_id": event_id,
        "kind": kind,
        "study_id": study.id,
        "item_id": item,
        "annotator_id": annotator,
        "protocol_version": study.protocol_version,
        "answer": given,
        "seconds": seconds,
        "blind": blind,
        "simulated": simulated,
        "revision": before + 1,
        "created": time.time(),
    }
    connection.execute(label_events.insert().values(**row))
    bump(connection, "labels")
    return Recorded(event_id, item, before + 1, repeated=False)


def _known_event(connection: Connection, event_id: str, annotator: int, item: int | None, kind: str) -> Recorded | None:
    _check_event_id(event_id)
    row = connection.execute(select(label_events).where(label_events.c.event_id == event_id)).first()
    if row is None:
        return None
    if row.annotator_id != annotator or row.kind != kind or (item is not None and row.item_id != item):
        raise UserError("The id of this answer belongs to another answer already; reload the page and answer again.")
    return Recorded(event_id, row.item_id, row.revision, repeated=True)


def _annotator_is_simulated(connection: Connection, annotator: int) -> bool:
    row = connection.execute(select(annotators.c.simulated).where(annotators.c.id == annotator)).first()
    if row is None:
        raise UserError(f"There is no annotator {annotator}; give your name first.")
    return bool(row.simulated)


def _check_event_id(event_id: str) -> None:
    if not isinstance(event_id, str) or not 1 <= len(event_id) <= LONGEST_EVENT_ID:
        raise UserError(f"An answer's id has 1 to {LONGEST_EVENT_ID} characters; reload the page and answer again.")


def _check_seconds(seconds: float | None) -> float | None:
    if seconds is not None and not (math.isfinite(seconds) and seconds >= 0):
        raise UserError(f"The seconds of an answer are a number of at least 0, not {seconds!r}.")
    return seconds

"""The projection of the append-only label events to what is true now."""

from sqlalchemy import ColumnElement, Select, and_, func, or_, select

from core.storage.schema import label_events


def current_events(
    *, study_id: int | None = None, annotator_id: int | None = None, blind_only: bool = False
) -> Select[tuple[int, int, int, str, bool]]:
    """One row (id, item_id, annotator_id, answer, blind) for each item and annotator with an answer that stands.

    The last event of an annotator about an item decides; an undo takes the answer back. With blind_only, answers
    given with the scores in view are passed over, so an earlier blind answer still stands, and an undo still counts.
    """
    kinds: list[ColumnElement[bool]] = [label_events.c.kind.in_(("answer", "undo"))]
    if blind_only:
        kinds.append(or_(label_events.c.blind, label_events.c.kind == "undo"))
    if study_id is not None:
        kinds.append(label_events.c.study_id == study_id)
    if annotator_id is not None:
        kinds.append(label_events.c.annotator_id == annotator_id)
    last = (
        select(func.max(label_events.c.id).label("id"))
        .where(and_(*kinds))
        .group_by(label_events.c.item_id, label_events.c.annotator_id)
        .subquery()
    )
    columns = (
        label_events.c.id,
        label_events.c.item_id,
        label_events.c.annotator_id,
        label_events.c.answer,
        label_events.c.blind,
    )
    return select(*columns).join(last, last.c.id == label_events.c.id).where(label_events.c.kind == "answer")

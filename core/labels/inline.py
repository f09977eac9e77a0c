"""Answers given beside the original, on a card: by name, stored at once, never blind."""

from uuid import uuid4

from core.labels.annotators import annotator_id
from core.labels.answers import Recorded, answer_reconstruction, undo
from core.labels.studies import default_study, ensure_item
from core.storage.store import Store


def answer_inline(store: Store, reconstruction: int, name: str, answer: str | None) -> Recorded | None:
    """Store the answer of the annotator called `name`, as not blind; None takes the standing answer back.

    Raises UserError for a bad name, an unknown answer or a reconstruction that people do not judge.
    """
    annotator = annotator_id(store, name)
    event = uuid4().hex
    if answer is not None:
        return answer_reconstruction(
            store, event_id=event, reconstruction=reconstruction, annotator=annotator, answer=answer, blind=False
        )
    study = default_study(store)
    with store.database.write() as connection:
        item = ensure_item(connection, study, reconstruction)
    return undo(store, event_id=event, study=study, annotator=annotator, item=item)

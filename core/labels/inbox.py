"""What a browser sends: a batch of answers and undos, taken in once each however often it comes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from core.errors import UserError
from core.labels.answers import LONGEST_EVENT_ID, answer, undo
from core.labels.studies import Study
from core.storage.schema import label_events
from core.storage.store import Store

LARGEST_BATCH = 500  # an outbox that waits longer is sent in parts


@dataclass(frozen=True)
class Receipt:
    """What the browser may forget, and what it must know."""

    acknowledged: tuple[str, ...] = ()  # stored, or refused for good
    returned: Mapping[str, int] = field(default_factory=dict)  # event id of an undo -> the item it brought back
    problem: str = ""  # one sentence: why something was refused, or not stored yet


def take_in(store: Store, study: Study, annotator: int, batch: Any) -> Receipt:
    """Store the events of `batch`, which comes from a browser and is believed in nothing.

    batch: list of {"id", "kind": "answer" | "undo", "item", "answer", "seconds"}. What can never be stored is
    acknowledged with a sentence; what failed because the database is away is not, and will be sent again.
    """
    events = [event for event in batch if _is_event(event)][:LARGEST_BATCH] if isinstance(batch, list) else []
    known = _known(store, annotator, [event["id"] for event in events])
    acknowledged: list[str] = []
    returned: dict[str, int] = {}
    problem = ""
    for event in events:
        if event["id"] in known:
            acknowledged.append(event["id"])
            if event.get("kind") == "undo":
                returned[event["id"]] = known[event["id"]]
            continue
        try:
            brought_back = _store(store, study, annotator, event)
        except UserError as error:
            problem = str(error)
        except OperationalError:
            problem = "The answers cannot be stored at the moment; they wait in this tab and are sent again."
            break
        else:
            if brought_back is not None:
                returned[event["id"]] = brought_back
        acknowledged.append(event["id"])
    return Receipt(tuple(acknowledged), returned, problem)


def _is_event(event: Any) -> bool:
    return isinstance(event, dict) and isinstance(event.get("id"), str) and 1 <= len(event["id"]) <= LONGEST_EVENT_ID


def _known(store: Store, annotator: int, ids: list[str]) -> dict[str, int]:
    if not ids:
        return {}
    query = select(label_events.c.event_id, label_events.c.item_id).where(
        label_events.c.event_id.in_(ids), label_events.c.annotator_id == annotator
    )
    with store.database.read() as connection:
        return {row.event_id: row.item_id for row in connection.execute(query)}


def _store(store: Store, study: Study, annotator: int, event: dict[str, Any]) -> int | None:
    if event.get("kind") == "undo":
        taken = undo(store, event_id=event["id"], study=study, annotator=annotator, item=_item(event.get("item")))
        return taken.item if taken else None
    answer(
        store,
        event_id=event["id"],
        study=study,
        item=event.get("item"),  # type: ignore[arg-type]  # answer() refuses what is no item's id
        annotator=annotator,
        answer=event.get("answer"),  # type: ignore[arg-type]  # as above
        seconds=_seconds(event.get("seconds")),
    )
    return None


def _seconds(value: Any) -> float | None:
    try:
        return float(value) if isinstance(value, int | float) else None
    except OverflowError:  # an integer of hundreds of digits: no time at all
        return None


def _item(value: Any) -> int | None:
    if value is None or (isinstance(value, int) and 0 < value < 2**31):
        return value
    raise UserError("The undo names no item; reload the page.")

"""What a browser sends is believed in nothing, stored once, and acknowledged only when it may be forgotten."""

from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError

from core.labels import inbox
from core.labels.annotators import annotator_id
from core.labels.inbox import Receipt, take_in
from core.labels.studies import Study, default_study, next_items, progress
from core.storage import schema
from core.storage.store import Store
from tests.filled_store import Filled


@pytest.fixture
def setting(store: Store, filled: Filled) -> tuple[Study, int, list[int]]:
    """The default study, an annotator, and three items."""
    study, ana = default_study(store), annotator_id(store, "Ana")
    return study, ana, [item.id for item in next_items(store, study, ana, 3)]


def said(event_id: str, item: Any, given: Any = "yes") -> dict[str, Any]:
    return {"id": event_id, "kind": "answer", "item": item, "answer": given, "seconds": 0.4}


def stored(store: Store) -> int:
    with store.database.read() as connection:
        return connection.execute(select(func.count()).select_from(schema.label_events)).scalar_one()


def test_a_batch_is_stored_once_however_often_it_comes(store: Store, setting: tuple[Study, int, list[int]]) -> None:
    study, ana, (first, second, _) = setting
    batch = [said("a", first), said("b", second, "no"), {"id": "c", "kind": "undo", "item": second}]
    once = take_in(store, study, ana, batch)
    assert once == Receipt(("a", "b", "c"), {"c": second})
    assert take_in(store, study, ana, batch) == once
    assert stored(store) == 3
    assert progress(store, study, ana).answered == 1


def test_undo_without_an_item_brings_the_last_one_back(store: Store, setting: tuple[Study, int, list[int]]) -> None:
    study, ana, (first, second, _) = setting
    take_in(store, study, ana, [said("a", first), said("b", second)])
    assert take_in(store, study, ana, [{"id": "u", "kind": "undo", "item": None}]).returned == {"u": second}


@pytest.mark.parametrize("batch", [None, "text", 7, {"id": "a"}, [None, 3, "x", [], {}, {"id": 5}, {"id": "x" * 65}]])
def test_what_is_no_batch_does_nothing(store: Store, setting: tuple[Study, int, list[int]], batch: Any) -> None:
    study, ana, _ = setting
    assert take_in(store, study, ana, batch) == Receipt()
    assert stored(store) == 0


@pytest.mark.parametrize(
    "event",
    [
        {"id": "e"},
        said("e", 99_999),
        said("e", "1; drop table items"),
        said("e", [1]),
        said("e", True),
        {"id": "e", "kind": "undo", "item": "x"},
        {"id": "e", "kind": "undo", "item": 10**40},
    ],
)
def test_what_can_never_be_stored_is_refused_in_a_sentence(
    store: Store, setting: tuple[Study, int, list[int]], event: dict[str, Any]
) -> None:
    study, ana, (first, _, _) = setting
    receipt = take_in(store, study, ana, [event, said("good", first)])
    assert receipt.acknowledged == ("e", "good")  # the browser may forget it, and the next one is not held up
    assert receipt.problem.endswith(".")
    assert stored(store) == 1


@pytest.mark.parametrize("given", ["perhaps", None, ["yes"], {"a": 1}, 1])
def test_an_unknown_answer_is_refused(store: Store, setting: tuple[Study, int, list[int]], given: Any) -> None:
    study, ana, (first, _, _) = setting
    receipt = take_in(store, study, ana, [said("e", first, given)])
    assert "one of yes, no, unsure" in receipt.problem
    assert stored(store) == 0


def test_an_answer_that_the_database_did_not_take_is_not_acknowledged(
    store: Store, setting: tuple[Study, int, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """bad-input-39: the database is locked."""
    study, ana, (first, second, third) = setting
    true_answer = inbox.answer

    def locked_at_second(*args: Any, **kwargs: Any) -> Any:
        if kwargs["event_id"] == "b":
            raise OperationalError("INSERT", {}, Exception("database is locked"))
        return true_answer(*args, **kwargs)

    batch = [said("a", first), said("b", second), said("c", third)]
    monkeypatch.setattr(inbox, "answer", locked_at_second)
    receipt = take_in(store, study, ana, batch)
    assert receipt.acknowledged == ("a",)  # order is kept: nothing overtakes the one that failed
    assert "sent again" in receipt.problem
    monkeypatch.setattr(inbox, "answer", true_answer)
    assert take_in(store, study, ana, batch).acknowledged == ("a", "b", "c")
    assert stored(store) == 3


def test_seconds_beyond_every_float_are_no_seconds(store: Store, setting: tuple[Study, int, list[int]]) -> None:
    study, ana, (first, _, _) = setting
    event = said("a", first) | {"seconds": 10**400}
    assert take_in(store, study, ana, [event]) == Receipt(("a",))
    with store.database.read() as connection:
        assert connection.execute(select(schema.label_events.c.seconds)).scalar_one() is None

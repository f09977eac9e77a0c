"""Answers are events: appended once, taken back by an event, refused in one sentence."""

from uuid import uuid4

import pytest
from sqlalchemy import func, select

from core.errors import UserError
from core.labels.annotators import annotator_id
from core.labels.answers import answer, answer_reconstruction, current_answers, set_excluded, undo
from core.labels.protocols import PROTOCOLS
from core.labels.recognition import Recognition, recognition
from core.labels.studies import Study, default_study, find_study, next_items, progress
from core.storage import schema
from core.storage.database import change
from core.storage.store import Store
from tests.filled_store import Filled


def say(store: Store, who: str, reconstruction: int, given: str, *, blind: bool = True, event_id: str = "") -> None:
    answer_reconstruction(
        store,
        event_id=event_id or uuid4().hex,
        reconstruction=reconstruction,
        annotator=annotator_id(store, who),
        answer=given,
        blind=blind,
    )


def events(store: Store) -> int:
    with store.database.read() as connection:
        return connection.execute(select(func.count()).select_from(schema.label_events)).scalar_one()


def item_of(store: Store, study: Study, annotator: int) -> int:
    return next_items(store, study, annotator, 1)[0].id


def test_every_protocol_has_distinct_keys_and_answers() -> None:
    for protocol in PROTOCOLS.values():
        keys = [key for choice in protocol.choices for key in choice.keys] + list(protocol.undo_keys)
        assert len(keys) == len(set(keys))
        assert protocol.recognised <= {choice.value for choice in protocol.choices}


def test_a_retry_is_no_second_answer(store: Store, filled: Filled) -> None:
    say(store, "Ana", filled.reconstructions[0], "yes", event_id="once")
    with store.database.read() as connection:
        before = change(connection, "labels")
    say(store, "Ana", filled.reconstructions[0], "yes", event_id="once")
    assert events(store) == 1
    with store.database.read() as connection:
        assert change(connection, "labels") == before  # nothing happened, so no page needs to redraw


def test_revisions_count_and_the_last_answer_stands(store: Store, filled: Filled) -> None:
    study, ana = default_study(store), annotator_id(store, "Ana")
    item = item_of(store, study, ana)
    revisions = [
        answer(store, event_id=f"e{i}", study=study, item=item, annotator=ana, answer=given, seconds=0.5).revision
        for i, given in enumerate(["yes", "no", "unsure"])
    ]
    assert revisions == [1, 2, 3]
    assert [current.answer for current in current_answers(store, study, ana).values()] == ["unsure"]
    assert events(store) == 3


def test_undo_takes_the_last_answer_back_and_the_item_returns(store: Store, filled: Filled) -> None:
    study, ana = default_study(store), annotator_id(store, "Ana")
    first, second = next_items(store, study, ana, 2)
    for item in (first, second):
        answer(store, event_id=f"e{item.id}", study=study, item=item.id, annotator=ana, answer="yes", seconds=1)
    taken = undo(store, event_id="u1", study=study, annotator=ana)
    assert taken is not None
    assert taken.item == second.id
    assert undo(store, event_id="u1", study=study, annotator=ana) == taken.__class__("u1", second.id, 2, repeated=True)
    assert next_items(store, study, ana, 1)[0] == second
    assert undo(store, event_id="u2", study=study, annotator=ana, item=first.id) is not None
    assert undo(store, event_id="u3", study=study, annotator=ana) is None  # nothing stands any more
    assert progress(store, study, ana).answered == 0


@pytest.mark.parametrize(
    ("change_to", "match"),
    [
        ({"answer": "perhaps"}, "one of yes, no, unsure"),
        ({"item": 9999}, "no item"),
        ({"item": 10**30}, "no item"),
        ({"item": "1"}, "no item"),
        ({"annotator": 9999}, "no annotator"),
        ({"seconds": float("nan")}, "seconds"),
        ({"seconds": -1.0}, "seconds"),
        ({"event_id": ""}, "id has 1 to 64"),
        ({"event_id": "x" * 10_000}, "id has 1 to 64"),
        ({"simulated": True}, "simulated"),
    ],
)
def test_a_bad_answer_is_refused_and_nothing_is_stored(
    store: Store, filled: Filled, change_to: dict[str, object], match: str
) -> None:
    study, ana = default_study(store), annotator_id(store, "Ana")
    good = {"event_id": "e", "item": item_of(store, study, ana), "annotator": ana, "answer": "yes", "seconds": 1.0}
    with pytest.raises(UserError, match=match):
        answer(store, study=study, **(good | change_to))
    assert events(store) == 0


def test_controls_and_unknown_reconstructions_are_not_labelled(store: Store, filled: Filled) -> None:
    for reconstruction in (filled.controls[0], 9999):
        with pytest.raises(UserError, match=f"no reconstruction {reconstruction}"):
            say(store, "Ana", reconstruction, "yes")


def test_an_event_id_of_another_answer_is_refused(store: Store, filled: Filled) -> None:
    say(store, "Ana", filled.reconstructions[0], "yes", event_id="mine")
    with pytest.raises(UserError, match="another answer"):
        say(store, "Ben", filled.reconstructions[0], "no", event_id="mine")


def test_a_closed_study_takes_no_answers(store: Store, filled: Filled) -> None:
    study, ana = default_study(store), annotator_id(store, "Ana")
    item = item_of(store, study, ana)
    with store.database.write() as connection:
        connection.execute(schema.studies.update().values(state="closed"))
    with pytest.raises(UserError, match="closed"):
        answer(
            store, event_id="e", study=find_study(store, "default"), item=item, annotator=ana, answer="yes", seconds=1
        )


def test_an_unknown_study_is_named_in_one_sentence(store: Store) -> None:
    default_study(store)
    for name in ("../etc", "x" * 10_000, ""):
        with pytest.raises(UserError, match="known: default") as caught:
            find_study(store, name)
        assert len(str(caught.value)) < 200


def test_rates_count_people_who_are_neither_simulated_nor_excluded(store: Store, filled: Filled) -> None:
    target = filled.reconstructions[0]
    for who, given in (("Ana", "yes"), ("Ben", "unsure"), ("Cem", "no"), ("Dia", "yes")):
        say(store, who, target, given)
    robot = annotator_id(store, "robot", simulated=True)
    study = default_study(store)
    item = item_of(store, study, robot)
    answer(store, event_id="r", study=study, item=item, annotator=robot, answer="yes", seconds=0, simulated=True)
    assert recognition(store) == {target: Recognition(2, 4)}  # unsure counts as not recognised
    ben = annotator_id(store, "Ben")
    set_excluded(store, event_id="x1", annotator=ben, excluded=True)
    assert recognition(store)[target] == Recognition(2, 3)
    assert recognition(store)[target].recognisable is True  # 2 of 3 is above one half
    set_excluded(store, event_id="x2", annotator=ben, excluded=False)
    assert recognition(store)[target].recognisable is False  # 2 of 4 is not above one half
    assert events(store) == 7


def test_fewer_than_three_answers_leave_it_undetermined(store: Store, filled: Filled) -> None:
    say(store, "Ana", filled.reconstructions[1], "yes")
    say(store, "Ben", filled.reconstructions[1], "yes")
    found = recognition(store, [filled.reconstructions[1]])[filled.reconstructions[1]]
    assert (found.rate, found.recognisable) == (1.0, None)


def test_answers_with_scores_in_view_are_left_out_unless_asked_for(store: Store, filled: Filled) -> None:
    seen, both = filled.reconstructions[0], filled.reconstructions[1]
    say(store, "Ana", seen, "yes", blind=False)
    say(store, "Ana", both, "no")
    say(store, "Ana", both, "yes", blind=False)  # changed her mind once she saw the scores
    assert recognition(store) == {both: Recognition(0, 1)}
    assert recognition(store, blind_only=False) == {seen: Recognition(1, 1), both: Recognition(1, 1)}


def test_an_undone_answer_counts_nowhere(store: Store, filled: Filled) -> None:
    say(store, "Ana", filled.reconstructions[0], "yes")
    undo(store, event_id="u", study=default_study(store), annotator=annotator_id(store, "Ana"))
    assert recognition(store) == {}
    assert recognition(store, blind_only=False) == {}


def test_who_saw_the_original_once_is_never_blind_to_that_item_again(store: Store, filled: Filled) -> None:
    target, other = filled.reconstructions[:2]
    study, ana = default_study(store), annotator_id(store, "Ana")
    say(store, "Ana", target, "yes", blind=False)
    undo(store, event_id="u", study=study, annotator=ana)
    assert target in [item.reconstruction_id for item in next_items(store, study, ana, 100)]  # served again
    for reconstruction in (target, other):
        say(store, "Ana", reconstruction, "no")
    say(store, "Ben", target, "no")  # what Ana saw is nothing to him
    assert {r: c.blind for r, c in current_answers(store, study, ana).items()} == {target: False, other: True}
    assert recognition(store) == {target: Recognition(0, 1), other: Recognition(0, 1)}

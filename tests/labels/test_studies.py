"""The default study: every chosen reconstruction, each annotator in an order of their own."""

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

from sqlalchemy import func, select

from core.labels.annotators import annotator_id
from core.labels.answers import answer
from core.labels.studies import Item, StudyProgress, default_study, next_items, progress
from core.storage import schema
from core.storage.store import Store
from tests.filled_store import Filled


def test_the_default_study_is_made_once(store: Store) -> None:
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: default_study(store), range(8)))
    assert len({study.id for study in made}) == 1
    with store.database.read() as connection:
        assert connection.execute(select(func.count()).select_from(schema.studies)).scalar_one() == 1


def test_an_empty_store_has_nothing_to_judge(store: Store) -> None:
    study, ana = default_study(store), annotator_id(store, "Ana")
    assert next_items(store, study, ana, 8) == []
    assert progress(store, study, ana) == StudyProgress(0, 0)


def test_every_chosen_reconstruction_comes_once_and_no_control(store: Store, filled: Filled) -> None:
    study, ana = default_study(store), annotator_id(store, "Ana")
    shown: list[Item] = []
    while batch := next_items(store, study, ana, 5):
        shown += batch
        for item in batch:
            answer(store, event_id=uuid4().hex, study=study, item=item.id, annotator=ana, answer="no", seconds=1)
    assert sorted(item.reconstruction_id for item in shown) == sorted(filled.reconstructions)
    assert progress(store, study, ana) == StudyProgress(12, 12)


def test_what_the_prior_makes_alone_is_judged_too(store: Store, filled: Filled) -> None:
    table = schema.reconstructions
    with store.database.write() as connection:
        connection.execute(table.update().where(table.c.id == filled.controls[0]).values(role="prior"))
    study, ana = default_study(store), annotator_id(store, "Ana")
    shown = {item.reconstruction_id for item in next_items(store, study, ana, 99)}
    assert shown == {*filled.reconstructions, filled.controls[0]}


def test_the_order_is_seeded_and_differs_between_annotators(store: Store, filled: Filled) -> None:
    study = default_study(store)
    ana, ben = annotator_id(store, "Ana"), annotator_id(store, "Ben")
    first = [item.id for item in next_items(store, study, ana, 12)]
    assert [item.id for item in next_items(store, study, ana, 12)] == first
    other = [item.id for item in next_items(store, study, ben, 12)]
    assert sorted(other) == sorted(first)
    assert other != first  # 12! orders: equal by chance once in 479 million
    by_reconstruction = [item.reconstruction_id for item in next_items(store, study, ana, 12)]
    assert by_reconstruction != sorted(by_reconstruction)


def test_the_next_items_do_not_depend_on_how_many_are_asked_for(store: Store, filled: Filled) -> None:
    study, ana = default_study(store), annotator_id(store, "Ana")
    assert next_items(store, study, ana, 3) == next_items(store, study, ana, 9)[:3]


def test_two_tabs_asking_at_once_make_each_item_once(store: Store, filled: Filled) -> None:
    study, ana = default_study(store), annotator_id(store, "Ana")
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: next_items(store, study, ana, 12), range(4)))
    assert all(batch == answers[0] for batch in answers)
    with store.database.read() as connection:
        assert connection.execute(select(func.count()).select_from(schema.items)).scalar_one() == 12

"""What people said about a run's reconstructions, as sorts and filters ask for it; kept until a label changes."""

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

from sqlalchemy import select

from core.labels.answers import current_answers
from core.labels.recognition import Recognition, recognition
from core.labels.studies import default_study
from core.report.records import Query
from core.storage import schema
from core.storage.database import change
from core.storage.store import Store

FEWEST_TO_AGREE = 2  # one answer agrees with itself; that is no agreement
KEPT = 4

_known: OrderedDict[tuple[str, int], dict[int, Recognition]] = OrderedDict()
_lock = Lock()


def everyones(store: Store) -> dict[int, Recognition]:
    """Recognition by reconstruction, answers given beside the original included."""
    with store.database.read() as connection:
        asked = (str(store.database.url), change(connection, "labels"))
    with _lock:
        if asked in _known:
            return _known[asked]
    found = recognition(store, blind_only=False)
    with _lock:
        _known[asked] = found
        while len(_known) > KEPT:
            _known.popitem(last=False)
    return found


def agreement(said: Recognition) -> float | None:
    """Share of the answers with the majority, recognised or not, 0.5 to 1; None with fewer than two answers."""
    if said.answers < FEWEST_TO_AGREE:
        return None
    return max(said.recognised, said.answers - said.recognised) / said.answers


def contested(said: Recognition) -> bool:
    """Whether annotators disagree: some recognised it, and some did not."""
    return 0 < said.recognised < said.answers


def answers_of(store: Store, annotator: str) -> dict[int, str]:
    """The standing answers of the annotator of this name in the default study, by reconstruction; none if unknown."""
    with store.database.read() as connection:
        found = connection.execute(select(schema.annotators.c.id).where(schema.annotators.c.name == annotator)).scalar()
    if found is None:
        return {}
    return {key: given.answer for key, given in current_answers(store, default_study(store), int(found)).items()}


def accepted(store: Store, query: Query) -> Callable[[int], bool] | None:
    """Whether a reconstruction passes the label filter; None where all do."""
    if query.label == "any":
        return None
    if query.label in ("answered", "unanswered"):
        mine = answers_of(store, query.annotator)
        return lambda i: (i in mine) == (query.label == "answered")
    said = everyones(store)
    if query.label == "contested":
        return lambda i: i in said and contested(said[i])
    wanted = {"recognisable": True, "not recognisable": False, "undetermined": None}[query.label]
    return lambda i: (said[i].recognisable if i in said else None) is wanted


def sort_key(store: Store, sort: str) -> Callable[[int], float | None]:
    """The value of a sort by people: recognition rate, number of answers, or agreement; None without answers."""
    said = everyones(store)
    if sort == "rate":
        return lambda i: said[i].rate if i in said else None
    if sort == "answers":
        return lambda i: said[i].answers if i in said else 0
    return lambda i: agreement(said[i]) if i in said else None

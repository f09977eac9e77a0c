"""Studies and their items: what is shown to whom, in which order."""

import hashlib
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Select, and_, exists, func, select

from core.errors import UserError
from core.labels.events import current_events
from core.labels.protocols import protocol_named
from core.storage.database import bump, insert_once
from core.storage.schema import item_reconstructions, items, reconstructions, studies
from core.storage.store import Store

DEFAULT_STUDY = "default"
EVERYTHING = "every chosen reconstruction"  # sampling: items are made when they are first handed out


@dataclass(frozen=True)
class Study:
    """A named set of items with a protocol and its wording."""

    id: int
    name: str
    protocol: str
    protocol_version: int
    wording: str
    overlap: int  # answers wanted for each item
    state: str  # open, closed
    sampling: str
    seed: int


@dataclass(frozen=True)
class Item:
    """One thing to judge: it shows one reconstruction."""

    id: int
    reconstruction_id: int
    image_sha: str


@dataclass(frozen=True)
class StudyProgress:
    """How far one annotator is in a study."""

    answered: int
    total: int


def find_study(store: Store, name: str) -> Study:
    """The study called `name`; raise UserError if there is none."""
    with store.database.read() as connection:
        row = connection.execute(select(studies).where(studies.c.name == name)).first()
        known = connection.execute(select(studies.c.name).order_by(studies.c.name).limit(5)).scalars().all()
    if row is None:
        hint = f"known: {', '.join(known)}." if known else "none exists yet."
        raise UserError(f"There is no study called {name[:80]!r}; {hint}")
    config = json.loads(row.config)
    return Study(
        id=row.id,
        name=row.name,
        protocol=row.protocol,
        protocol_version=row.protocol_version,
        wording=row.wording,
        overlap=row.overlap,
        state=row.state,
        sampling=config["sampling"],
        seed=config["seed"],
    )


def default_study(store: Store) -> Study:
    """The open study over all that people judge (see `labelled_role`), made at the first call."""
    query = select(studies.c.id).where(studies.c.name == DEFAULT_STUDY)
    with store.database.read() as connection:
        missing = connection.execute(query).first() is None
    if missing:
        protocol = protocol_named("recognisable")
        row = {
            "name": DEFAULT_STUDY,
            "protocol": protocol.name,
            "protocol_version": protocol.version,
            "wording": protocol.wording,
            "overlap": 3,  # the fewest answers that make an image recognisable or not
            "state": "open",
            "config": json.dumps({"sampling": EVERYTHING, "seed": 0}, sort_keys=True),
            "created": time.time(),
        }
        with store.database.write() as connection:
            if insert_once(connection, studies, [row]):
                bump(connection, "studies")
    return find_study(store, DEFAULT_STUDY)


def labelled_role() -> ColumnElement[bool]:
    """The reconstructions that people judge: what the attack chose, and what it made without the update.

    The prior's images tell how often people recognise what cannot be a leak. A mismatched gradient's are left out:
    they may show its donor as clearly as can be, which "recognisable?" cannot tell from the original.
    """
    return and_(reconstructions.c.chosen, reconstructions.c.role.in_(("attack", "prior")))


def ensure_item(connection: Connection, study: Study, reconstruction_id: int) -> int:
    """The item of `study` that shows this reconstruction, made if it is missing (inside a write transaction).

    Raises UserError for a reconstruction that does not exist or that nobody judges (see `labelled_role`).
    """
    found = _items_of(connection, study, [reconstruction_id])
    if not found:
        judged = select(reconstructions.c.id).where(labelled_role(), reconstructions.c.id == reconstruction_id)
        if connection.execute(judged).first() is None:
            raise UserError(f"There is no reconstruction {reconstruction_id} to label; reload the page.")
        _make_items(connection, study, [reconstruction_id])
        found = _items_of(connection, study, [reconstruction_id])
    return found[reconstruction_id]


def next_items(store: Store, study: Study, annotator: int, count: int) -> list[Item]:
    """Up to `count` items that this annotator has not answered, in an order of their own.

    The order is seeded by study, annotator and reconstruction, so it survives restarts and new reconstructions.
    """
    with store.database.read() as connection:
        waiting = _unanswered(connection, study, annotator)
        waiting.sort(key=lambda pair: _rank(study.seed, annotator, pair[0]))
        wanted = dict(waiting[:count])
        known = _items_of(connection, study, wanted)
    missing = [reconstruction for reconstruction in wanted if reconstruction not in known]
    if missing:
        with store.database.write() as connection:
            _make_items(connection, study, missing)
            known |= _items_of(connection, study, missing)
    return [Item(known[reconstruction], reconstruction, sha) for reconstruction, sha in wanted.items()]


def progress(store: Store, study: Study, annotator: int) -> StudyProgress:
    """How many of the study's items this annotator has answered, and how many there are."""
    current = current_events(study_id=study.id, annotator_id=annotator).subquery()
    with store.database.read() as connection:
        answered = connection.execute(select(func.count()).select_from(current)).scalar_one()
        total = connection.execute(_population(study).with_only_columns(func.count())).scalar_one()
    return StudyProgress(answered=answered, total=total)


def _population(study: Study) -> Select[tuple[int, str]]:
    query = select(reconstructions.c.id, reconstructions.c.image_sha)
    if study.sampling == EVERYTHING:
        return query.where(labelled_role())
    listed = and_(
        item_reconstructions.c.reconstruction_id == reconstructions.c.id,
        item_reconstructions.c.item_id == items.c.id,
        items.c.study_id == study.id,
    )
    return query.where(exists().where(listed))


def _unanswered(connection: Connection, study: Study, annotator: int) -> list[tuple[int, str]]:
    current = current_events(study_id=study.id, annotator_id=annotator).subquery()
    answered = (
        select(item_reconstructions.c.reconstruction_id)
        .join(current, current.c.item_id == item_reconstructions.c.item_id)
        .where(item_reconstructions.c.slot == 0)
    )
    query = _population(study).where(reconstructions.c.id.not_in(answered))
    return [(row.id, row.image_sha) for row in connection.execute(query)]


def _rank(seed: int, annotator: int, reconstruction: int) -> bytes:
    return hashlib.blake2b(f"{seed}:{annotator}:{reconstruction}".encode(), digest_size=8).digest()


def _items_of(connection: Connection, study: Study, wanted: Iterable[int]) -> dict[int, int]:
    query = (
        select(item_reconstructions.c.reconstruction_id, items.c.id)
        .join(items, items.c.id == item_reconstructions.c.item_id)
        .where(items.c.study_id == study.id, item_reconstructions.c.reconstruction_id.in_(list(wanted)))
    )
    return {row.reconstruction_id: row.id for row in connection.execute(query)}


def _make_items(connection: Connection, study: Study, wanted: list[int]) -> None:
    now = time.time()
    for reconstruction in wanted:
        subject = f"reconstruction:{reconstruction}"
        row = {"study_id": study.id, "subject": subject, "chosen_at_random": True, "created": now}
        insert_once(connection, items, [row])
        query = select(items.c.id).where(items.c.study_id == study.id, items.c.subject == subject)
        item = connection.execute(query).scalar_one()
        insert_once(
            connection, item_reconstructions, [{"item_id": item, "slot": 0, "reconstruction_id": reconstruction}]
        )

"""Recognition rates: the share of answers that recognised a reconstruction, one protocol at a time."""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, select

from core.labels.events import current_events
from core.labels.protocols import Protocol, protocol_named
from core.storage.schema import annotators, item_reconstructions, label_events, studies
from core.storage.store import Store

FEWEST_ANSWERS = 3  # with fewer, whether an image is recognisable stays undetermined


@dataclass(frozen=True)
class Recognition:
    """What people said about one reconstruction."""

    recognised: int
    answers: int  # at least 1

    @property
    def rate(self) -> float:
        """Recognised answers / answers, in [0, 1]."""
        return self.recognised / self.answers

    @property
    def recognisable(self) -> bool | None:
        """Rate above one half; None (undetermined) with fewer than 3 answers."""
        return None if self.answers < FEWEST_ANSWERS else 2 * self.recognised > self.answers


def recognition(
    store: Store,
    reconstructions: Collection[int] | None = None,
    *,
    protocol: str = "recognisable",
    blind_only: bool = True,
) -> dict[int, Recognition]:
    """Recognition by reconstruction id; reconstructions without an answer are absent.

    Counts the standing answers under the protocol's present version of annotators that are neither simulated nor
    excluded; each annotator once a reconstruction (their latest answer, if several studies show it).
    """
    with store.database.read() as connection:
        return read_recognition(connection, reconstructions, protocol_named(protocol), blind_only)


def read_recognition(
    connection: Connection, reconstructions: Collection[int] | None, protocol: Protocol, blind_only: bool
) -> dict[int, Recognition]:
    """As `recognition`, inside a transaction of the caller."""
    current = current_events(blind_only=blind_only).subquery()
    query = (
        select(
            item_reconstructions.c.reconstruction_id,
            current.c.annotator_id,
            current.c.answer,
            studies.c.id.label("study"),
        )
        .join(current, current.c.item_id == item_reconstructions.c.item_id)
        .join(label_events, label_events.c.id == current.c.id)
        .join(studies, studies.c.id == label_events.c.study_id)
        .join(annotators, annotators.c.id == current.c.annotator_id)
        .where(
            item_reconstructions.c.slot == 0,
            studies.c.protocol == protocol.name,
            label_events.c.protocol_version == protocol.version,
            ~annotators.c.simulated,
            ~label_events.c.simulated,
        )
        .order_by(current.c.id)
    )
    if reconstructions is not None and len(reconstructions) <= 500:  # SQLite's limit on parameters is far away
        query = query.where(item_reconstructions.c.reconstruction_id.in_(list(reconstructions)))
    wanted = None if reconstructions is None else set(reconstructions)
    excluded = _excluded(connection)
    latest: dict[tuple[int, int], bool] = {}
    for row in connection.execute(query):
        if (row.annotator_id, None) in excluded or (row.annotator_id, row.study) in excluded:
            continue
        if wanted is None or row.reconstruction_id in wanted:
            latest[row.reconstruction_id, row.annotator_id] = row.answer in protocol.recognised
    counts: dict[int, list[int]] = defaultdict(lambda: [0, 0])
    for (reconstruction, _), is_recognised in latest.items():
        counts[reconstruction][0] += is_recognised
        counts[reconstruction][1] += 1
    return {key: Recognition(recognised, answers) for key, (recognised, answers) in counts.items()}


def _excluded(connection: Connection) -> set[tuple[int, int | None]]:
    query = (
        select(label_events.c.annotator_id, label_events.c.study_id, label_events.c.kind)
        .where(label_events.c.kind.in_(("exclude", "include")))
        .order_by(label_events.c.id)
    )
    state = {(row.annotator_id, row.study_id): row.kind == "exclude" for row in connection.execute(query)}
    return {key for key, is_excluded in state.items() if is_excluded}

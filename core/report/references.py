"""What a run's reconstructions can be compared with. Rows only, no torch."""

from sqlalchemy import select

from core.storage.schema import pairings, reconstructions
from core.storage.store import Store

ATTACKED, SOURCE = "attacked", "source"
REFERENCE_WORDS = {ATTACKED: "attacked pixels", SOURCE: "un-augmented original"}


def references(store: Store, run: int | None = None) -> tuple[str, ...]:
    """("attacked",), or ("attacked", "source") where an input defence changed an original of the run (None: of any).

    "attacked" are the very pixels that the victim was given, "source" the same picture before the input defences.
    """
    query = select(pairings.c.id).where(pairings.c.reference == SOURCE)
    if run is not None:
        query = query.join(reconstructions, reconstructions.c.id == pairings.c.reconstruction_id).where(
            reconstructions.c.job_id == run
        )
    with store.database.read() as connection:
        found = connection.execute(query.limit(1)).first()
    return (ATTACKED,) if found is None else (ATTACKED, SOURCE)

"""The second thing to compare with: the original as it was before a defence on the input changed it. No torch.

A run whose input defences changed a picture has, for each chosen reconstruction, a second pairing with the same
original, method and cost, whose reference is "source". Runs without such a change have none.
"""

import numpy as np
from sqlalchemy import Connection, exists, insert, literal, select

from core.jobs.payloads import AttackJob
from core.jobs.sources import Beat, readable, still
from core.leakage.defences import DEFENCES
from core.storage.schema import originals, pairings, reconstructions
from core.storage.store import Store

ATTACKED, SOURCE = "attacked", "source"
REFERENCES = (ATTACKED, SOURCE)
INPUT_DEFENCES = tuple(name for name, defence in DEFENCES.items() if defence.on_pictures is not None)
_COPIED = ("reconstruction_id", "original_id", "method", "cost_name", "cost")


def is_augmented(store: Store, attack: AttackJob, beat: Beat = still) -> bool | None:
    """Whether an input defence of the attack changed any of its originals. Reads pictures up to the first that did.

    None: no difference was found, but some source cannot be read any more; it counts as one that was not kept.
    """
    unknown = False
    if not any(chosen.name in INPUT_DEFENCES for chosen in attack.threat.defences):
        return False
    columns = (originals.c.image_sha, originals.c.source_sha)
    for start in range(0, len(attack.originals), 500):
        part = attack.originals[start : start + 500]
        with store.database.read() as connection:
            rows = connection.execute(select(*columns).where(originals.c.id.in_(part))).all()
        for row in rows:
            beat()
            if row.source_sha is None:
                continue
            source = readable(store, row.source_sha, attack.model)
            if source is None:
                unknown = True
            elif not np.array_equal(store.artifacts.read_png(row.image_sha), source):
                return True
    return None if unknown else False


def add_source_pairings(connection: Connection, attack_job: int) -> int:
    """The second pairing of every chosen reconstruction that has none yet; returns how many were added.

    An original whose source was not kept gets none: there is nothing to compare with.
    """
    other = pairings.alias("other")
    known = exists().where(other.c.reconstruction_id == pairings.c.reconstruction_id, other.c.reference == SOURCE)
    found = (
        select(*(pairings.c[name] for name in _COPIED), literal(SOURCE))
        .join(reconstructions, reconstructions.c.id == pairings.c.reconstruction_id)
        .join(originals, originals.c.id == pairings.c.original_id)
        .where(
            reconstructions.c.job_id == attack_job,
            reconstructions.c.chosen,
            pairings.c.reference == ATTACKED,
            originals.c.source_sha.is_not(None),
            ~known,
        )
        .order_by(pairings.c.id)
    )
    rows = [dict(zip((*_COPIED, "reference"), row, strict=True)) for row in connection.execute(found)]
    if rows:
        connection.execute(insert(pairings), rows)
    return len(rows)

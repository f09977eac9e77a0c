"""How many labels a run read off its updates, where the threat model did not grant them."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binom
from sqlalchemy import select

from core.attacks.label_rules import label_accuracy
from core.report.runs import run
from core.storage import schema
from core.storage.store import Store


@dataclass(frozen=True)
class LabelRecovery:
    """updates: n that are stored; images: labels in all. share: mean over updates of the part of the labels recovered,
    repeats counted. exact: updates with every label right. by_chance: the mean share that a uniform guess would get."""

    updates: int
    images: int
    share: float
    exact: int
    by_chance: float

    @property
    def sentence(self) -> str:
        """For the page: what was recovered, of how many, and what a guess would get."""
        return (
            f"Labels were not granted: {self.share:.0%} of {self.images} were read off the updates (a uniform guess "
            f"gets {self.by_chance:.0%}), all of them in {self.exact} of {self.updates} updates."
        )


def label_recovery(store: Store, run_id: int) -> LabelRecovery | None:
    """Accuracy of the labels that a run recovered, over the updates that are stored so far; None where labels were
    granted, or nothing is stored yet. Raises UserError for an unknown run."""
    payload = run(store, run_id).payload
    originals: list[int] = payload["originals"]
    size, classes = int(payload["threat"]["batch_size"]), int(payload["model"]["num_classes"])
    updates, known = schema.updates, schema.originals
    found = select(updates.c.position, updates.c.labels_recovered).where(
        updates.c.job_id == run_id, updates.c.labels_recovered.is_not(None)
    )
    named = select(known.c.id, known.c.label).where(known.c.id.in_(originals))
    with store.database.read() as connection:
        rows = [(int(position), json.loads(text)) for position, text in connection.execute(found)]
        labels = {int(key): int(label) for key, label in connection.execute(named)}
    if not rows:
        return None
    true = [[labels[key] for key in originals[position * size : (position + 1) * size]] for position, _ in rows]
    accuracy = label_accuracy(np.array([recovered for _, recovered in rows]), np.array(true))
    chance = float(np.mean([share_by_chance(update, classes) for update in true]))
    return LabelRecovery(len(rows), len(rows) * size, accuracy.mean, int(accuracy.exact.sum()), chance)


def share_by_chance(labels: Sequence[int], classes: int) -> float:
    """Expected share of B labels that B uniform guesses recover: Σ_k E[min(n_k, X)] / B with X binomial (B, 1/classes),
    and E[min(n, X)] = P(X ≥ 1) + … + P(X ≥ n)."""
    size = len(labels)
    hits = sum(binom.sf(np.arange(count), size, 1 / classes).sum() for count in Counter(labels).values())
    return float(hits) / size

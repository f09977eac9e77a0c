"""Labels recovered by a run, from its rows."""

import json
from itertools import product

import numpy as np
import pytest

from core.attacks.label_rules import label_accuracy
from core.errors import UserError
from core.jobs.payloads import AttackJob, to_json
from core.leakage.threat import ThreatModel
from core.models.spec import ModelSpec
from core.report.export import export_html
from core.report.labels_recovered import label_recovery, share_by_chance
from core.storage import schema
from tests.filled_store import fill_store


def inferred(store, recovered: dict[int, list[int]]) -> None:
    """Run 1 as two updates of two images, labels 0, 1 and 2, 3, of which these were recovered."""
    filled = fill_store(store, originals=4, runs=1)
    payload = AttackJob(
        model=ModelSpec("lenet", 10),
        originals=filled.originals,
        original_hashes=("a",) * 4,
        attack="idlg",
        config={},
        threat=ThreatModel(batch_size=2, labels="inferred"),
    )
    updates = schema.updates
    with store.database.write() as connection:
        connection.execute(schema.jobs.update().where(schema.jobs.c.id == 1).values(payload=to_json(payload)))
        for position, labels in recovered.items():
            one = (updates.c.job_id == 1) & (updates.c.position == position)
            connection.execute(updates.update().where(one).values(labels_recovered=json.dumps(labels)))


def test_shares_are_those_of_the_stored_updates(store) -> None:
    inferred(store, {0: [1, 0], 1: [2, 9]})
    found = label_recovery(store, 1)
    # {0, 1} whole, {2, 3} half; two guesses in ten classes get each of two classes with 1 − .9², .19 on average
    assert found is not None
    assert (found.updates, found.images, found.share, found.exact) == (2, 4, 0.75, 1)
    assert found.by_chance == pytest.approx(0.19)
    assert found.sentence == (
        "Labels were not granted: 75% of 4 were read off the updates (a uniform guess gets 19%), "
        "all of them in 1 of 2 updates."
    )


def test_only_what_is_stored_counts(store) -> None:
    inferred(store, {1: [3, 2]})
    found = label_recovery(store, 1)
    assert found is not None
    assert (found.updates, found.share) == (1, 1.0)


def test_granted_labels_have_no_recovery_and_an_unknown_run_is_refused(store) -> None:
    fill_store(store, originals=4, runs=1)
    assert label_recovery(store, 1) is None
    with pytest.raises(UserError, match="no run 7"):
        label_recovery(store, 7)


@pytest.mark.parametrize("labels", [[0, 0, 1], [2, 2, 2], [0, 1, 2]])
def test_chance_is_the_mean_over_all_guesses(labels: list[int]) -> None:
    guesses = np.array(list(product(range(3), repeat=3)))
    mean = label_accuracy(guesses, np.tile(labels, (len(guesses), 1))).mean
    assert share_by_chance(labels, 3) == pytest.approx(mean)


def test_the_export_says_it_too(store) -> None:
    inferred(store, {0: [1, 0], 1: [2, 9]})
    assert label_recovery(store, 1).sentence.encode() in export_html(store, 1)

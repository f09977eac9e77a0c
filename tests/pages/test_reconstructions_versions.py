"""Reconstructions: older versions while a run is scored anew, maps of other weights, metrics of the reference shown."""

from dataclasses import replace

import numpy as np

from core.jobs.aside import Answer
from core.metrics.registry import METRICS
from core.storage import schema
from core.storage.database import bump
from core.storage.scores import StoredScore, write_scores
from tests.filled_store import fill_store
from tests.pages.test_reconstructions_closely import PAGE, everything, said


def test_other_weights_make_another_lpips_map(app, store, monkeypatch):
    fill_store(store, originals=3, runs=1)
    answers = {"value": 0.25, "mark": "lpips_alex 0.1 a"}
    monkeypatch.setattr(
        "core.jobs.aside.lpips_map",
        lambda *_: Answer(True, value=np.full((32, 32), answers["value"], np.float32), problem=""),
    )
    monkeypatch.setattr("core.jobs.aside.map_mark", lambda _: answers["mark"])
    test = app(PAGE, run="1", map="LPIPS map", scores="true")
    assert everything(test).count("mean of the map 0.250") == 3
    answers.update(value=0.5)
    assert everything(test.run()).count("mean of the map 0.250") == 3  # kept
    answers.update(mark="lpips_alex 0.1 b")
    assert everything(test.run()).count("mean of the map 0.500") == 3


def test_an_older_version_is_shown_and_said_while_the_run_is_scored_anew(app, store, monkeypatch):
    fill_store(store, originals=3, runs=1)
    monkeypatch.setitem(METRICS, "psnr", replace(METRICS["psnr"], version="99"))
    with store.database.write() as connection:
        write_scores(connection, [StoredScore("pairing", 1, "attacked", "psnr", "99", "", 77.0)])
        bump(connection, "scores")
    test = app(PAGE, run="1", scores="true")
    assert any(c.value.replace("\\", "").startswith("Being scored anew: PSNR 1 of 5;") for c in test.caption)
    assert "77.0" not in everything(test)


def test_what_has_no_score_is_said_of_the_reference_that_is_shown(app, store):
    """LPIPS has no value against the attacked pixels, and one against the source: there it is offered."""
    filled = fill_store(store, originals=3, runs=1)
    with store.database.write() as connection:
        rows = [StoredScore("pairing", 1, "attacked", "lpips_alex", "0.1", "", None, "there are no weights")]
        sha = connection.execute(schema.originals.select()).first().image_sha
        connection.execute(schema.originals.update().values(source_sha=sha))
        for made, original in zip(filled.reconstructions, filled.originals, strict=True):
            values = {"reconstruction_id": made, "original_id": original, "reference": "source"}
            pairing = connection.execute(schema.pairings.insert().values(method="given", cost_name="", **values))
            key = pairing.inserted_primary_key[0]
            rows.append(StoredScore("pairing", key, "source", "lpips_alex", "0.1", "a" * 64, 0.25))
        write_scores(connection, rows)
        bump(connection, "scores")
        bump(connection, "reconstructions")
    test = app(PAGE, run="1", scores="true")
    assert any("1 metric without a score" in e.label for e in test.expander)
    test = app(PAGE, run="1", scores="true", reference="un-augmented original", sort="LPIPS alex")
    assert not test.exception
    assert not said(test)
    assert not any("without a score" in e.label for e in test.expander)
    assert "lpips_alex" in test.selectbox(key="sort").options or "LPIPS alex" in test.selectbox(key="sort").options

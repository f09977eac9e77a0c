"""The pace of earlier trainings: of the same architecture and input only, and its newest epochs."""

from dataclasses import replace
from pathlib import Path

from core.jobs.training import victim_spec
from core.report.training_pace import pace_of
from core.settings import load_settings
from core.storage.store import open_store
from tests.trained_rows import training_rows


def test_only_trainings_of_the_same_kind_tell_the_pace(home: Path) -> None:
    store = open_store(load_settings())
    spec = victim_spec("lenet", "lfw", store.settings)
    assert pace_of(store, spec) is None
    training_rows(store, epochs=0, state="running")
    assert pace_of(store, spec) is None  # no epoch yet
    training_rows(store)
    assert pace_of(store, spec) == 400.0  # tests/trained_rows.py
    assert pace_of(store, replace(spec, num_classes=7)) == 400.0
    assert pace_of(store, replace(spec, height=16)) is None
    assert pace_of(store, replace(spec, architecture="mlp")) is None

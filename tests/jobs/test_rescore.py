"""A run is scored again after a failure, or once its weights have come; values stay, reasons give way."""

from collections import Counter
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from sqlalchemy import select, update

from core.errors import UserError
from core.jobs.queue import submit
from core.jobs.rescore import rescore
from core.jobs.runner import Runner
from core.models.weights import WEIGHTS
from core.report.views import without_weights
from core.settings import Settings
from core.storage import schema
from core.storage.store import Store
from tests.jobs.conftest import attack_job, job_row

BACKBONE = "squeezenet1_1-imagenet-features"  # the smallest one
METRIC = "lpips_squeeze_224"  # resizes, so that images of 8 pixels will do


@pytest.fixture(autouse=True)
def no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of torch's own cache is found, whatever machine this is."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "no-cache"))


def bring_weights(settings: Settings) -> None:
    """Zeros of the right names and shapes: the figures do not matter here, that there are some does."""
    shapes = WEIGHTS[BACKBONE].shapes
    settings.weights.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: torch.zeros(shape) for name, shape in shapes.items()}, settings.weights / f"{BACKBONE}.safetensors"
    )


def finished(store: Store) -> int:
    job = submit(store, attack_job(store), "first").job_id
    Runner(store).run(until_idle=True)
    return job


def scores(store: Store) -> list:
    with store.database.read() as connection:
        return list(connection.execute(select(schema.scores)))


def rows_of_each(found: list) -> Counter:
    return Counter((row.subject_id, row.reference, row.metric) for row in found)


def test_weights_that_came_later_turn_reasons_into_values(store: Store) -> None:
    run = finished(store)
    before = scores(store)
    assert METRIC in without_weights(store, run)
    assert all(row.value is None and row.weights_hash == "" for row in before if row.metric == METRIC)
    bring_weights(store.settings)
    again = rescore(store, run)
    assert not again.already
    Runner(store).run(until_idle=True)
    child = job_row(store, again.job_id)
    assert (child.state, child.error, child.parent_id, child.title) == ("done", None, run, "Scores of first")
    after = scores(store)
    assert [row.value for row in after if row.metric == METRIC] == [0.0] * 8  # features of zeros are alike
    # still one row for each metric of each pairing; lpips_squeeze at 8 px has another reason now, and only that one
    assert rows_of_each(after) == rows_of_each(before)
    assert set(rows_of_each(after).values()) == {1}
    assert not [name for name in without_weights(store, run) if "squeeze" in name]
    values = {row.id: (row.value, row.special, row.created) for row in before if row.reason == ""}
    assert {row.id: (row.value, row.special, row.created) for row in after if row.id in values} == values


def test_weights_that_are_gone_take_no_value_away(store: Store) -> None:
    bring_weights(store.settings)
    run = finished(store)
    (store.settings.weights / f"{BACKBONE}.safetensors").unlink()
    before = scores(store)
    rescore(store, run)
    Runner(store).run(until_idle=True)
    assert rows_of_each(scores(store)) == rows_of_each(before)
    assert [row.value for row in scores(store) if row.metric == METRIC] == [0.0] * 8


def test_scoring_that_failed_is_done_again(store: Store) -> None:
    run = finished(store)
    with store.database.write() as connection:
        connection.execute(schema.scores.delete())
        child = update(schema.jobs).where(schema.jobs.c.kind == "score")
        connection.execute(child.values(state="failed", error="the disk was full"))
    rescore(store, run)
    Runner(store).run(until_idle=True)
    assert len([row for row in scores(store) if row.metric == "mse" and row.value is not None]) == 8


@pytest.mark.parametrize("state", ["queued", "running", "paused"])
def test_a_run_that_is_being_scored_is_not_scored_twice(store: Store, state: str) -> None:
    run = finished(store)
    with store.database.write() as connection:
        connection.execute(update(schema.jobs).where(schema.jobs.c.kind == "score").values(state=state))
    with pytest.raises(UserError, match=f"are {state} already"):
        rescore(store, run)


def test_what_cannot_be_scored_is_refused_in_a_sentence(store: Store) -> None:
    run = submit(store, attack_job(store), "first").job_id
    with pytest.raises(UserError, match="is queued"):
        rescore(store, run)
    with store.database.write() as connection:
        connection.execute(update(schema.jobs).values(state="failed"))
    with pytest.raises(UserError, match="stored no reconstruction"):
        rescore(store, run)
    with pytest.raises(UserError, match="no run 99"):
        rescore(store, 99)

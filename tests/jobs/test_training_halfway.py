"""Trainings that stop halfway: what is kept of them meanwhile, and what is gone afterwards."""

import json

import pytest
from sqlalchemy import update

from core.jobs.keys import key_file
from core.jobs.queue import set_wanted
from core.jobs.runner import Runner
from core.jobs.training import final_model, submit_training
from core.report.model_card import model_card
from core.report.models import model_entry
from core.report.training import training
from core.storage import schema
from core.storage.store import Store
from tests.jobs.conftest import job_row
from tests.jobs.trainings import begun, hold_at, request, run_until_idle, shard, turn_until, weights_of_undisturbed
from tests.models.training.helpers import as_if_from


def test_a_private_training_keeps_its_key_to_itself_and_only_while_it_is_needed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = {"defence": "dp-sgd", "dp_noise": 2.0}
    keys = store.settings.home / "keys"
    with monkeypatch.context() as held:
        hold_at(held, 5)  # of 12
        job = begun(store, **private)
        runner = Runner(store)
        turn_until(runner, lambda: (row := shard(store, job)) is not None and row.step == 5)
        set_wanted(store, job, "pause")
        turn_until(runner, lambda: job_row(store, job).state == "paused")
    runner._sweep(always=True)
    key = key_file(store, job).read_text().strip()
    set_wanted(store, job, "run")
    turn_until(runner, lambda: job_row(store, job).state == "done")
    assert list(keys.iterdir()) == []
    runner._workers().close()

    calm = begun(store, **private)  # asked anew it draws a key of its own, so that of the first is put in its place
    key_file(store, calm).write_text(key)
    other = begun(store, **private)
    run_until_idle(store)
    shas = [final_model(store, one).spec.weights_sha256 for one in (job, calm, other)]
    assert shas[0] == shas[1] != shas[2]

    assert submit_training(store, request(store, **private)).already  # the key is no part of the question
    card = json.dumps(model_card(model_entry(store, final_model(store, job).model_id), training(store, job).job))
    files = [path for path in store.settings.home.rglob("*") if path.is_file()]
    told = card + "".join(str(path.read_bytes()) for path in files)
    assert any(b"secret key of 128 bits" in path.read_bytes() for path in files)  # the record was looked at
    assert key not in told
    assert str(int(key, 16)) not in told
    facts = json.loads(card)["facts"]
    assert facts["epsilon"] > 0
    assert not {"train_loss", "train_accuracy", "gradient_norm"} & facts.keys()  # ε does not cover them


def test_on_another_kind_of_device_a_training_waits_with_its_checkpoint(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as held:
        hold_at(held, 5)
        job = begun(store)
        runner = Runner(store)
        turn_until(runner, lambda: (row := shard(store, job)) is not None and row.step == 5)
        set_wanted(store, job, "pause")
        turn_until(runner, lambda: job_row(store, job).state == "paused")
    before = shard(store, job)
    foreign = store.artifacts.put_bytes(as_if_from("cuda", store.artifacts.read_bytes(before.checkpoint_sha)), ".bin")

    def put_in_place(sha: str) -> None:
        with store.database.write() as connection:
            connection.execute(update(schema.shards).values(checkpoint_sha=sha))

    put_in_place(foreign)
    for _ in range(4):  # more often than a shard has attempts
        set_wanted(store, job, "run")
        run_until_idle(store)
        row = job_row(store, job)
        assert (row.state, row.wanted) == ("paused", "pause")
        assert row.error.startswith("This training was begun on a GPU")
        assert "would run on the CPU" in row.error
    assert (shard(store, job).checkpoint_sha, shard(store, job).attempt) == (foreign, before.attempt)
    assert store.artifacts.exists(foreign)

    whole = store.artifacts.read_bytes(foreign)
    put_in_place(store.artifacts.put_bytes(as_if_from("cpu", whole), ".bin"))  # the device is there again
    set_wanted(store, job, "run")
    run_until_idle(store)
    assert (job_row(store, job).state, job_row(store, job).error) == ("done", None)
    assert final_model(store, job).spec.weights_sha256 == weights_of_undisturbed(store)

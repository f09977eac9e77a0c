"""Requests as rows: models, originals, identities, and what no runner could run."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from sqlalchemy import select

from core.attacks import config_from_dict, configure
from core.errors import UserError
from core.jobs.payloads import AttackJob, ScoreJob, from_json, identity, to_json
from core.jobs.queue import jobs_table, original_hashes, set_wanted, store_model, store_originals, submit
from core.leakage.threat import ThreatModel
from core.storage import schema
from core.storage.store import Store
from tests.jobs.conftest import MLP, attack_job, prepared


def test_the_same_image_of_a_data_set_is_kept_once(store: Store) -> None:
    images = prepared(3)
    first = store_originals(store, "noise", images)
    assert store_originals(store, "noise", images) == first
    assert store_originals(store, "noise", images[::-1]) == first[::-1]
    # two sources with one name never collide
    other = replace(images[0], original=255 - images[0].original)
    assert store_originals(store, "noise", [other])[0] not in first
    assert store_originals(store, "elsewhere", images[:1])[0] not in first


def test_hashes_name_the_stored_pixels(store: Store) -> None:
    images = prepared(2)
    ids = store_originals(store, "noise", images)
    shas = original_hashes(store, ids[::-1])
    assert (store.artifacts.read_png(shas[0])[..., :1] == images[1].original).all()
    with pytest.raises(UserError, match="no original 99"):
        original_hashes(store, [99])


def test_a_model_is_kept_with_the_weights_that_it_names(store: Store) -> None:
    sha = store.artifacts.put_bytes(b"weights", ".safetensors")
    spec = replace(MLP, weights_sha256=sha)
    number = store_model(store, spec, "mine", b"weights")
    assert store_model(store, spec, "mine", b"weights") == number
    assert store_model(store, MLP, "drawn", None) != number
    with pytest.raises(ValueError, match="names the weights"):
        store_model(store, spec, "mine", b"other weights")


def test_payloads_survive_json(store: Store) -> None:
    for payload in (attack_job(store), ScoreJob(attack_job=3, metrics=("mse",))):
        again = from_json(payload.type_tag, payload.version, to_json(payload))
        assert again == payload
        assert identity(again) == identity(payload)


def test_a_job_of_the_first_version_is_read(store: Store) -> None:
    """As it was stored before threat models grew, and before iDLG's rule had its present name."""
    payload = attack_job(store)
    values = json.loads(to_json(payload))
    values["threat"] = {"batch_size": 2, "batchnorm": "eval", "labels": "inferred"}
    values |= {"attack": "idlg", "config": {"restarts": 3, "rule": "row sums"}}
    old = from_json("attack", 1, json.dumps(values))
    assert isinstance(old, AttackJob)
    assert old.threat == ThreatModel(batch_size=2, labels="inferred")
    assert config_from_dict("idlg", old.config) == configure("idlg", {"restarts": 3, "label_rule": "idlg"})


def test_jobs_are_listed_newest_first_with_their_states(store: Store) -> None:
    first = submit(store, attack_job(store), "first").job_id
    second = submit(store, attack_job(store, seed=2), "second", parent=first, depends_on=(first,)).job_id
    set_wanted(store, second, "pause")
    listed = jobs_table(store)
    assert [(row.id, row.title, row.state, row.parent_id) for row in listed] == [
        (second, "second", "paused", first),
        (first, "first", "queued", None),
    ]
    assert (listed[0].step, listed[0].total, listed[0].shards) == (0, 0, 0)
    with store.database.read() as connection:
        pair = connection.execute(select(schema.job_dependencies)).one()
    assert tuple(pair) == (second, first)


@pytest.mark.parametrize(("job", "wanted"), [(7, "pause"), (1, "explode")])
def test_what_cannot_be_wanted_is_refused(store: Store, job: int, wanted: str) -> None:
    submit(store, attack_job(store), "first")
    with pytest.raises(UserError):
        set_wanted(store, job, wanted)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"originals": (), "original_hashes": ()}, "at least one image"),
        ({"controls": -1}, "control targets"),
        ({"config": {"stepps": 3}}, "no setting called"),
        ({"model": replace(MLP, architecture="lenett")}, "did you mean lenet"),
    ],
)
def test_what_no_runner_could_run_is_refused_at_once(store: Store, changes: dict, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        submit(store, replace(attack_job(store), **changes), "x")
    assert jobs_table(store) == []


def test_pages_may_queue_without_torch_or_dask() -> None:
    code = (
        "import sys, core.jobs.queue, core.jobs.launch, core.jobs.compose; "
        "sys.exit(bool({'torch', 'distributed'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

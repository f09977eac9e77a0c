"""The zoo: where each model comes from, what is known of it, and which runs used it."""

import json
import time
from dataclasses import asdict, replace

import pytest
from sqlalchemy import event, select

from core.errors import UserError
from core.images.dataset import DataChoice
from core.jobs.payloads import AttackJob, CampaignJob, TrainJob
from core.jobs.queue import store_model, submit_within
from core.leakage.threat import ThreatModel
from core.models.presets import PRESETS
from core.models.spec import ModelSpec, spec_identity
from core.models.training.recipe import Recipe
from core.report.models import PRESET, TRAINED, UPLOAD, forget_model, model_entry, zoo
from core.storage import schema
from core.storage.store import Store


def attacked(store: Store, spec: ModelSpec, times: int = 1) -> list[int]:
    """Attack jobs on a model, each another question."""
    job = AttackJob(spec, (1,), ("0" * 64,), "dlg", {'"model":{': 1}, ThreatModel())
    with store.database.write() as connection:
        return [submit_within(connection, replace(job, seed=n), f"run {n}").job_id for n in range(times)]


def trained(store: Store, epoch: int, *, final: bool, content: bytes = b"weights") -> tuple[int, ModelSpec]:
    """A stored model of training 1, which is made if need be."""
    payload = TrainJob(ModelSpec("lenet", 2), DataChoice("lfw"), Recipe().to_dict())
    sha = store.artifacts.put_bytes(content, ".safetensors")
    spec = ModelSpec("lenet", 2, class_names=('say "model":{', "b"), weights_sha256=sha, origin=f"epoch {epoch}")
    facts = {"accuracy": 0.5, "held_out": 40, "parameters": 123, "final": final}
    with store.database.write() as connection:
        job = submit_within(connection, payload, "train lenet").job_id
        row = {"name": f"lenet · epoch {epoch}", "spec": spec.to_json(), "identity": spec_identity(spec)}
        row |= {"weights_sha": sha, "origin": spec.origin, "job_id": job, "epoch": epoch, "facts": json.dumps(facts)}
        values = {**row, "created": time.time()}
        number = connection.execute(schema.models.insert().values(**values)).inserted_primary_key[0]
    return number, spec


def test_presets_uploads_and_trained_models_each_with_what_is_known(store: Store) -> None:
    upload = ModelSpec("convnet", 100, arguments={"base": 8}, origin="upload mine.pt")
    upload_id = store_model(store, upload, "mine.pt")
    number, spec = trained(store, 3, final=True)
    runs = attacked(store, spec, 2) + attacked(store, PRESETS["lenet"])
    found = zoo(store)
    assert [one.name for one in found[: len(PRESETS)]] == list(PRESETS)
    lenet = found[0]
    assert (lenet.id, lenet.source, lenet.runs, lenet.parameters) == (None, PRESET, (runs[2],), 15826)
    faces = next(one for one in found if one.name == "lenet-faces")
    assert (faces.accuracy, faces.held_out) == (0.93, 100)
    assert faces.weights_bytes > 30_000
    last, mine = found[len(PRESETS) :]
    assert (last.id, last.source, last.epoch, last.final, last.training) == (number, TRAINED, 3, True, 1)
    assert (last.accuracy, last.held_out, last.parameters, last.weights_bytes) == (0.5, 40, 123, len(b"weights"))
    assert (last.runs, last.input, last.classes) == (tuple(runs[:2]), "3×32×32", 2)
    assert (mine.id, mine.source, mine.runs, mine.accuracy) == (upload_id, UPLOAD, (), None)
    assert model_entry(store, number) == last
    with pytest.raises(UserError, match="no model 99"):
        model_entry(store, 99)


def test_a_preset_that_was_attacked_is_listed_once_and_a_changed_one_beside_it(store: Store) -> None:
    same = store_model(store, PRESETS["lenet"], "lenet")
    other = store_model(store, replace(PRESETS["lenet"], num_classes=7), "lenet")
    found = [one for one in zoo(store) if one.spec.architecture == "lenet" and one.id is not None]
    assert [(one.id, one.source, one.classes) for one in found] == [(same, PRESET, 10), (other, PRESET, 7)]
    assert model_entry(store, same).name == "lenet"


def test_the_number_of_queries_does_not_grow_with_the_runs(store: Store) -> None:
    _, spec = trained(store, 1, final=True)
    said: list[str] = []
    with store.database.read() as connection:
        engine = connection.engine
    event.listen(engine, "before_cursor_execute", lambda *arguments: said.append(arguments[2]))
    zoo(store)
    few = len(said)
    runs = attacked(store, spec, 50)
    said.clear()
    assert zoo(store)[len(PRESETS)].runs == tuple(runs)
    assert len(said) == few


def test_only_an_unused_checkpoint_of_a_chosen_epoch_can_be_deleted(store: Store) -> None:
    first, spec = trained(store, 1, final=False, content=b"first")
    second, _ = trained(store, 2, final=False, content=b"shared")
    last, _ = trained(store, 3, final=True, content=b"shared")
    run = attacked(store, spec)[0]
    with pytest.raises(UserError, match=f"attacked in run {run}"):
        forget_model(store, first)
    with pytest.raises(UserError, match="no checkpoint of a chosen epoch"):
        forget_model(store, last)
    with pytest.raises(UserError, match="no checkpoint of a chosen epoch"):
        forget_model(store, store_model(store, PRESETS["mlp"], "mlp"))
    forget_model(store, second)
    with pytest.raises(UserError, match="no model"):
        forget_model(store, second)
    with store.database.read() as connection:
        names = connection.execute(select(schema.models.c.name)).scalars().all()
        assert sorted(names) == ["lenet · epoch 1", "lenet · epoch 3", "mlp"]
        sha = connection.execute(select(schema.models.c.weights_sha).where(schema.models.c.id == last)).scalar_one()
    assert store.artifacts.read_bytes(sha) == b"shared"  # the last epoch's, which has the same bytes
    third, spec = trained(store, 4, final=False, content=b"alone")
    assert asdict(spec)["weights_sha256"] == spec.weights_sha256
    forget_model(store, third)
    assert not store.artifacts.exists(spec.weights_sha256)


def test_where_another_training_starts_from_it_stays(store: Store) -> None:
    number, spec = trained(store, 1, final=False)
    with store.database.write() as connection:
        again = TrainJob(spec, DataChoice("lfw"), Recipe(epochs=3).to_dict())
        submit_within(connection, again, "train on")
    with pytest.raises(UserError, match="another training starts from"):
        forget_model(store, number)


@pytest.mark.parametrize(
    ("setting", "stays"),
    [
        ({"train_job_id": 1, "parts": {"victim": "v", "epoch": 1}}, True),
        ({"train_job_id": None, "parts": {"victim": "v", "epoch": 1}}, True),  # may turn out to be this training
        ({"train_job_id": 1, "parts": {"victim": "v", "epoch": None}}, False),  # the last weights
        ({"train_job_id": None, "parts": {"victim": "stored", "epoch": None}}, True),  # named by its number
        ({"train_job_id": 1, "parts": {"victim": "v", "epoch": 1}, "error": "It failed."}, False),
    ],
)
def test_what_a_campaign_is_still_to_attack_stays_until_it_has_ended(store: Store, setting: dict, stays: bool) -> None:
    number, _ = trained(store, 1, final=False)
    victims = [{"name": "v", "model": None}, {"name": "stored", "model": number}]
    with store.database.write() as connection:
        campaign = submit_within(connection, CampaignJob({"victims": victims}), "c").job_id
        row = {"campaign_id": campaign, "position": 0, "title": "s", **setting, "parts": json.dumps(setting["parts"])}
        connection.execute(schema.campaign_settings.insert().values(**row))
    if stays:
        with pytest.raises(UserError, match=f"still to be attacked in campaign {campaign}"):
            forget_model(store, number)
        with store.database.write() as connection:
            connection.execute(schema.jobs.update().where(schema.jobs.c.id == campaign).values(state="cancelled"))
    forget_model(store, number)
    assert number not in [one.id for one in zoo(store)]

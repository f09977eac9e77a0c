"""From choices to a stored job."""

import io
import time
from pathlib import Path

import numpy as np
import pytest

from core.attacks import ATTACKS
from core.errors import UserError
from core.images.load import load_images
from core.jobs.compose import (
    AttackRequest,
    check,
    demo_request,
    draw_labels,
    preset_model,
    relabel,
    submit_attack,
    title,
)
from core.jobs.payloads import from_json, identity
from core.jobs.uploads import keep_upload, sweep_uploads
from core.leakage.threat import ThreatModel
from core.settings import load_settings
from core.storage import schema
from core.storage.store import open_store


@pytest.fixture
def request_two():
    spec, weights = preset_model("lenet")
    return AttackRequest(spec, "lenet", weights, "photos", tuple(load_images("photos", spec=spec, limit=2)), "dlg")


def changed(request, **rest):
    from dataclasses import replace

    return replace(request, **rest)


def test_the_same_question_is_stored_once_and_another_seed_is_another(home, request_two):
    store = open_store(load_settings())
    first = submit_attack(store, request_two)
    again = submit_attack(store, request_two)
    other = submit_attack(store, changed(request_two, seed=1))
    assert (first.already, again.already, again.job_id) == (False, True, first.job_id)
    assert other.job_id != first.job_id
    assert submit_attack(store, request_two, anew=True).job_id not in (first.job_id, other.job_id)
    with store.database.read() as connection:
        row = connection.execute(schema.jobs.select().where(schema.jobs.c.id == first.job_id)).one()
        pixels = connection.execute(schema.originals.select()).all()
    payload = from_json(row.payload_type, row.payload_version, row.payload)
    assert identity(payload) == row.identity
    assert payload.original_hashes == tuple(p.image_sha for p in pixels)
    assert (store.artifacts.read_png(pixels[0].image_sha) == request_two.prepared[0].original).all()


def test_titles_say_what_runs(request_two):
    assert title(request_two) == "dlg on lenet · 2 photos · seed 0"
    assert title(changed(request_two, threat=ThreatModel(batch_size=2))) == "dlg on lenet · 2 photos · batch 2 · seed 0"


def test_the_demo_is_eight_faces_on_lenet():
    demo = demo_request()
    check(demo)
    assert (len(demo.prepared), demo.attack, demo.seed, demo.spec.architecture) == (8, "dlg", 0, "lenet")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"prepared": ()}, "1 to 10,000 images"),
        ({"threat": ThreatModel(batch_size=9)}, "updates of 1 to"),
        ({"threat": ThreatModel(batch_size=0)}, "update is of 1 to"),
        ({"threat": ThreatModel(batch_size=3)}, "do not fill"),
        ({"threat": ThreatModel(batchnorm="both")}, "one of eval, train"),
        ({"attack": "dgl"}, "did you mean dlg"),
        ({"seed": -1}, "seed"),
        ({"controls": 5}, "controls"),
        ({"config": {"restarts": 0}}, "restarts"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_is_stored(home, request_two, change, sentence):
    store = open_store(load_settings())
    with pytest.raises(UserError, match=sentence):
        submit_attack(store, changed(request_two, **change))
    with store.database.read() as connection:
        assert connection.execute(schema.jobs.select()).all() == []
        assert connection.execute(schema.originals.select()).all() == []


def test_labels_by_hand_and_drawn(request_two):
    spec = request_two.spec
    assert relabel(request_two.prepared[0], 7, spec).label_source == "hand"
    with pytest.raises(UserError, match="classes 0 to 9"):
        relabel(request_two.prepared[0], 10, spec)
    once, twice = (draw_labels(request_two.prepared, spec, 3) for _ in range(2))
    assert [p.label for p in once] == [p.label for p in twice]
    assert {p.label_source for p in once} == {"drawn"}


def test_originals_must_fit_the_model(request_two):
    wrong = changed(request_two.prepared[0], original=np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(UserError, match="shape"):
        check(changed(request_two, prepared=(wrong, wrong)))


def test_every_attack_can_be_composed(request_two):
    for name, attack in ATTACKS.items():
        config = {"batchnorm": 0} if hasattr(attack.config, "batchnorm") else {}  # this LeNet has no BatchNorm
        check(changed(request_two, attack=name, config=config, threat=ThreatModel(update=attack.updates[0])))


def test_uploads_are_kept_under_our_own_names_and_swept_after_a_day(home):
    settings = load_settings()
    path = keep_upload(settings, io.BytesIO(b"x" * 3_000_000))
    assert path.parent == settings.uploads
    assert path.stat().st_size == 3_000_000
    assert sweep_uploads(settings) == 0
    assert sweep_uploads(settings, now=time.time() + 25 * 3600) == 1
    assert not path.exists()


def test_an_upload_that_cannot_be_written_is_one_sentence(home):
    settings = load_settings()
    settings.home.mkdir()
    settings.uploads.write_text("a file where the folder should be")
    with pytest.raises(UserError, match="could not be stored"):
        keep_upload(settings, io.BytesIO(b"x"))


def test_an_upload_that_another_process_sweeps_first_is_no_error(home, monkeypatch):
    settings = load_settings()
    gone, stays = (keep_upload(settings, io.BytesIO(b"x")) for _ in range(2))
    listed = list(settings.uploads.glob("*.upload"))
    gone.unlink()
    monkeypatch.setattr(Path, "glob", lambda _self, _pattern: iter(listed))
    assert sweep_uploads(settings, now=time.time() + 25 * 3600) == 1
    assert not stays.exists()

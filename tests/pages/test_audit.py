"""Audit: defaults that launch, every knob, uploads that are refused in a sentence, links that name nothing."""

import hashlib
import io
from dataclasses import fields

import numpy as np
import pytest
from PIL import Image

from core.attacks import ATTACKS
from core.jobs.payloads import AttackJob, from_json
from core.models.presets import PRESETS, preset_weights
from core.storage import schema
from tests.filled_store import fill_store

PAGE = "pages/audit.py"


def words(test):
    return " ".join(e.value for kind in ("markdown", "caption", "error", "warning") for e in test.get(kind))


def jobs(store):
    with store.database.read() as connection:
        rows = connection.execute(schema.jobs.select().order_by(schema.jobs.c.id)).all()
    return [from_json(row.payload_type, row.payload_version, row.payload) for row in rows]


def png(value: int = 90) -> bytes:
    pixels = np.full((40, 40, 3), value, np.uint8)
    pixels[10:20, 10:20] = 255 - value
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def test_the_defaults_launch_with_an_estimate(app, store):
    test = app(PAGE)
    assert not test.exception
    assert not test.error
    assert "at most" in words(test)
    test.button(key="launch").click().run()
    assert not test.exception
    (payload,) = jobs(store)
    assert isinstance(payload, AttackJob)
    assert len(payload.originals) == 8
    assert set(payload.config) == {field.name for field in fields(ATTACKS[payload.attack].config)}
    assert test.query_params["run"] == "1"
    assert "waiting for the runner" in [p.text for p in test.progress]


def test_a_changed_knob_is_in_the_job(app, store):
    test = app(PAGE)
    test.number_input(key="knob_dlg_restarts").set_value(3).run()
    assert "restarts = 3" in words(test)
    test.number_input(key="count").set_value(2).run()
    test.button(key="launch").click().run()
    assert jobs(store)[0].config["restarts"] == 3
    assert len(jobs(store)[0].originals) == 2


def test_the_same_question_is_offered_as_there_with_a_way_to_run_anew(app, store):
    test = app(PAGE)
    test.button(key="launch").click().run()
    test.button(key="launch").click().run()
    assert len(jobs(store)) == 1
    assert "in the store already" in words(test)
    test.button(key="anew").click().run()
    assert len(jobs(store)) == 2


def test_pause_resume_and_cancel_are_asked_of_the_runner(app, store):
    test = app(PAGE)
    test.button(key="launch").click().run()

    def wanted():
        with store.database.read() as connection:
            return connection.execute(schema.jobs.select()).one().wanted

    test.button(key="audit_pause_1").click().run()
    assert wanted() == "pause"
    test.button(key="audit_run_1").click().run()
    assert wanted() == "run"
    test.button(key="audit_cancel_1").click().run()
    assert not test.exception
    with store.database.read() as connection:
        row = connection.execute(schema.jobs.select()).one()
    assert "cancel" in (row.wanted, row.state[:6])


def test_a_run_is_shown_by_its_link_and_listed_in_the_history(app, store):
    fill_store(store, originals=3, runs=2)
    test = app(PAGE, run="1")
    assert not test.exception
    assert "Run 1: dlg on lenet" in words(test)
    assert len([link for link in test.page_link if link.value == "Reconstructions"]) >= 2


@pytest.mark.parametrize("value", ["77", "../../x", "<b>"])
def test_a_link_to_no_run_is_one_sentence_and_the_page_still_works(app, store, value):
    test = app(PAGE, run=value)
    assert not test.exception
    assert len(test.error) == 1
    assert not test.button(key="launch").disabled


def test_uploaded_images_are_taken_in_and_bad_ones_refused_in_a_sentence(app, store):
    test = app(PAGE)
    test.button_group(key="images").set_value("upload").run()
    test.file_uploader(key="pictures_file_0").upload("a <b>.png", png()).upload("same.png", png(30))
    test.file_uploader(key="pictures_file_0").upload("page.png", b"<html><script>alert(1)</script></html>").run()
    assert not test.exception
    assert "2 images taken in" in words(test)
    assert len(test.error) == 1
    assert test.error[0].value.count("page") == 1  # the file is named once
    assert test.file_uploader(key="pictures_file_1").value == []  # the first widget's bytes are let go
    test.button(key="launch").click().run()
    assert len(jobs(store)[0].originals) == 2


def test_uploaded_weights_are_understood_before_anything_runs(app, store):
    spec, weights = PRESETS["lenet-faces"], preset_weights("lenet-faces")
    test = app(PAGE)
    test.button_group(key="from").set_value("upload").run()
    test.file_uploader(key="weights_file_0").upload("faces.safetensors", weights).run()
    test.selectbox(key="arch").set_value(spec.architecture).run()
    test.number_input(key="classes").set_value(spec.num_classes).run()
    assert test.button(key="launch").disabled
    test.button(key="weights_check").click().run(timeout=120)
    assert not test.exception
    assert not test.error
    assert f"{spec.num_classes} classes" in words(test)
    layers = test.dataframe[0].value
    # LeNet of DLG: 12·3·25 + 12, twice 12·12·25 + 12, then 768·2 + 2.
    assert layers["numbers"].sum() == 912 + 2 * 3612 + 1538
    test.button(key="launch").click().run()
    (payload,) = jobs(store)
    stored = store.artifacts.read_bytes(payload.model.weights_sha256)
    assert hashlib.sha256(stored).hexdigest() == payload.model.weights_sha256
    assert payload.model.num_classes == spec.num_classes


def test_uploaded_weights_go_to_disk_at_once_and_garbage_is_refused(app, store):
    test = app(PAGE)
    test.button_group(key="from").set_value("upload").run()
    assert test.button(key="launch").disabled
    test.file_uploader(key="weights_file_0").upload("../../victim<script>.pt", b"not a model").run()
    assert not test.exception
    (kept,) = list((store.settings.home / "uploads").glob("*.upload"))
    assert kept.read_bytes() == b"not a model"
    test.button(key="weights_check").click().run()
    assert not test.exception
    assert len(test.error) == 1
    assert test.button(key="launch").disabled
    test.button(key="weights_remove").click().run()
    assert not kept.exists()
    assert jobs(store) == []


def test_an_error_about_an_earlier_image_goes_and_one_image_can_be_removed(app):
    test = app(PAGE)
    test.button_group(key="images").set_value("upload").run()
    assert "**2 Images**: upload at least one image" in words(test)
    test.file_uploader(key="pictures_file_0").upload("broken.png", b"no picture").run()
    assert len(test.error) == 1
    test.file_uploader(key="pictures_file_1").upload("good.png", png()).upload("other.png", png(30)).run()
    assert not test.error
    assert "2 images taken in" in words(test)
    test.button(key="drop_good.png").click().run()
    assert not test.exception
    assert "1 image taken in" in words(test)
    assert test.button(key="drop_other.png")


def pictures_of(test):
    return " ".join(element.proto.body for element in test.get("html"))


def test_a_label_is_shown_with_its_class_and_says_when_it_was_drawn(app):
    test = app(PAGE, model="lenet-faces", images="lfw")
    assert "1 face<" in pictures_of(test)
    assert "0 not a face<" in pictures_of(test)
    assert "drawn" not in pictures_of(test)
    test.button_group(key="images").set_value("photos").run()  # four photographs, and a model of faces
    shown = pictures_of(test)
    assert shown.count(", drawn</figcaption>") == 8


def test_launch_says_which_choice_is_missing(app):
    test = app(PAGE)
    test.button_group(key="from").set_value("upload").run()
    assert "**1 Model**: upload a weights file." in words(test)
    test.file_uploader(key="weights_file_0").upload("victim.pt", b"not a model").run()
    assert "**1 Model**: the weights file has not passed its check" in words(test)
    assert "**2 Images**" not in words(test)


def test_the_history_numbers_its_runs_and_settings_are_labelled_rows(app, store):
    fill_store(store, originals=3, runs=2)
    test = app(PAGE, run="2")
    assert not test.exception
    assert "Run 1: dlg on lenet" in words(test)  # of the history: the panel shows run 2
    rows = dict(test.table[0].value.itertuples(index=False))
    assert rows["Originals"] == "3"
    assert rows["Images in one update"] == "1"
    assert not any("hash" in name for name in rows)

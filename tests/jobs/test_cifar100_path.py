"""CIFAR-100's path from a file in the publisher's layout to scored reconstructions, all through the runner."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from sqlalchemy import select

from core.images.dataset import TEST, DataChoice
from core.images.sampling import load_choice
from core.jobs.compose import AttackRequest, stored_model, submit_attack
from core.jobs.training import TrainRequest, final_model, submit_training, victim_spec
from core.models.training.recipe import Recipe
from core.report.models import model_entry
from core.report.training import training
from core.storage import schema
from core.storage.store import Store
from tests.images.dataset_files import cifar100_archive, of_class
from tests.jobs.conftest import job_row
from tests.jobs.trainings import run_until_idle

RECIPE = Recipe(epochs=12, batch_size=32, optimiser="adam", learning_rate=0.01, momentum=0.0, schedule="cosine")


def test_from_the_archive_to_a_trained_victim_to_scored_images(store: Store) -> None:
    folder: Path = store.settings.datasets / "cifar100"
    folder.mkdir(parents=True)
    cifar100_archive(folder / "cifar-100-binary.tar.gz", per_class=8, test_per_class=2)  # placed by hand

    spec = victim_spec("lenet", "cifar100", store.settings)
    asked = TrainRequest(spec, "lenet", DataChoice("cifar100"), replace(RECIPE, augment="none"), "cpu")
    job = submit_training(store, asked).job_id
    run_until_idle(store)
    assert job_row(store, job).state == "done"
    victim = final_model(store, job)
    assert (victim.spec.num_classes, victim.spec.class_names[7]) == (100, "thing_07")
    assert (victim.facts["images"], victim.facts["held_out"]) == (800, 200)
    assert victim.facts["accuracy"] > 0.10  # ten times chance
    view = training(store, job)
    assert [row.epoch for row in view.rows] == list(range(1, 13))
    assert view.rows[-1].train_loss < view.rows[0].train_loss / 2

    held = DataChoice("cifar100", part=TEST, classes=("thing_07",), count=2)
    model, weights, name = stored_model(store, victim.model_id)
    prepared = load_choice(store.settings, held, spec=model)
    pixels = {of_class(7, number, 32).tobytes() for number in (8, 9)}  # what was put into test.bin
    assert {image.original.tobytes() for image in prepared} == pixels
    assert {image.label for image in prepared} == {7}
    attack = AttackRequest(model, name, weights, "cifar100", tuple(prepared), "dlg", {"iterations": 40}, controls=1)
    run = submit_attack(store, attack).job_id
    run_until_idle(store)
    assert job_row(store, run).state == "done"
    assert job_row(store, run).title.startswith("dlg on lenet · cifar100 · ")
    assert model_entry(store, victim.model_id).runs == (run,)

    p, r, s = schema.pairings, schema.reconstructions, schema.scores
    query = (
        select(s.c.value)
        .join(p, p.c.id == s.c.subject_id)
        .join(r, r.c.id == p.c.reconstruction_id)
        .where(s.c.subject_kind == "pairing", s.c.metric == "mse", r.c.role == "attack", r.c.job_id == run)
    )
    with store.database.read() as connection:
        scores = connection.execute(query).scalars().all()
    assert len(scores) == 2
    assert np.isfinite(np.array(scores, dtype=float)).all()

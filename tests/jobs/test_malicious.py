"""A malicious server's attack as a job: what is stored is the honest model, and the record says what was sent."""

import json

from sqlalchemy import select

from core.jobs.queue import submit
from core.jobs.runner import Runner
from core.leakage.threat import ThreatModel
from core.report.labels_recovered import label_recovery
from core.storage import schema
from core.storage.store import Store
from tests.jobs.conftest import MLP, attack_job, job_row, prepared, record


def test_the_server_changes_the_model_that_it_sends_and_not_the_one_that_is_stored(store: Store) -> None:
    threat = ThreatModel(batch_size=2, labels="inferred")
    # noise pictures are all about as bright: the server expects just that
    job = submit(store, attack_job(store, attack="imprint", threat=threat, centre=0.5, spread=0.02), "imprint").job_id
    Runner(store).run(until_idle=True)
    assert job_row(store, job).state == "done"
    assert record(store, job)["server sent"] == "a changed model: 256 bins in front of mlp"
    r = schema.reconstructions
    with store.database.read() as connection:
        rows = connection.execute(select(r.c.image_sha, r.c.role, r.c.status).where(r.c.job_id == job)).all()
    assert json.loads(job_row(store, job).payload)["model"]["architecture"] == MLP.architecture == "mlp"
    found = {store.artifacts.read_png(row.image_sha)[..., :1].tobytes() for row in rows if row.role == "attack"}
    assert found == {picture.original.tobytes() for picture in prepared(4)}
    assert {row.role for row in rows} >= {"attack", "mismatched"}
    labels = label_recovery(store, job)
    assert labels is not None
    assert (labels.updates, labels.images) == (2, 4)
    assert labels.share >= 0.75

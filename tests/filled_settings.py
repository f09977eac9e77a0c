"""A campaign with real rows for tests: settings that leak less and less, answered, with controls and set scores.

Settings 1 to `len(amounts)` are done; then come one that waits, one whose training runs, one that failed.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import uuid4

from sqlalchemy import insert

from core.images.dataset import DataChoice
from core.jobs.payloads import AttackJob, CampaignJob, TrainJob, identity, to_json
from core.labels.annotators import annotator_id
from core.labels.answers import answer_reconstruction
from core.leakage.threat import ChosenDefence, ThreatModel
from core.metrics.sets import SET_METRICS
from core.models.spec import ModelSpec, spec_identity
from core.models.training.recipe import PAPER_RECIPES
from core.storage import schema
from core.storage.database import bump
from core.storage.scores import StoredScore, write_scores
from core.storage.sets import set_name, setting_key
from core.storage.store import Store
from tests.filled_store import _scores, _store_one, degrade, photographs, score

AMOUNTS = (0.05, 0.25, 0.45, 0.7, 0.9)
ANNOTATORS = ("Ana", "Ben", "Cleo")


@dataclass(frozen=True)
class FilledSettings:
    """What `fill_settings` put in."""

    campaign: int
    runs: tuple[int, ...]  # attack jobs of the settings that are done, in the plan's order
    reconstructions: tuple[tuple[int, ...], ...]  # of each of them, in order of target
    pairings: tuple[tuple[int, ...], ...]
    failed: int  # the attack job that failed
    training: int
    models: tuple[int, ...]


def fill_settings(
    store: Store, *, amounts: Sequence[float] = AMOUNTS, originals: int = 4, answers: bool = True
) -> FilledSettings:
    """Write the campaign; with answers, three people judge all: setting i has `originals` - i recognisable images."""
    images = photographs(originals)
    shas = [store.artifacts.put_png(image) for image in images]
    with store.database.write() as connection:
        ids = tuple(_insert(connection, schema.originals, dataset="photos", name=f"photo-{i}", image_sha=sha, label=i,
                            label_source="dataset", created=1.0) for i, sha in enumerate(shas))  # fmt: skip
        models = tuple(_model(connection, i) for i in range(len(amounts)))
    payloads = [_attack(i, ids, shas) for i in range(len(amounts) + 1)]
    made = [_run(store, payloads[i], amount, i, images, ids) for i, amount in enumerate(amounts)]
    with store.database.write() as connection:
        failed = _job(
            connection, "attack", payloads[-1], "failed", "The device ran out of memory; take smaller shards."
        )
        training = _job(connection, "train", _training(), "running")
        campaign = _job(connection, "campaign", CampaignJob(plan={"name": "mini"}), "running")
        rows = [(run, None) for run, _, _ in made] + [(None, None), (None, training), (failed, None)]
        recipes = [*PAPER_RECIPES, "label smoothing", "mixup", "cosine", "adam"]
        for i, (run, train) in enumerate(rows):
            parts = {"data": "photos", "victim": "lenet", "recipe": recipes[i], "threat": "clean", "attack": "dlg"}
            jobs_of = {"train_job_id": train, "attack_job_id": run, "error": None}
            named = {"title": f"lenet · {recipes[i]}", "parts": json.dumps(parts)}
            _insert(connection, schema.campaign_settings, campaign_id=campaign, position=i, **jobs_of, **named)
        for name in ("jobs", "reconstructions", "scores"):
            bump(connection, name)
    runs, reconstructions, pairings = (tuple(one[i] for one in made) for i in range(3))
    filled = FilledSettings(campaign, runs, reconstructions, pairings, failed, training, models)
    if answers:
        for i, reconstructions in enumerate(filled.reconstructions):
            for place, one in enumerate(reconstructions):
                for annotator in ANNOTATORS:
                    say(store, one, annotator, place < originals - i)
    return filled


def say(store: Store, reconstruction: int, annotator: str, recognised: bool, blind: bool = True) -> None:
    """One answer of one person."""
    answer_reconstruction(
        store, event_id=uuid4().hex, reconstruction=reconstruction, annotator=annotator_id(store, annotator),
        answer="yes" if recognised else "no", seconds=1.0, blind=blind,
    )  # fmt: skip


def set_scores(store: Store, run: int, values: Mapping[str, float], n: int, runs: Sequence[int] = ()) -> None:
    """Set metrics over a run; over its setting where `runs` names several."""
    scope, members = ("setting", list(runs)) if runs else ("run", [run])
    rule = {"scope": scope, "runs": members, "originals": n, "reconstructions": n, "found": [n, n]}
    with store.database.write() as connection:
        text = connection.execute(schema.jobs.select().where(schema.jobs.c.id == run)).one().payload
        key = setting_key(json.loads(text), "photos") if runs else str(run)
        one = {"name": set_name(scope, key, "attacked"), "rule": json.dumps(rule), "identity": uuid4().hex * 2}
        subject = _insert(connection, schema.sets, created=1.0, **one)
        found = [(name, SET_METRICS[name].version, "w", value) for name, value in values.items()]
        write_scores(connection, [StoredScore("set", subject, "attacked", *row) for row in found])
        bump(connection, "scores")


def spec(number: int) -> ModelSpec:
    """The victim of setting `number`."""
    return ModelSpec("lenet", 10, init_seed=number, origin=f"trained by job {number}")


def _attack(number: int, ids: tuple[int, ...], shas: list[str]) -> AttackJob:
    threat = ThreatModel(defences=(ChosenDefence("gaussian", {"std": 0.001}),)) if number == 1 else ThreatModel()
    return AttackJob(spec(number), ids, tuple(shas), "dlg", {"restarts": 1}, threat)


def _training() -> TrainJob:
    return TrainJob(ModelSpec("lenet", 10), DataChoice("photos"), PAPER_RECIPES["crop+flip"].to_dict())


def _model(connection, number: int) -> int:  # type: ignore[no-untyped-def]
    facts = {"accuracy": 0.9 - 0.1 * number, "held_out": 200, "epsilon": 4.5 if number == 2 else None}
    facts |= {"delta": 1e-5, "unit": "one image (add or remove one)"} if number == 2 else {}
    facts["recipe"] = list(PAPER_RECIPES.values())[number % 7].to_dict()
    one = spec(number)
    return _insert(connection, schema.models, name=f"victim {number}", spec=one.to_json(), identity=spec_identity(one),
                   origin=one.origin, epoch=20, facts=json.dumps(facts), created=1.0)  # fmt: skip


def _run(store, payload, amount, number, images, ids):  # type: ignore[no-untyped-def]
    made = [degrade(image, amount, 100 * number + i) for i, image in enumerate(images)]
    noise = [degrade(image, 1.0, 5000 + i) for i, image in enumerate(images[:2])]
    rows, reconstructions, pairings = [], [], []
    with store.database.write() as connection:
        job = _job(connection, "attack", payload, "done")
        for role, pictures in (("attack", made), ("mismatched", noise), ("prior", noise)):
            for target, picture in enumerate(pictures):
                one, pairing = _store_one(store, connection, job, role, target, picture, ids[target])
                rows += _scores(pairing, score(images[target], picture), False)
                if role == "attack":
                    reconstructions.append(one)
                    pairings.append(pairing)
        write_scores(connection, rows)
    return job, tuple(reconstructions), tuple(pairings)


def _job(connection, kind, payload, state, error=None):  # type: ignore[no-untyped-def]
    now = time.time() - 3600
    return _insert(connection, schema.jobs, kind=kind, title=f"{kind} of a test", payload_type=payload.type_tag,
                   payload_version=1, payload=to_json(payload), identity=identity(payload), state=state, wanted="run",
                   attempt=1, error=error, created=now, started=now, finished=now + 30)  # fmt: skip


def _insert(connection, table, **values):  # type: ignore[no-untyped-def]
    return int(connection.execute(insert(table).values(**values)).inserted_primary_key[0])

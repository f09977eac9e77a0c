"""A run of the model alone, from request to rows: no update, classes wanted, nearest originals, its own controls."""

import math
from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import select

from core.errors import UserError
from core.jobs.compose import AttackRequest, check
from core.jobs.events import Event
from core.jobs.plan import ShardPlan, check_payload, plan_attack
from core.jobs.queue import submit
from core.jobs.results import ShardRow, pair_with_nearest
from core.jobs.runner import Runner
from core.jobs.shards import plan_shards, run_shard
from core.leakage.threat import ThreatModel
from core.models.spec import ModelSpec
from core.report.evidence import run_verdict, threshold
from core.report.export import export_html, read_export
from core.report.frames import RECOGNITION, axis, relate, with_recognition
from core.report.records import Query
from core.report.score_frames import score_frame
from core.report.views import reconstruction_page
from core.storage import schema
from core.storage.store import Store
from tests.jobs.conftest import MLP, attack_job, job_row, outcome, prepared, record

ALONE = ThreatModel(update="none")
NARROW = ModelSpec("convnet", 4, height=9, width=9, arguments={"base": 2})


def rows(store: Store, table: str) -> list:  # type: ignore[type-arg]
    with store.database.read() as connection:
        return list(connection.execute(select(getattr(schema, table))))


def test_from_request_to_verdict(store: Store) -> None:
    payload = attack_job(store, 12, attack="mi-face", threat=ALONE, steps=6)  # labels 0 … 9, 0, 1
    check_payload(payload)
    job = submit(store, payload, "alone").job_id
    Runner(store).run(until_idle=True)
    assert (job_row(store, job).state, job_row(store, job).error) == ("done", None)
    results = outcome(store, job)
    assert [sum(r[0] == role for r in results) for role in ("attack", "mismatched", "prior", "easy")] == [12, 2, 2, 0]
    assert {(u.gradient_norm, u.loss) for u in rows(store, "updates")} == {(None, None)}
    assert "warnings" not in record(store, job)

    pixels = {i: p.original.astype(float) / 255 for i, p in zip(payload.originals, prepared(12), strict=True)}
    labels = {i: p.label for i, p in zip(payload.originals, prepared(12), strict=True)}
    made = {r.id: r for r in rows(store, "reconstructions")}
    for pair in rows(store, "pairings"):
        one = made[pair.reconstruction_id]
        assert (pair.method, pair.cost_name) == ("nearest", "mse")
        picture = store.artifacts.read_png(one.image_sha)[..., :1].astype(float) / 255
        asked = labels[payload.originals[one.target]]
        costs = {i: float(((picture - pixels[i]) ** 2).mean()) for i in pixels if labels[i] == asked}
        assert pair.original_id == min(costs, key=lambda i: costs[i])
        assert math.isclose(pair.cost, min(costs.values()), rel_tol=1e-9)
        if one.role == "mismatched":  # asked for another class, compared with its target's
            assert one.label != asked
        else:
            assert one.label == asked

    same = [pair.original_id for pair in rows(store, "pairings") if made[pair.reconstruction_id].target in (0, 10)]
    assert len(set(same)) == 1  # two targets of class 0, one picture, one nearest original
    words = "paired with the nearest original of its class (by MSE)"
    found = run_verdict(store, job, threshold()).verdict
    assert words in found.headline
    assert found.originals == 10
    assert {c.name for c in found.controls} == {"another class asked for", "the prior alone"}
    page = export_html(store, job)
    assert page.decode().count(words) > 12
    assert {row["pairing"] for row in read_export(page)["reconstructions"]} == {"nearest"}
    card = reconstruction_page(store, Query(run=job)).cards[0]
    assert (card.pairing_method, card.pairing_cost) == ("nearest", "mse")

    frame = with_recognition(score_frame(store, ["mse", "psnr"]), {})
    related = relate(frame, axis("mse"), axis(RECOGNITION))
    assert (related.nearest, related.n, related.unlabelled) == (12, 0, 0)
    assert "of an attack on the model alone" in related.words
    assert relate(frame, axis("mse"), axis("psnr")).nearest == 0  # a metric beside a metric keeps them


def test_a_shard_finds_originals_of_other_shards(store: Store) -> None:
    """Targets 0 and 1; the nearest of class 0 is target 10, which no shard of theirs holds."""
    payload = replace(attack_job(store, 12, attack="mi-face", threat=ALONE), controls=0)
    originals, labels = [p.original for p in prepared(12)], [p.label for p in prepared(12)]
    images = np.stack([originals[10], originals[0]])[:, None, None]  # target 1 shows what is of class 0, not its own
    shard = ShardRow(1, 1, ShardPlan("attack", (0, 1)))
    paired, method, cost = pair_with_nearest(
        store.artifacts, shard, payload, Event("reconstructions", {}, {"images": images}), originals, labels
    )
    assert (method, cost) == ("nearest", "mse")
    assert (paired[0].target, paired[0].place) == (0, 10)
    assert paired[0].cost == 0.0
    assert labels[paired[1].place] == 1  # by its own class, however alike another class's original is


def test_the_mismatched_control_asks_for_another_class_or_is_not_run(store: Store) -> None:
    payload = attack_job(store, 4, attack="mi-face", threat=ThreatModel(update="none", batch_size=2))
    donors = [plan.donors for plan in plan_attack(payload, [0, 1, 1, 2]) if plan.role == "mismatched"]
    assert donors == []  # both updates hold class 1
    donors = [plan.donors for plan in plan_attack(payload, [0, 1, 3, 2]) if plan.role == "mismatched"]
    assert donors == [(1, 0)]


def test_a_shard_in_a_worker_never_touches_the_originals(store: Store) -> None:
    """The same bytes whatever the pictures are: only their classes reach the attack."""
    payload = replace(attack_job(store, 4, attack="mi-face", threat=ALONE, steps=5), controls=0)
    labels = [p.label for p in prepared(4)]
    found = []
    for pixels in ([p.original for p in prepared(4)], [255 - p.original for p in prepared(4)]):
        events: list[Event] = []
        (shard,) = plan_shards(payload, pixels, labels, None, threads=1)
        run_shard(shard.to_bytes(), events.append, lambda: False)
        assert [event.kind for event in events if event.kind in ("facts", "failed")] == ["facts"]
        found.append(events[-1].arrays["images"].tobytes())
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("attack", "spec", "threat", "words"),
    [
        ("deep-inversion", MLP, ALONE, "this model has none"),
        ("mi-face", NARROW, replace(ALONE, running_statistics=False, batchnorm="train"), "denies them"),
        ("deep-inversion", NARROW, replace(ALONE, running_statistics=False, batchnorm="train"), "denies them"),
        ("mi-face", MLP, ThreatModel(), "needs nothing but the model"),
    ],
)
def test_what_cannot_run_is_refused_before_it_is_stored(attack, spec, threat, words) -> None:  # type: ignore[no-untyped-def]
    request = AttackRequest(spec, "model", None, "noise", tuple(prepared(2, spec)), attack, {}, threat)
    with pytest.raises(UserError, match=words):
        check(request)


def test_without_its_prior_deep_inversion_is_accepted_for_any_model() -> None:
    request = AttackRequest(
        MLP, "model", None, "noise", tuple(prepared(2)), "deep-inversion", {"batchnorm": "0"}, ALONE, controls=0
    )
    check(request)

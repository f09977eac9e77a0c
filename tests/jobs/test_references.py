"""Runs whose pictures an input defence changed are compared with both: what was attacked, and what it was before."""

from dataclasses import asdict, replace

import numpy as np
import pytest
from sqlalchemy import delete, select

from core.images.picture import Prepared
from core.jobs.compose import AttackRequest, submit_attack
from core.jobs.material import attack_of
from core.jobs.payloads import ScoreJob
from core.jobs.queue import submit
from core.jobs.references import is_augmented
from core.jobs.rescore import UNCHANGED, outdated
from core.jobs.runner import Runner
from core.jobs.sources import unaugmented
from core.leakage.threat import ChosenDefence, ThreatModel
from core.metrics.registry import METRICS
from core.metrics.sets import SET_METRICS
from core.report.evidence import run_verdict, threshold
from core.report.export import export_html, read_export
from core.report.references import references
from core.report.score_frames import score_frame
from core.report.sets import set_scores
from core.report.views import image_pairs, role_counts
from core.storage import schema
from core.storage.garbage import collect_files
from core.storage.store import Store
from tests.filled_store import photographs
from tests.jobs.conftest import MLP, attack_job, record

COLOUR = replace(MLP, channels=3, mean=(0.0,) * 3, std=(1.0,) * 3)
CROP = ChosenDefence("crop-flip", {"padding": 2, "flip": True})


def request(*defences: ChosenDefence, count: int = 4, batch: int = 1, spec=COLOUR) -> AttackRequest:  # type: ignore[no-untyped-def]
    """Photographs of 32 px for a model of 8 px, so that the source is larger than the original."""
    from core.images.resize import to_input

    prepared = [
        Prepared(
            f"p{i}",
            to_input(picture, height=spec.height, width=spec.width, channels=spec.channels),
            picture,
            i % 10,
            "drawn",
        )
        for i, picture in enumerate(photographs(count))
    ]
    threat = ThreatModel(batch_size=batch, defences=defences)
    return AttackRequest(spec, "mlp", None, "photos", tuple(prepared), "fake", {"steps": 5}, threat, 0, 1, "cpu")


def done(store: Store, *defences: ChosenDefence, **more: object) -> int:
    run = submit_attack(store, request(*defences, **more)).job_id
    Runner(store).run(until_idle=True)
    return run


def rows(store: Store, table: str) -> list:
    with store.database.read() as connection:
        return list(connection.execute(select(getattr(schema, table))))


def pairs(store: Store, reference: str) -> dict[int, tuple]:
    """reconstruction -> (original, method, name of the cost, cost)"""
    return {
        p.reconstruction_id: (p.original_id, p.method, p.cost_name, p.cost)
        for p in rows(store, "pairings")
        if p.reference == reference
    }


def test_runs_without_augmentation_have_one_reference(store: Store) -> None:
    run = done(store)
    assert references(store, run) == ("attacked",)
    assert {p.reference for p in rows(store, "pairings")} == {"attacked"}
    assert {s.reference for s in rows(store, "scores")} == {"attacked"}


@pytest.mark.parametrize("batch", [1, 2])
def test_every_chosen_reconstruction_has_a_second_pairing_of_the_same_kind(store: Store, batch: int) -> None:
    run = done(store, CROP, batch=batch)
    assert references(store, run) == references(store) == ("attacked", "source")
    chosen = {r.id for r in rows(store, "reconstructions") if r.chosen}
    attacked, source = pairs(store, "attacked"), pairs(store, "source")
    assert set(source) == chosen  # controls included
    assert source == {key: attacked[key] for key in chosen}


def test_the_source_is_scored_by_every_metric_that_is_no_diagnostic(store: Store) -> None:
    done(store, CROP)
    of_source = [s for s in rows(store, "scores") if s.reference == "source"]
    assert {s.metric for s in of_source if s.subject_kind == "pairing"} == {
        name for name, metric in METRICS.items() if not metric.diagnostic
    }
    assert {s.metric for s in of_source if s.subject_kind == "set"} == set(SET_METRICS)
    pairing = {p.id: p for p in rows(store, "pairings")}
    made = {r.id: r.image_sha for r in rows(store, "reconstructions")}
    originals = {o.id: o for o in rows(store, "originals")}
    found = [s for s in of_source if s.metric == "mse"]
    assert len(found) == len([p for p in pairing.values() if p.reference == "source"])
    for one in found:
        of = pairing[one.subject_id]
        before = unaugmented(store, originals[of.original_id].source_sha, COLOUR)
        after = store.artifacts.read_png(made[of.reconstruction_id])
        # by definition: the mean of the squared differences to the picture as it was
        assert one.value == pytest.approx(np.mean((before / 255 - after / 255) ** 2), rel=1e-9)
    assert unaugmented(store, originals[1].source_sha, COLOUR).shape == (8, 8, 3)


def test_every_reader_still_gives_one_row_a_reconstruction(store: Store) -> None:
    run = done(store, CROP)
    attack = [r.id for r in rows(store, "reconstructions") if r.chosen and r.role == "attack"]
    frame = score_frame(store, ["mse"])
    assert list(frame.index) == attack
    source = score_frame(store, ["mse"], run, "source")
    assert list(source.index) == attack
    assert (frame["mse"] != source["mse"]).all()
    assert (source["mse"] > 0).all()
    assert role_counts(store, run)["attack"] == len(attack)
    assert set(image_pairs(store, attack)) == set(attack)
    exported = read_export(export_html(store, run))
    shown = {row["name"]: row["scores"]["mse"] for row in exported["reconstructions"] if row["role"] == "attack"}
    assert len([row for row in exported["reconstructions"] if row["role"] == "attack"]) == 4
    assert shown == pytest.approx(dict(zip(frame["name"], frame["mse"], strict=True)))
    assert run_verdict(store, run, threshold()).verdict.judged == 4
    scopes = {(s.scope, s.metric) for s in set_scores(store, run, "source")}
    assert scopes == {("run", name) for name in SET_METRICS}
    assert collect_files(store, older_than=-1) == []  # sources are named by their originals


def test_a_defence_that_changed_nothing_is_no_augmentation(store: Store) -> None:
    still = ChosenDefence("crop-flip", {"padding": 0, "flip": False})
    run = done(store, still)
    assert not is_augmented(store, attack_of(store, ScoreJob(attack_job=run)))
    assert references(store, run) == ("attacked",)
    assert outdated(store) == {}
    assert record(store, run)[UNCHANGED] is True  # its pictures are not looked at again


def test_grey_models_are_compared_with_grey_sources(store: Store) -> None:
    run = done(store, CROP, spec=MLP)
    frame = score_frame(store, ["mse"], run, "source")
    assert frame["mse"].notna().all()
    sha = rows(store, "originals")[0].source_sha
    grey = unaugmented(store, sha, MLP)
    assert (grey[..., 0] == grey[..., 2]).all()


def test_old_runs_get_their_second_pairing_in_the_background(store: Store) -> None:
    run = done(store, CROP)
    wanted = pairs(store, "source")
    with store.database.write() as connection:  # as a version before this one left it
        connection.execute(delete(schema.scores).where(schema.scores.c.reference == "source"))
        connection.execute(delete(schema.set_members))
        connection.execute(delete(schema.pairings).where(schema.pairings.c.reference == "source"))
    before = {(s.id, s.value) for s in rows(store, "scores")}
    lacking = outdated(store)
    assert set(lacking) == {run}
    assert set(lacking[run]) == {name for name, m in METRICS.items() if not m.diagnostic} | set(SET_METRICS)
    Runner(store).run(until_idle=True)
    assert pairs(store, "source") == wanted
    assert {(s.id, s.value) for s in rows(store, "scores") if s.reference == "attacked"} == before
    assert score_frame(store, ["mse"], run, "source")["mse"].notna().all()
    assert outdated(store) == {}


def test_an_original_without_its_source_has_nothing_to_be_compared_with(store: Store) -> None:
    payload = attack_job(store, 2)
    threat = replace(payload.threat, defences=(ChosenDefence("crop-flip", {"padding": 4, "flip": True}),))
    with store.database.write() as connection:
        connection.execute(schema.originals.update().values(source_sha=None))
    run = submit(store, replace(payload, threat=threat), "x").job_id
    Runner(store).run(until_idle=True)
    assert references(store, run) == ("attacked",)
    assert asdict(threat)["defences"]

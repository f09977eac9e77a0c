"""Sources at a model's size: kept once, made again where they are gone; one that is lost costs its own pairs only."""

import logging
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import delete

from core.images.resize import to_input
from core.jobs import runner as running
from core.jobs import sources
from core.jobs.claims import heartbeat
from core.jobs.compose import submit_attack
from core.jobs.material import NO_SOURCE
from core.jobs.queue import set_wanted
from core.jobs.rescore import UNCHANGED, outdated, rescore
from core.jobs.runner import Runner
from core.jobs.sources import FOLDER, forget_unaugmented, unaugmented
from core.metrics.registry import METRICS
from core.report.references import references
from core.report.score_frames import score_frame
from core.report.sets import set_scores
from core.storage import schema
from core.storage.store import Store
from tests.filled_store import photographs
from tests.jobs.conftest import MLP, job_row, record
from tests.jobs.test_references import COLOUR, CROP, done, pairs, request, rows


def kept(store: Store) -> list[Path]:
    return sorted((store.settings.home / FOLDER).glob("*"))


def sources_of(store: Store) -> list[str]:
    return [original.source_sha for original in rows(store, "originals")]


def lose(store: Store, *shas: str, damaged: bool = False) -> None:
    """Take sources away, as a disk may; nothing that was made of them is left either."""
    shutil.rmtree(store.settings.home / FOLDER, ignore_errors=True)
    for sha in shas:
        file = store.artifacts.path(sha)
        file.write_bytes(file.read_bytes()[:100]) if damaged else file.unlink()


def scorings(store: Store) -> list:
    return [job for job in rows(store, "jobs") if job.kind != "attack"]


def without_second_pairings(store: Store) -> None:
    """As a version before there were any left it."""
    with store.database.write() as connection:
        connection.execute(delete(schema.scores).where(schema.scores.c.reference == "source"))
        connection.execute(delete(schema.set_members))
        connection.execute(delete(schema.pairings).where(schema.pairings.c.reference == "source"))


# --- what is kept ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("spec", [COLOUR, MLP])
def test_sources_are_kept_as_they_are_submitted_and_made_again_alike(store: Store, spec) -> None:  # type: ignore[no-untyped-def]
    submit_attack(store, request(CROP, spec=spec))
    first = {file.name: file.read_bytes() for file in kept(store)}
    assert len(first) == len(set(sources_of(store))) == 4
    for sha, picture in zip(sources_of(store), photographs(4), strict=True):
        wanted = to_input(picture, height=8, width=8, channels=spec.channels)
        wanted = np.repeat(wanted, 3, axis=2) if spec.channels == 1 else wanted
        np.testing.assert_array_equal(unaugmented(store, sha, spec), wanted)
    lose(store)
    for sha, picture in zip(sources_of(store), photographs(4), strict=True):
        made, again = unaugmented(store, sha, spec), unaugmented(store, sha, spec)
        np.testing.assert_array_equal(made, again)
        np.testing.assert_array_equal(
            made[..., 0], to_input(picture, height=8, width=8, channels=spec.channels)[..., 0]
        )
    assert {file.name: file.read_bytes() for file in kept(store)} == first


def test_a_source_is_resized_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    submit_attack(store, request(CROP))
    monkeypatch.setattr(sources, "to_input", lambda *_a, **_k: pytest.fail("it was kept"))
    Runner(store).run(until_idle=True)
    assert {job.state for job in rows(store, "jobs")} == {"done"}
    assert {pair.reference for pair in rows(store, "pairings")} == {"attacked", "source"}


def test_runs_without_a_defence_on_pictures_keep_none(store: Store) -> None:
    done(store)
    assert kept(store) == []


def test_a_damaged_file_is_replaced_and_an_old_one_goes(store: Store) -> None:
    submit_attack(store, request(CROP))
    (sha, *_), (file, *_) = sorted(sources_of(store)), kept(store)
    whole = file.read_bytes()
    for damaged in (b"", whole[:60], b"no picture"):
        file.write_bytes(damaged)
        assert unaugmented(store, sha, COLOUR).shape == (8, 8, 3)
        assert file.read_bytes() == whole
    assert forget_unaugmented(store) == 0
    os.utime(file, (1.0, 1.0))
    Runner(store).run(until_idle=True)  # at its start
    assert file.read_bytes() == whole  # gone, and made again for the run
    os.utime(file, (1.0, 1.0))
    assert forget_unaugmented(store) == 1
    assert not file.exists()


def test_a_folder_that_cannot_be_written_costs_time_only(store: Store) -> None:
    (store.settings.home / FOLDER).write_bytes(b"in the way")
    run = done(store, CROP)
    assert references(store, run) == ("attacked", "source")
    assert score_frame(store, ["mse"], run, "source")["mse"].notna().all()


# --- what is lost ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("damaged", [False, True])
def test_one_lost_source_costs_its_own_pairs_only(store: Store, damaged: bool) -> None:
    run = submit_attack(store, request(CROP)).job_id
    lost = sources_of(store)[3]
    whole = store.artifacts.read_bytes(lost)
    lose(store, lost, damaged=damaged)
    Runner(store).run(until_idle=True)
    assert [(job.state, job.error) for job in rows(store, "jobs")] == [("done", None)] * 2
    of_lost = {p.id for p in rows(store, "pairings") if p.reference == "source" and p.original_id == 4}
    assert of_lost
    told = [s for s in rows(store, "scores") if s.subject_kind == "pairing" and s.subject_id in of_lost]
    assert Counter(s.metric for s in told) == dict.fromkeys(
        (name for name, metric in METRICS.items() if not metric.diagnostic), len(of_lost)
    )
    assert {(s.value, s.special, s.reason) for s in told} == {(None, None, NO_SOURCE)}
    assert score_frame(store, ["mse"], run)["mse"].notna().all()
    assert score_frame(store, ["mse"], run, "source")["mse"].notna().tolist() == [True, True, True, False]
    for one in set_scores(store, run, "source"):
        assert (one.n, one.value) == (3, None)  # no weights here
        assert one.reason.endswith("Source pictures whose files are gone or damaged, and left out: 1.")
    assert {one.reason.count("left out") for one in set_scores(store, run)} == {0}
    assert outdated(store) == {}

    store.artifacts.path(lost).unlink() if damaged else None
    assert store.artifacts.put_bytes(whole, ".png") == lost  # it came back
    rescore(store, run)
    Runner(store).run(until_idle=True)
    assert score_frame(store, ["mse"], run, "source")["mse"].notna().all()
    assert {one.n for one in set_scores(store, run, "source")} == {4}


def test_without_any_source_there_is_one_reference(store: Store) -> None:
    run = submit_attack(store, request(CROP)).job_id
    lose(store, *sources_of(store))
    Runner(store).run(until_idle=True)
    assert {job.state for job in rows(store, "jobs")} == {"done"}
    assert references(store, run) == ("attacked",)
    assert score_frame(store, ["mse"], run)["mse"].notna().all()


def test_sources_that_were_lost_after_their_pairing_are_reasons(store: Store) -> None:
    run = done(store, CROP)
    wanted = pairs(store, "source")
    lose(store, *sources_of(store))
    with store.database.write() as connection:
        connection.execute(delete(schema.scores))
    rescore(store, run)
    Runner(store).run(until_idle=True)
    assert {job.state for job in rows(store, "jobs")} == {"done"}
    assert pairs(store, "source") == wanted
    of_source = [s for s in rows(store, "scores") if s.reference == "source" and s.subject_kind == "pairing"]
    assert {s.reason for s in of_source} == {NO_SOURCE}
    assert {one.n for one in set_scores(store, run, "source")} == {0}


def test_one_lost_source_does_not_keep_other_runs_from_the_background(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken = done(store, CROP)
    lost = sources_of(store)
    more = request(CROP, count=8)
    other = submit_attack(store, replace(more, prepared=more.prepared[4:])).job_id
    Runner(store).run(until_idle=True)
    wanted = [key for key, pair in pairs(store, "source").items() if pair[0] > 4]
    without_second_pairings(store)
    lose(store, *lost)
    monkeypatch.setattr(running, "REFRESH_SECONDS", 0.0)
    monkeypatch.setattr(running, "POLL_SECONDS", 0.0)
    runner = Runner(store)
    with caplog.at_level(logging.WARNING, "semsight.runner"):
        while not (kinds := [job for job in rows(store, "jobs") if job.kind == "rescore"]) or kinds[0].state != "done":
            runner.turn()
        for _ in range(3):
            runner.turn()
    assert [job.parent_id for job in kinds] == [other]
    assert sorted(pairs(store, "source")) == sorted(wanted)
    said = [one.message for one in caplog.records if "is not compared" in one.message]
    assert said == [f"run {broken} is not compared with its sources: some are gone or damaged"]  # and not each minute
    assert UNCHANGED not in record(store, broken)  # it is looked at again, should the files come back
    runner._executor.close()


# --- what takes its time ---------------------------------------------------------------------------------------
@pytest.fixture
def slow(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Runner, list[int]]]:
    """A runner with a scored run whose sources must all be resized anew; how many were, when each heartbeat came."""
    run = done(store, CROP, count=8)
    lose(store)
    hasty = replace(store, settings=replace(store.settings, lease_seconds=0.0))
    monkeypatch.setattr(running, "POLL_SECONDS", 0.0)
    beats: list[int] = []

    def beat(*arguments: object) -> bool:
        beats.append(len(kept(store)))
        return heartbeat(*arguments)

    monkeypatch.setattr(running, "heartbeat", beat)
    rescore(store, run)
    runner = Runner(hasty)
    yield runner, beats
    runner._workers().close()


def test_the_lease_is_kept_between_pictures(slow: tuple[Runner, list[int]], store: Store) -> None:
    runner, beats = slow
    runner.run(until_idle=True)
    assert {job.state for job in rows(store, "jobs")} == {"done"}
    assert set(range(8)) <= set(beats)  # one before each picture


@pytest.mark.parametrize(("wanted", "state"), [("cancel", "cancelled"), ("pause", "paused")])
@pytest.mark.parametrize("picture", [0, 4])
def test_a_person_is_obeyed_between_pictures(
    slow: tuple[Runner, list[int]], store: Store, monkeypatch: pytest.MonkeyPatch, wanted: str, state: str, picture: int
) -> None:
    """Picture 0 is read while the job is planned, 4 while a shard is made."""
    runner, _ = slow
    job = scorings(store)[-1].id
    resize = sources.to_input

    def ask(*arguments: object, **more: object) -> np.ndarray:
        if len(kept(store)) == picture:
            set_wanted(store, job, wanted)
        return resize(*arguments, **more)

    monkeypatch.setattr(sources, "to_input", ask)
    runner.run(until_idle=True)
    assert (job_row(store, job).state, job_row(store, job).lease_owner) == (state, None)
    assert len(kept(store)) == picture + 1
    if wanted == "pause":
        monkeypatch.setattr(sources, "to_input", resize)
        set_wanted(store, job, "run")
        Runner(store).run(until_idle=True)
        assert job_row(store, job).state == "done"
        assert len(kept(store)) == 8


def test_what_nobody_asked_for_gives_way_between_pictures(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run = done(store, CROP, count=8)
    without_second_pairings(store)
    lose(store)
    monkeypatch.setattr(running, "POLL_SECONDS", 0.0)
    submit_attack(store, request(count=1))  # a person's, of another thread than the runner's
    Runner(store)._bring_up_to_date()
    assert [job.kind for job in scorings(store)] == ["score"]
    assert kept(store) == []
    Runner(store).run(until_idle=True)
    Runner(store).run(until_idle=True)
    assert references(store, run) == ("attacked", "source")


def test_a_job_that_another_runner_has_is_dropped_between_pictures(
    slow: tuple[Runner, list[int]], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner, _ = slow
    job = scorings(store)[-1].id
    resize = sources.to_input

    def take(*arguments: object, **more: object) -> np.ndarray:
        with store.database.write() as connection:
            mine = schema.jobs.c.id == job
            values = {"lease_owner": "elsewhere:abc:1", "lease_until": time.time() + 60}
            connection.execute(schema.jobs.update().where(mine).values(**values))
        return resize(*arguments, **more)

    monkeypatch.setattr(sources, "to_input", take)
    while len(kept(store)) < 1:
        runner.turn()
    runner.turn()
    assert (job_row(store, job).state, job_row(store, job).lease_owner) == ("running", "elsewhere:abc:1")
    assert runner._work is None
    assert len(kept(store)) == 1

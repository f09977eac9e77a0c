"""What the rules delete, and what they must never touch: anything that a row still names."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import insert, select, update

from core.settings import load_settings
from core.storage import schema
from core.storage.prune import DAY, Rules, prune
from core.storage.store import Store, open_store
from tests.filled_store import Filled, fill_store

NOW = 2e9  # far in the future: every file of the test is old then
FRAMES = (0, 10, 50)


@pytest.fixture
def store(home: Path) -> Iterator[Store]:
    made = open_store(load_settings())
    yield made
    made.database.dispose()


@pytest.fixture
def filled(store: Store) -> Filled:
    """Two finished runs with three frames of two images each; the last frame of the first is the reconstruction."""
    found = fill_store(store, originals=2, runs=2)
    for place, run in enumerate(found.runs):
        ended = NOW - (10 - 5 * place) * DAY  # 10 and 5 days ago
        with store.database.write() as connection:
            connection.execute(update(schema.jobs).where(schema.jobs.c.id == run).values(finished=ended))
            shard = connection.execute(
                insert(schema.shards).values(job_id=run, position=0, role="attack", plan="{}", state="done")
            ).inserted_primary_key[0]
            for target in (0, 1):
                for step in FRAMES:
                    sha = store.artifacts.put_bytes(f"frame {run} {target} {step}".encode(), ".bin")
                    row = {"shard_id": shard, "target": target, "step": step, "image_sha": sha}
                    connection.execute(insert(schema.previews).values(**row))
    return found


def frames(store: Store, run: int) -> list[tuple[int, int, str]]:
    previews, shards = schema.previews.c, schema.shards.c
    rows = select(previews.target, previews.step, previews.image_sha).join(
        schema.shards, shards.id == previews.shard_id
    )
    with store.database.read() as connection:
        found = connection.execute(rows.where(shards.job_id == run).order_by(previews.target, previews.step))
        return [tuple(row) for row in found]


def every_named_file_is_there(store: Store) -> bool:
    from core.storage.garbage import file_columns

    with store.database.read() as connection:
        return all(
            store.artifacts.exists(sha)
            for column in file_columns()
            for sha in connection.execute(select(column).where(column.is_not(None))).scalars()
        )


def test_a_week_after_its_end_a_run_keeps_each_images_last_frame(store: Store, filled: Filled) -> None:
    old, young = filled.runs
    gone = [sha for _, step, sha in frames(store, old) if step != FRAMES[-1]]
    pruned = prune(store, now=NOW)
    assert [(target, step) for target, step, _ in frames(store, old)] == [(0, 50), (1, 50)]
    assert len(frames(store, young)) == 6
    assert not any(store.artifacts.exists(sha) for sha in gone)
    assert every_named_file_is_there(store)
    size = sum(len(f"frame {old} {target} {step}") for target in (0, 1) for step in (0, 10))
    assert pruned.parts == (("previews", 4, size),)
    assert pruned.words() == f"4 previews ({size} B)"
    assert prune(store, now=NOW).words() == "nothing"


def test_a_run_that_goes_on_keeps_its_frames_whatever_its_age(store: Store, filled: Filled) -> None:
    old, young = filled.runs
    with store.database.write() as connection:
        connection.execute(update(schema.jobs).values(state="paused", finished=None))
    assert not prune(store, Rules(preview_bytes=0), now=NOW).parts
    assert len(frames(store, old)) == len(frames(store, young)) == 6


def test_above_the_cap_the_oldest_runs_lose_theirs_first(store: Store, filled: Filled) -> None:
    old, young = filled.runs
    kept = sum(store.artifacts.path(sha).stat().st_size for _, _, sha in frames(store, young))
    prune(store, Rules(preview_days=1000, preview_bytes=kept), now=NOW)
    assert (len(frames(store, old)), len(frames(store, young))) == (0, 6)
    prune(store, Rules(preview_days=1000, preview_bytes=kept - 1), now=NOW)
    assert frames(store, young) == []
    assert every_named_file_is_there(store)


def test_a_frame_that_two_ended_runs_share_counts_once(store: Store, filled: Filled) -> None:
    """Two runs of one shared frame, then one with a frame of its own: the shared file goes with the second run only."""
    old, young = filled.runs
    shared = frames(store, old)[0][2]
    own = store.artifacts.put_bytes(b"a frame of the newest run alone", ".bin")
    with store.database.write() as connection:
        connection.execute(update(schema.previews).values(image_sha=shared))
        job = dict(connection.execute(select(schema.jobs).where(schema.jobs.c.id == young)).mappings().one())
        job |= {"id": None, "identity": "newest", "finished": NOW - DAY}
        newest = connection.execute(insert(schema.jobs).values(**job)).inserted_primary_key[0]
        shard = {"job_id": newest, "position": 0, "role": "attack", "plan": "{}", "state": "done"}
        place = connection.execute(insert(schema.shards).values(**shard)).inserted_primary_key[0]
        frame = {"shard_id": place, "target": 0, "step": 0, "image_sha": own}
        connection.execute(insert(schema.previews).values(**frame))
    limit = store.artifacts.path(own).stat().st_size
    prune(store, Rules(preview_days=1000, preview_bytes=limit), now=NOW)
    assert frames(store, old) == frames(store, young) == []  # either alone would free nothing
    assert len(frames(store, newest)) == 1


def test_a_frame_that_another_row_names_stays_as_a_file(store: Store, filled: Filled) -> None:
    """A frame may be the very picture that is a reconstruction, an original, or another run's frame."""
    with store.database.write() as connection:
        sha = connection.execute(select(schema.reconstructions.c.image_sha).limit(1)).scalar_one()
        connection.execute(update(schema.previews).values(image_sha=sha))
    prune(store, Rules(preview_bytes=0), now=NOW)
    assert frames(store, filled.runs[0]) == []
    assert store.artifacts.exists(sha)


def test_what_was_just_written_stays(store: Store, filled: Filled) -> None:
    """Another process may be about to name it; files that no row names are collected a day later anyway."""
    sha = frames(store, filled.runs[0])[0][2]
    os.utime(store.artifacts.path(sha), (NOW - 60, NOW - 60))
    prune(store, now=NOW)
    assert store.artifacts.exists(sha)


def test_files_that_another_database_may_name_stay(store: Store, filled: Filled, tmp_path: Path) -> None:
    other = open_store(replace(store.settings, database_url=f"sqlite:///{tmp_path / 'other.db'}"))
    assert not prune(store, Rules(preview_bytes=0), now=NOW).parts
    assert len(frames(store, filled.runs[0])) == 6
    other.database.dispose()


def test_caches_lose_what_was_unused_for_longest(store: Store) -> None:
    home = store.settings.home
    for name, age in (("prepared/a", 3), ("prepared/b", 1)):
        (home / name).mkdir(parents=True)
        (home / name / "images.npy").write_bytes(b"x" * 100)
        os.utime(home / name, (NOW - age * DAY, NOW - age * DAY))
    (home / "unaugmented").mkdir()
    for name, age in (("c.png", 2), ("d.png", 0)):
        (home / "unaugmented" / name).write_bytes(b"x" * 100)
        os.utime(home / "unaugmented" / name, (NOW - age * DAY, NOW - age * DAY))
    assert prune(store, Rules(cache_bytes=250), now=NOW).parts == (("caches", 2, 200),)
    assert [path.name for path in sorted(home.glob("*/[abcd]*"))] == ["b", "d.png"]
    assert prune(store, Rules(cache_bytes=0), now=NOW).files == 1  # d.png is in use
    assert (home / "unaugmented" / "d.png").exists()


def test_weights_of_trained_victims_are_never_pruned(store: Store) -> None:
    shas = [store.artifacts.put_bytes(f"weights {epoch}".encode(), ".safetensors") for epoch in (1, 5)]
    with store.database.write() as connection:
        for sha in shas:
            model = {"name": "victim", "spec": "{}", "identity": sha[::-1], "weights_sha": sha, "origin": "",
                     "created": 0.0}  # fmt: skip
            connection.execute(insert(schema.models).values(**model))
    prune(store, Rules(0, 0, 0), now=NOW)
    assert all(store.artifacts.exists(sha) for sha in shas)

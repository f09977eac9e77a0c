"""How long the whole table of one run takes: the part of `python -m benchmarks.metrics` behind --whole-table.

A store of its own (removed afterwards) gets a finished run of 600 reconstructions of the bundled faces at 32 px, and
the runner scores it as it scores any run: every metric of pairs with the victim and judges, the diagnostics, the sets.
"""

import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Connection, func, insert, select

from core.images.load import load_images
from core.jobs.payloads import AttackJob, identity, to_json
from core.jobs.queue import original_hashes, store_originals
from core.jobs.rescore import rescore
from core.jobs.runner import run_jobs
from core.models.presets import PRESETS
from core.settings import load_settings
from core.storage.schema import jobs, pairings, reconstructions, scores
from core.storage.store import Store, open_store

COUNT = 600  # reconstructions of a run of the published study


def whole_table(threads: int, device: str) -> None:
    """Score a run of 600 through the runner, and print the seconds from the request to the last score."""
    with tempfile.TemporaryDirectory() as folder:
        weights = os.environ.get("SEMSIGHT_WEIGHTS", str(Path.home() / ".semsight" / "weights"))
        mine = {"HOME": f"{folder}/home", "WEIGHTS": weights, "EXECUTOR": "inline", "THREADS": str(threads)}
        os.environ |= {f"SEMSIGHT_{name}": value for name, value in mine.items()} | {"SEMSIGHT_DEVICE": device}
        settings = load_settings()
        store = open_store(settings)
        run = fill(store)
        rescore(store, run)
        began = time.perf_counter()
        run_jobs(settings, until_idle=True)
        seconds = time.perf_counter() - began
        tell(store, run, seconds)
        store.database.dispose()


def fill(store: Store) -> int:
    """A finished run: the 200 bundled faces and other crops, each under three strengths of noise; its id."""
    spec = PRESETS["lenet"]
    faces = load_images("lfw", spec=spec)
    ids = store_originals(store, "lfw", faces)
    payload = AttackJob(spec, tuple(ids), original_hashes(store, ids), attack="dlg", config={"restarts": 1})
    noise = np.random.default_rng(0)
    made = []
    for target in range(COUNT):
        pixels = faces[target % len(faces)].original
        harm = noise.normal(0, (15, 40, 90)[target // len(faces) % 3], pixels.shape)
        made.append(store.artifacts.put_png(np.clip(np.rint(pixels + harm), 0, 255).astype(np.uint8)))
    with store.database.write() as connection:
        return _rows(connection, payload, made)


def _rows(connection: Connection, payload: AttackJob, made: list[str]) -> int:
    now = time.time()
    job: dict[str, Any] = {
        "kind": "attack", "title": "600 faces", "payload_type": "attack", "payload_version": 1, "state": "done",
        "payload": to_json(payload), "identity": identity(payload), "wanted": "run", "attempt": 1, "created": now,
        "started": now, "finished": now, "record": json.dumps({}),
    }  # fmt: skip
    run = connection.execute(insert(jobs).values(**job)).inserted_primary_key[0]
    common = {"job_id": run, "role": "attack", "restart": 0, "chosen": True, "loss": 0.1, "label": 0}
    common |= {"iterations": 1, "seconds": 0.0, "status": "ok", "created": now}
    rows = [{**common, "target": target, "image_sha": sha} for target, sha in enumerate(made)]
    connection.execute(insert(reconstructions), rows)
    mine = select(reconstructions.c.id, reconstructions.c.target).where(reconstructions.c.job_id == run)
    pairs = [
        {
            "reconstruction_id": row.id, "original_id": payload.originals[row.target % len(payload.originals)],
            "method": "given", "cost_name": "", "reference": "attacked",
        }
        for row in connection.execute(mine)
    ]  # fmt: skip
    connection.execute(insert(pairings), pairs)
    return int(run)


def tell(store: Store, run: int, seconds: float) -> None:
    """What was scored, and in how long."""
    valued = scores.c.value.is_not(None) | scores.c.special.is_not(None)
    query = select(scores.c.subject_kind, scores.c.metric, func.count()).where(valued)
    with store.database.read() as connection:
        found = connection.execute(query.group_by(scores.c.subject_kind, scores.c.metric)).all()
        states = connection.execute(select(jobs.c.state).where(jobs.c.parent_id == run)).scalars().all()
    print("| metric | of | values |\n| --- | --- | ---: |")
    for kind, metric, count in sorted(tuple(row) for row in found):
        print(f"| {metric} | {kind} | {count} |")
    print(f"\nThe whole table of {COUNT} reconstructions, {len(found)} metrics: {seconds:.1f} s; jobs: {states}.")

"""A store with originals and a tiny model, for tests of the runner."""

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select

from core.attacks import ATTACKS
from core.images.picture import Prepared
from core.jobs.payloads import AttackJob
from core.jobs.queue import original_hashes, store_originals
from core.leakage.threat import ThreatModel
from core.models.spec import ModelSpec
from core.settings import Settings, load_settings
from core.storage import schema
from core.storage.store import Store, open_store
from tests.jobs import fakes

MLP = ModelSpec("mlp", num_classes=10, channels=1, height=8, width=8, mean=(0.0,), std=(1.0,), origin="preset mlp")


def prepared(count: int, spec: ModelSpec = MLP) -> list[Prepared]:
    """Different noise pictures with labels 0, 1, 2, …"""
    random = np.random.default_rng(7)
    shape = (spec.height, spec.width, spec.channels)
    images = [random.integers(0, 256, shape).astype(np.uint8) for _ in range(count)]
    return [
        Prepared(f"p{i}", image, np.repeat(image, 3, 2)[..., :3], i % spec.num_classes, "drawn", "")
        for i, image in enumerate(images)
    ]


@pytest.fixture(autouse=True)
def _fake_attack(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Known to this folder's tests alone; what hangs is let go at the end."""
    monkeypatch.setitem(ATTACKS, "fake", fakes.FAKE)
    fakes.RELEASED.clear()
    yield
    fakes.RELEASED.set()


@pytest.fixture
def settings(home: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Inline, two threads at most, impatient."""
    for name, value in {"EXECUTOR": "inline", "THREADS": "1", "LEASE_SECONDS": "5", "DEVICE": "cpu"}.items():
        monkeypatch.setenv(f"SEMSIGHT_{name}", value)
    return load_settings()


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    """An empty store."""
    made = open_store(settings)
    yield made
    made.database.dispose()


def attack_job(store: Store, count: int = 4, *, attack: str = "fake", batch: int = 1, **changes: object) -> AttackJob:
    """A payload over `count` stored originals; changes with names of the config go there, others to the payload."""
    ids = store_originals(store, "noise", prepared(count))
    config = asdict(ATTACKS[attack].config)
    config.update({name: changes.pop(name) for name in list(changes) if name in config})
    payload = AttackJob(
        model=MLP,
        originals=tuple(ids),
        original_hashes=original_hashes(store, ids),
        attack=attack,
        config=config,
        threat=ThreatModel(batch_size=batch),
        device="cpu",
    )
    return replace(payload, **changes)


def outcome(store: Store, job_id: int) -> list[tuple[object, ...]]:
    """What a run came to: role, target, restart, image, loss, chosen of every reconstruction."""
    r = schema.reconstructions
    query = select(r.c.role, r.c.target, r.c.restart, r.c.image_sha, r.c.loss, r.c.chosen)
    with store.database.read() as connection:
        return [
            tuple(row)
            for row in connection.execute(query.where(r.c.job_id == job_id).order_by(r.c.role, r.c.target, r.c.restart))
        ]


def job_row(store: Store, job_id: int):
    """The job's row."""
    with store.database.read() as connection:
        return connection.execute(select(schema.jobs).where(schema.jobs.c.id == job_id)).one()


def record(store: Store, job_id: int) -> dict[str, object]:
    """The job's record."""
    return json.loads(job_row(store, job_id).record)

"""What a job needs from the store to make its shards: images, labels, weights, pairs."""

from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
from sqlalchemy import select

from core.errors import UserError
from core.jobs.payloads import AttackJob, ScoreJob, from_json
from core.jobs.plan import ShardPlan
from core.jobs.references import ATTACKED
from core.jobs.shards import ScoreShard
from core.jobs.sources import Beat, readable, still
from core.metrics.registry import METRICS
from core.models.presets import PRESETS, preset_weights
from core.models.spec import ModelSpec
from core.storage.artifacts import ArtifactStore
from core.storage.schema import jobs, originals, pairings, reconstructions
from core.storage.store import Store

NO_SOURCE = "unavailable: the file of its source picture is gone or damaged"


class StoredPixels(Sequence[np.ndarray]):
    """Originals as uint8 (H, W, C), each read from its file when it is asked for."""

    def __init__(self, artifacts: ArtifactStore, shas: Sequence[str], channels: int) -> None:
        self._artifacts, self._shas, self._channels = artifacts, shas, channels

    @overload
    def __getitem__(self, place: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, place: slice) -> "StoredPixels": ...
    def __getitem__(self, place: int | slice) -> "np.ndarray | StoredPixels":
        """One image, or a part of the sequence."""
        if isinstance(place, slice):
            return StoredPixels(self._artifacts, self._shas[place], self._channels)
        return self._artifacts.read_png(self._shas[place])[:, :, : self._channels]

    def __len__(self) -> int:
        """Number of originals."""
        return len(self._shas)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Read them one after the other."""
        return (self[place] for place in range(len(self)))


def original_labels(store: Store, payload: AttackJob) -> list[int]:
    """True labels of the job's originals, in order."""
    query = select(originals.c.id, originals.c.label).where(originals.c.id.in_(payload.originals))
    with store.database.read() as connection:
        known = {row.id: row.label for row in connection.execute(query)}
    return [known[number] for number in payload.originals]


def weights_of(store: Store, spec: ModelSpec) -> bytes | None:
    """The safetensors bytes that the spec names; None when they are drawn. UserError when they are gone."""
    if not spec.weights_sha256:
        return None
    if store.artifacts.exists(spec.weights_sha256):
        return store.artifacts.read_bytes(spec.weights_sha256)
    for name, preset in PRESETS.items():
        if preset.weights_sha256 == spec.weights_sha256:
            return preset_weights(name)
    raise UserError(f"The weights of {spec.origin or spec.architecture} are gone from the store; upload them again.")


def attack_of(store: Store, payload: ScoreJob) -> AttackJob:
    """The attack whose pairings are scored."""
    columns = (jobs.c.payload_type, jobs.c.payload_version, jobs.c.payload)
    with store.database.read() as connection:
        row = connection.execute(select(*columns).where(jobs.c.id == payload.attack_job)).first()
    attack = from_json(*row) if row is not None else None
    if not isinstance(attack, AttackJob):
        raise UserError(f"Job {payload.attack_job} is no attack, so there is nothing to score.")
    return attack


def pairs_to_score(store: Store, attack_job: int) -> list[tuple[int, str]]:
    """(pairing id, reference) of every chosen reconstruction of the job, controls included, in order of id.

    Of an augmented run each has two, see core.jobs.references.
    """
    query = (
        select(pairings.c.id, pairings.c.reference)
        .join(reconstructions, reconstructions.c.id == pairings.c.reconstruction_id)
        .where(reconstructions.c.job_id == attack_job, reconstructions.c.chosen)
        .order_by(pairings.c.id)
    )
    with store.database.read() as connection:
        return [(row.id, row.reference) for row in connection.execute(query)]


def pair_metrics(payload: ScoreJob, reference: str) -> tuple[str, ...]:
    """The metrics that a score job computes of pairs: no diagnostic where it compares with the source, which the victim
    never saw."""
    asked = [name for name in payload.metrics or METRICS if name in METRICS]
    return tuple(name for name in asked if reference == ATTACKED or not METRICS[name].diagnostic)


def score_shard(store: Store, payload: ScoreJob, plan: ShardPlan, threads: int, beat: Beat = still) -> ScoreShard:
    """The images and labels of a plan's pairs, all of one reference, with what the metrics may ask beside them.

    A source that cannot be read any more is black, and its pair gets a reason.
    """
    attack = attack_of(store, payload)
    known_pairs = pairs_to_score(store, payload.attack_job)
    wanted = [known_pairs[place][0] for place in plan.targets]
    reference = known_pairs[plan.targets[0]][1]
    query = (
        select(
            pairings.c.id,
            originals.c.image_sha.label("original"),
            originals.c.source_sha,
            originals.c.name,
            originals.c.label,
            originals.c.label_source,
            originals.c.class_name,
            reconstructions.c.image_sha,
            reconstructions.c.loss,
        )
        .join(reconstructions, reconstructions.c.id == pairings.c.reconstruction_id)
        .join(originals, originals.c.id == pairings.c.original_id)
        .where(pairings.c.id.in_(wanted))
    )
    with store.database.read() as connection:
        known = {row.id: row for row in connection.execute(query)}
    rows = [known[number] for number in wanted]
    pictures, made, faults = _pictures(store, rows, reference, attack.model, beat)
    return ScoreShard(
        originals=np.stack(pictures),
        reconstructions=np.stack(made),
        labels=np.array([row.label for row in rows], dtype=np.int64),
        metrics=pair_metrics(payload, reference),
        spec=attack.model,
        weights=weights_of(store, attack.model),
        device=payload.device,
        threads=threads,
        losses=np.array([np.nan if row.loss is None else row.loss for row in rows], dtype=np.float64),
        classes=tuple(true_class(row.class_name, row.label, row.label_source, attack.model) for row in rows),
        names=tuple(row.name for row in rows),
        faults=tuple(faults),
    )


def _pictures(
    store: Store, rows: Sequence[Any], reference: str, spec: ModelSpec, beat: Beat
) -> tuple[list[np.ndarray], list[np.ndarray], list[str]]:
    """What is compared with, the reconstruction, and the fault of each pair."""
    read = store.artifacts.read_png
    pictures, made, faults = [], [], []
    for row in rows:
        beat()
        made.append(read(row.image_sha))
        picture = read(row.original) if reference == ATTACKED else readable(store, row.source_sha, spec)
        pictures.append(np.zeros_like(made[-1]) if picture is None else picture)
        faults.append(NO_SOURCE if picture is None else "")
    return pictures, made, faults


def true_class(name: str | None, label: int, source: str, spec: ModelSpec) -> str | None:
    """What the picture shows: its data set's own word, else the model's for its label, unless that was drawn."""
    if name or source == "drawn" or not 0 <= label < len(spec.class_names):
        return name or None
    return spec.class_names[label]

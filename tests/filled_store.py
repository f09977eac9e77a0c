"""A store with real rows for tests: photographs, degraded copies as reconstructions, pairings, scores, answers."""

import json
import time
from dataclasses import asdict, dataclass
from uuid import uuid4

import numpy as np
import skimage.data
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity

from core.jobs.payloads import AttackJob, identity, to_json
from core.labels.annotators import annotator_id
from core.labels.answers import answer_reconstruction
from core.models.spec import ModelSpec
from core.storage import schema
from core.storage.database import bump
from core.storage.scores import StoredScore, write_scores
from core.storage.store import Store

METRIC_NAMES = ("mse", "psnr", "ssim")


@dataclass(frozen=True)
class Filled:
    """What `fill_store` put in."""

    runs: tuple[int, ...]
    originals: tuple[int, ...]
    reconstructions: tuple[int, ...]  # chosen, role attack, in order of run and target
    controls: tuple[int, ...]
    labels: int


def photographs(count: int, size: int = 32) -> list[np.ndarray]:
    """`count` different colour crops, uint8 (size, size, 3), of scikit-image's photographs."""
    sources = [skimage.data.astronaut(), skimage.data.coffee(), skimage.data.chelsea(), skimage.data.rocket()]
    crops = []
    for index in range(count):
        source, place = sources[index % len(sources)], index // len(sources)
        small = source[::3, ::3][: source.shape[0] // 3, : source.shape[1] // 3]
        rows, columns = small.shape[0] - size, small.shape[1] - size
        crops.append(np.ascontiguousarray(small[(place * 17) % rows :, (place * 29) % columns :][:size, :size]))
    return crops


def degrade(pixels: np.ndarray, amount: float, seed: int) -> np.ndarray:
    """Blur and noise in place of an attack: amount 0 gives the picture itself, 1 nothing of it."""
    noise = np.random.default_rng(seed).uniform(0, 255, pixels.shape)
    blurred = gaussian_filter(pixels.astype(float), (2 * amount, 2 * amount, 0))
    return np.clip((1 - amount) * blurred + amount * noise, 0, 255).round().astype(np.uint8)


def score(original: np.ndarray, reconstruction: np.ndarray) -> dict[str, float]:
    """mse, psnr (inf for equal images) and ssim on [0, 1], by scikit-image and numpy."""
    first, second = original / 255, reconstruction / 255
    mse = float(np.mean((first - second) ** 2))
    ssim = float(structural_similarity(first, second, channel_axis=2, data_range=1.0))
    return {"mse": mse, "psnr": float(-10 * np.log10(mse)) if mse else float("inf"), "ssim": ssim}


def fill_store(
    store: Store, *, originals: int = 40, runs: int = 2, labels: int = 0, seed: int = 0, annotator: str = "Ana"
) -> Filled:
    """Write `runs` finished attack jobs over `originals` photographs, each with 2 controls, and `labels` answers.

    Reconstructions grow worse along the targets, so scores and answers correlate. The first of run 1 is perfect
    (PSNR is infinite); ssim of the last target of each run is unscored, with a reason.
    """
    images = photographs(originals)
    shas = [store.artifacts.put_png(image) for image in images]
    with store.database.write() as connection:
        original_ids = tuple(
            connection.execute(
                schema.originals.insert().values(
                    dataset="photos",
                    name=f"photo-{i:03d}",
                    image_sha=sha,
                    label=i % 10,
                    label_source="dataset",
                    created=time.time(),
                )
            ).inserted_primary_key[0]
            for i, sha in enumerate(shas)
        )
    run_ids: list[int] = []
    chosen: list[int] = []
    controls: list[int] = []
    for run in range(runs):
        job, attacked, control = _fill_run(store, run, images, shas, original_ids, seed)
        run_ids.append(job)
        chosen += attacked
        controls += control
    filled = Filled(tuple(run_ids), original_ids, tuple(chosen), tuple(controls), labels)
    _fill_labels(store, filled, labels, annotator)
    return filled


def _fill_run(
    store: Store, run: int, images: list[np.ndarray], shas: list[str], original_ids: tuple[int, ...], seed: int
) -> tuple[int, list[int], list[int]]:
    payload = AttackJob(
        model=ModelSpec("lenet", 10, origin="preset lenet"),
        originals=original_ids,
        original_hashes=tuple(shas),
        attack="dlg",
        config={"restarts": 1},
        seed=seed + run,
    )
    amounts = np.linspace(0.0 if run == 0 else 0.1, 0.9, len(images))
    made = [degrade(image, float(a), 1000 * run + i) for i, (image, a) in enumerate(zip(images, amounts, strict=True))]
    noise = [degrade(image, 1.0, 5000 + i) for i, image in enumerate(images[:2])]
    now = time.time()
    with store.database.write() as connection:
        job = connection.execute(
            schema.jobs.insert().values(
                kind="attack", title=f"dlg on lenet, photos, seed {seed + run}", payload_type="attack",
                payload_version=1,
                payload=to_json(payload), identity=identity(payload), state="done", wanted="run", attempt=1,
                created=now, started=now, finished=now + 30,
            )
        ).inserted_primary_key[0]  # fmt: skip
        rows: list[StoredScore] = []
        ids: dict[str, list[int]] = {"attack": [], "mismatched": []}
        for role, pictures in (("attack", made), ("mismatched", noise)):
            for target, picture in enumerate(pictures):
                reconstruction, pairing = _store_one(
                    store, connection, job, role, target, picture, original_ids[target]
                )
                ids[role].append(reconstruction)
                skip = role == "attack" and target == len(images) - 1
                rows += _scores(pairing, score(images[target], picture), skip)
        write_scores(connection, rows)
        bump(connection, "jobs")
        bump(connection, "reconstructions")
        bump(connection, "scores")
    return job, ids["attack"], ids["mismatched"]


def _store_one(store, connection, job, role, target, picture, original_id):  # type: ignore[no-untyped-def]
    update = connection.execute(
        schema.updates.select().where(schema.updates.c.job_id == job, schema.updates.c.position == target)
    ).first()
    update_id = update.id if update else connection.execute(
        schema.updates.insert().values(job_id=job, position=target, batch_size=1, gradient_norm=1.5, loss=2.3)
    ).inserted_primary_key[0]  # fmt: skip
    reconstruction = connection.execute(
        schema.reconstructions.insert().values(
            job_id=job, update_id=update_id, role=role, target=target, restart=0, chosen=True,
            image_sha=store.artifacts.put_png(picture), loss=0.01 * (target + 1), label=target % 10, iterations=300,
            seconds=1.0, status="ok", created=time.time(),
        )
    ).inserted_primary_key[0]  # fmt: skip
    pairing = connection.execute(
        schema.pairings.insert().values(
            reconstruction_id=reconstruction,
            original_id=original_id,
            method="given",
            cost_name="",
            reference="attacked",
        )
    ).inserted_primary_key[0]
    return reconstruction, pairing


def _scores(pairing: int, values: dict[str, float], skip_ssim: bool) -> list[StoredScore]:
    from core.metrics.registry import METRICS

    reason = "left out on purpose by the fixture"
    return [
        StoredScore("pairing", pairing, "attacked", name, METRICS[name].version, "", None, reason)
        if skip_ssim and name == "ssim"
        else StoredScore("pairing", pairing, "attacked", name, METRICS[name].version, "", value)
        for name, value in values.items()
    ]


def _fill_labels(store: Store, filled: Filled, count: int, annotator: str) -> None:
    """`count` answers by one annotator: the better half of each run is recognised."""
    person = annotator_id(store, annotator)
    half = len(filled.originals) // 2
    for index, reconstruction in enumerate(filled.reconstructions[:count]):
        given = "yes" if index % len(filled.originals) < half else "no"
        answer_reconstruction(
            store,
            event_id=uuid4().hex,
            reconstruction=reconstruction,
            annotator=person,
            answer=given,
            seconds=1.0,
            blind=True,
        )


def dump(filled: Filled) -> str:
    """The ids as JSON, for a test that runs an app in another process."""
    return json.dumps(asdict(filled))

"""From what a person chose to a stored job: the model, the originals, the threat model and the attack. No torch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from sqlalchemy import select

from core.attacks import ATTACKS, configure
from core.errors import UserError
from core.images.load import draw_label, load_images
from core.images.picture import Prepared
from core.jobs.material import weights_of
from core.jobs.payloads import AttackJob
from core.jobs.plan import check_fits, check_statistics
from core.jobs.progress import FRAMES
from core.jobs.queue import Submitted, original_hashes, store_model, store_originals, submit
from core.jobs.references import INPUT_DEFENCES
from core.leakage.defences import check_defences, completed
from core.leakage.defences.pictures import defended
from core.leakage.threat import ThreatModel, check_threat
from core.models.catalogue import check_spec, check_train_mode
from core.models.presets import PRESETS, preset_weights
from core.models.spec import ModelSpec
from core.registry import look_up
from core.storage.schema import models
from core.storage.space import enough_space
from core.storage.store import Store

MOST_IMAGES = 10_000
DEMO_IMAGES = 8


@dataclass(frozen=True)
class AttackRequest:
    """An attack as it was chosen, before anything of it is stored."""

    spec: ModelSpec
    model_name: str
    weights: bytes | None  # safetensors; None where the preset draws them
    dataset: str
    prepared: tuple[Prepared, ...]
    attack: str
    config: Mapping[str, Any] = field(default_factory=dict)  # what differs from the preset
    threat: ThreatModel = field(default_factory=ThreatModel)
    seed: int = 0
    controls: int = 2
    device: str = "auto"


def preset_model(name: str) -> tuple[ModelSpec, bytes | None]:
    """Spec and weights of a preset; UserError for an unknown name."""
    return look_up(PRESETS, name, "model preset"), preset_weights(name)


def stored_model(store: Store, model_id: int) -> tuple[ModelSpec, bytes | None, str]:
    """Spec, weights and name of a model of the store, such as a trained victim; UserError when it is gone."""
    row_of = select(models.c.spec, models.c.name).where(models.c.id == model_id)
    with store.database.read() as connection:
        row = connection.execute(row_of).first()
    if row is None:
        raise UserError(f"There is no model {model_id}; pick one from the list of models.")
    spec = ModelSpec.from_json(row.spec)
    return spec, weights_of(store, spec), row.name


def demo_request() -> AttackRequest:
    """What "Run the demo" asks for: 8 faces, the LeNet of DLG, one image an update."""
    spec, weights = preset_model("lenet")
    prepared = load_images("lfw", spec=spec, limit=DEMO_IMAGES, seed=0)
    return AttackRequest(spec, "lenet", weights, "lfw", tuple(prepared), "dlg")


def relabel(prepared: Prepared, label: int, spec: ModelSpec, source: str = "hand") -> Prepared:
    """The same original under another label; UserError outside the model's classes."""
    if not 0 <= label < spec.num_classes:
        raise UserError(
            f"The label of {prepared.name} is {label}, but the model has the classes 0 to {spec.num_classes - 1}; "
            "correct the label."
        )
    return replace(prepared, label=int(label), label_source=source)


def draw_labels(prepared: tuple[Prepared, ...], spec: ModelSpec, seed: int) -> tuple[Prepared, ...]:
    """Labels drawn by the seed and each picture's name, whatever the data set says."""
    return tuple(relabel(p, draw_label(p.name, spec.num_classes, seed), spec, "drawn") for p in prepared)


def check(request: AttackRequest) -> None:
    """Refuse what cannot run, in one sentence, before anything is stored. Raises UserError."""
    threat, count = request.threat, len(request.prepared)
    attack = look_up(ATTACKS, request.attack, "attack")
    if not 1 <= count <= MOST_IMAGES:
        raise UserError(f"An attack takes 1 to {MOST_IMAGES:,} images, not {count}; choose fewer or at least one.")
    check_threat(threat)
    check_fits(attack, threat)
    if count % threat.batch_size:
        raise UserError(
            f"{count} images do not fill updates of {threat.batch_size}; choose a multiple of {threat.batch_size}."
        )
    check_spec(request.spec)
    check_defences(threat, request.spec)
    check_statistics(attack, configure(request.attack, dict(request.config)), request.spec, threat)
    if threat.batchnorm == "train":
        check_train_mode(request.spec, threat.least_batch)
    if not 0 <= request.seed < 2**31 or not 0 <= request.controls <= count:
        raise UserError(f"The seed is 0 to {2**31 - 1} and the controls 0 to {count}; correct them.")
    for image in request.prepared:
        _check_image(image, request.spec)


def submit_attack(store: Store, request: AttackRequest, *, anew: bool = False) -> Submitted:
    """Store the model and the originals, and queue the attack. The same question asked twice comes back as `already`.

    anew runs it again all the same. Raises UserError as `check` and `configure` do.
    """
    payload = prepare_attack(store, request)
    return submit(store, payload, title(request), anew=anew)


def prepare_attack(store: Store, request: AttackRequest) -> AttackJob:
    """Store the model and the originals; the job that asks for the attack is not stored yet. Raises UserError."""
    check(request)
    request = defend(request)
    config = asdict(configure(request.attack, dict(request.config)))
    enough_space(store.settings.home, _bytes_of(request, int(config.get("restarts", 1))), "This run")
    store_model(store, request.spec, request.model_name, request.weights)
    changed = any(chosen.name in INPUT_DEFENCES for chosen in request.threat.defences)
    ids = store_originals(store, request.dataset, request.prepared, request.spec if changed else None)
    return AttackJob(
        model=request.spec,
        originals=tuple(ids),
        original_hashes=original_hashes(store, ids),
        attack=request.attack,
        config=config,
        threat=request.threat,
        seed=request.seed,
        controls=request.controls,
        device=request.device,
    )


def _bytes_of(request: AttackRequest, restarts: int) -> int:
    """About what a run writes: each image with its source, its previews and its reconstructions, none compressed."""
    pixels = request.spec.height * request.spec.width * request.spec.channels
    sources = sum(image.source.nbytes for image in request.prepared)
    return sources + len(request.prepared) * pixels * (1 + len(FRAMES) + restarts)


def defend(request: AttackRequest) -> AttackRequest:
    """The request with originals as the victim gets them, and all settings of its defences. Once for each request."""
    threat = completed(request.threat)
    return replace(request, prepared=defended(request.prepared, threat, request.seed), threat=threat)


def title(request: AttackRequest) -> str:
    """A run's name in lists, such as "dlg on lenet · 8 lfw · batch 4 · FedAvg · clip · seed 0"."""
    threat = request.threat
    parts = [f"{request.attack} on {request.model_name}", f"{len(request.prepared)} {request.dataset}"]
    if threat.batch_size > 1:
        parts.append(f"batch {threat.batch_size}")
    if threat.update == "weights":
        parts.append("FedAvg")
    parts += [chosen.name for chosen in threat.defences]
    return " · ".join([*parts, f"seed {request.seed}"])[:300]


def _check_image(image: Prepared, spec: ModelSpec) -> None:
    shape, wanted = image.original.shape, (spec.height, spec.width, spec.channels)
    if shape != wanted or image.original.dtype != np.uint8:
        raise UserError(f"{image.name} has the shape {shape}, but the model takes {wanted}; prepare it for this model.")
    if not 0 <= image.label < spec.num_classes:
        relabel(image, image.label, spec)

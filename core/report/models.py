"""The zoo: every model that can be attacked, with its origin, accuracy, size, and the runs that used it. No torch."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, select

from core.errors import UserError
from core.models.catalogue import CATALOGUE, IMPRINT
from core.models.presets import MODELS, PRESETS, training_record
from core.models.sizes import parameter_count
from core.models.spec import ModelSpec
from core.storage.campaigns import LIVE
from core.storage.database import bump
from core.storage.prune import still_named
from core.storage.schema import campaign_settings, jobs, models
from core.storage.store import Store
from core.storage.usage import forget_usage

PRESET, TRAINED, UPLOAD = "preset", "trained", "upload"


@dataclass(frozen=True)
class ModelEntry:
    """One model. id: of its row; None for a preset that was never used. Numbers that are not known are None."""

    id: int | None
    name: str
    source: str  # PRESET, TRAINED, UPLOAD
    origin: str  # in words
    spec: ModelSpec
    architecture: str  # its title
    parameters: int | None
    accuracy: float | None  # share of the held-out images named rightly, in [0, 1]
    held_out: int | None  # how many images that was measured on
    epoch: int | None
    final: bool  # of a training: its last weights rather than those of a chosen epoch
    training: int | None  # the job that trained it
    runs: tuple[int, ...]  # attacks on it, the oldest first
    weights_bytes: int | None  # of its file; None where the weights are drawn
    created: float | None
    facts: dict[str, Any]

    @property
    def input(self) -> str:
        """What it takes, such as "3×32×32"."""
        return f"{self.spec.channels}×{self.spec.height}×{self.spec.width}"

    @property
    def classes(self) -> int:
        """How many it tells apart."""
        return self.spec.num_classes


def zoo(store: Store) -> list[ModelEntry]:
    """Presets first, in their own order, then uploads and trained models, the newest first."""
    with store.database.read() as connection:
        rows = connection.execute(select(models).order_by(models.c.id.desc())).all()
        used = _runs_by_model(connection)
    known = {row.identity: row for row in rows}
    entries = []
    for name, spec in PRESETS.items():
        row = known.pop(_identity(spec.to_json()), None)
        entries.append(_preset(name, spec, row, used))
    return entries + [_stored(store, row, used) for row in rows if row.identity in known]


def model_entry(store: Store, model_id: int) -> ModelEntry:
    """One stored model; UserError when there is none of this number."""
    with store.database.read() as connection:
        row = connection.execute(select(models).where(models.c.id == model_id)).first()
        if row is None:
            raise UserError(f"There is no model {model_id}; pick one from the list of models.")
        used = _runs_by_model(connection)
    for name, spec in PRESETS.items():
        if row.identity == _identity(spec.to_json()):
            return _preset(name, spec, row, used)
    return _stored(store, row, used)


def forget_model(store: Store, model_id: int) -> None:
    """Delete the weights of a chosen epoch and their row, and the file where no other row names it.

    UserError for any other model, and where a run, a campaign's setting that is still to run, or a training needs it.
    """
    with store.database.write() as connection:
        row = connection.execute(select(models).where(models.c.id == model_id)).first()
        if row is None:
            raise UserError(f"There is no model {model_id}; pick one from the list of models.")
        facts = json.loads(row.facts) if row.facts else {}
        if row.job_id is None or facts.get("final"):
            raise UserError(f"{row.name} is no checkpoint of a chosen epoch; only those can be deleted.")
        if runs := _runs_by_model(connection).get(row.identity, ()):
            raise UserError(f"{row.name} was attacked in run {runs[0]}, which needs it; it stays.")
        if _trained_from(connection, row.weights_sha):
            raise UserError(f"{row.name} is where another training starts from; it stays.")
        if (campaign := _awaited_by(connection, row)) is not None:
            raise UserError(
                f"{row.name} is still to be attacked in campaign {campaign}; it stays until that has ended."
            )
        connection.execute(delete(models).where(models.c.id == model_id))
        bump(connection, "jobs")
    if not still_named(store, [row.weights_sha]):
        store.artifacts.remove(row.weights_sha)
    forget_usage(store)


def _awaited_by(connection: Connection, model: Row[Any]) -> int | None:
    """The first campaign that goes on and has a setting without a run yet that may attack this epoch's weights.

    A setting whose training was not asked for yet may turn out to want this very one.
    """
    settings = campaign_settings.c
    waiting = (
        select(settings.campaign_id, settings.train_job_id, settings.parts, jobs.c.payload)
        .join(jobs, jobs.c.id == settings.campaign_id)
        .where(jobs.c.state.in_(LIVE), settings.attack_job_id.is_(None), settings.error.is_(None))
        .order_by(settings.campaign_id, settings.position)
    )
    named: dict[int, set[str]] = {}  # campaign -> its victims that are this model, by its number
    for row in connection.execute(waiting):
        if row.campaign_id not in named:
            victims = json.loads(row.payload)["plan"]["victims"]
            named[row.campaign_id] = {one["name"] for one in victims if one.get("model") == model.id}
        parts = json.loads(row.parts)
        of_training = row.train_job_id in (None, model.job_id) and parts.get("epoch") == model.epoch
        if of_training or parts.get("victim") in named[row.campaign_id]:
            return int(row.campaign_id)
    return None


def _runs_by_model(connection: Connection) -> dict[str, tuple[int, ...]]:
    """Identity of a model -> the attacks on it. Payloads are cut rather than parsed: they name every original."""
    found: dict[str, list[int]] = {}
    identities: dict[str, str] = {}
    attacks = select(jobs.c.id, jobs.c.payload).where(jobs.c.kind == "attack").order_by(jobs.c.id)
    for number, payload in connection.execute(attacks):
        text = _model_text(payload)
        if text not in identities:
            identities[text] = _identity(text)
        found.setdefault(identities[text], []).append(number)
    return {identity: tuple(numbers) for identity, numbers in found.items()}


def _model_text(payload: str) -> str:
    """The model's JSON within an attack's, whose keys are sorted: quotes within strings are escaped, so none is taken
    for a key."""
    head, _, _ = payload.partition(',"original_hashes":[')
    return head[head.rindex('"model":{') + len('"model":') :]


def _trained_from(connection: Connection, sha: str | None) -> bool:
    """Whether a training starts from these weights."""
    payloads = select(jobs.c.payload).where(jobs.c.kind == "train")
    return any(json.loads(text)["model"]["weights_sha256"] == sha for text in connection.execute(payloads).scalars())


def _identity(text: str) -> str:
    """As core.jobs.queue.spec_identity, of a spec's JSON."""
    return hashlib.sha256(text.encode()).hexdigest()


def _preset(name: str, spec: ModelSpec, row: Row[Any] | None, used: dict[str, tuple[int, ...]]) -> ModelEntry:
    record = training_record()
    trained = record["models"].get(name, {})
    file = MODELS / f"{name}.safetensors"
    return ModelEntry(
        id=None if row is None else row.id,
        name=name,
        source=PRESET,
        origin="Comes with SemSight" + (", trained." if spec.weights_sha256 else ", untrained."),
        spec=spec,
        architecture=_title(spec),
        parameters=parameter_count(spec),
        accuracy=trained.get("held_out_accuracy"),
        held_out=len(record["split"]["held_out"]) if trained else None,
        epoch=None,
        final=False,
        training=None,
        runs=used.get(_identity(spec.to_json()), ()),
        weights_bytes=file.stat().st_size if spec.weights_sha256 and file.is_file() else None,
        created=None if row is None else row.created,
        facts=dict(trained),
    )


def _stored(store: Store, row: Row[Any], used: dict[str, tuple[int, ...]]) -> ModelEntry:
    spec = ModelSpec.from_json(row.spec)
    facts: dict[str, Any] = json.loads(row.facts) if row.facts else {}
    source = TRAINED if row.job_id is not None else PRESET if row.origin.startswith("preset ") else UPLOAD
    sha = row.weights_sha
    return ModelEntry(
        id=row.id,
        name=row.name,
        source=source,
        origin=row.origin,
        spec=spec,
        architecture=_title(spec),
        parameters=facts.get("parameters") or parameter_count(spec),
        accuracy=facts.get("accuracy"),
        held_out=facts.get("held_out"),
        epoch=row.epoch,
        final=bool(facts.get("final")),
        training=row.job_id,
        runs=used.get(row.identity, ()),
        weights_bytes=store.artifacts.path(sha).stat().st_size if sha and store.artifacts.exists(sha) else None,
        created=row.created,
        facts=facts,
    )


def _title(spec: ModelSpec) -> str:
    if spec.architecture == IMPRINT:
        return f"Imprint before {spec.arguments.get('inner')}"
    known = CATALOGUE.get(spec.architecture)
    return known.title if known is not None else spec.architecture

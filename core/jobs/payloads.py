"""What is asked of the runner: frozen dataclasses, stored as canonical JSON under a type tag and a version."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from core.errors import UserError
from core.images.dataset import DataChoice
from core.leakage.threat import ThreatModel
from core.models.spec import ModelSpec


@dataclass(frozen=True)
class AttackJob:
    """Attack these originals under this threat model, then score what comes back."""

    kind: ClassVar[str] = "attack"
    type_tag: ClassVar[str] = "attack"
    version: ClassVar[int] = 1

    model: ModelSpec
    originals: tuple[int, ...]  # ids in table originals, in order; an update takes batch_size of them in turn
    original_hashes: tuple[str, ...]  # their pixels: part of the identity
    attack: str
    config: dict[str, Any]  # every field of the attack's config dataclass, `restarts` included
    threat: ThreatModel = field(default_factory=ThreatModel)
    seed: int = 0
    controls: int = 2  # targets that are attacked again with a mismatched gradient and with the prior alone
    device: str = "auto"


@dataclass(frozen=True)
class ScoreJob:
    """Score every pairing of one attack job with these metrics."""

    kind: ClassVar[str] = "score"
    type_tag: ClassVar[str] = "score"
    version: ClassVar[int] = 1

    attack_job: int
    metrics: tuple[str, ...] = ()  # empty: all that are available
    device: str = "cpu"


@dataclass(frozen=True)
class RescoreJob(ScoreJob):
    """Bring an attack job's scores up to date in the background, after all that people asked for.

    `present` names what the metrics are now: the same state of things is worked up once, however it ends.
    """

    kind: ClassVar[str] = "rescore"
    type_tag: ClassVar[str] = "rescore"

    references: tuple[str, ...] = ()  # what is compared with: attacked, source; empty: all
    present: tuple[str, ...] = ()  # "metric version weights" of each metric


@dataclass(frozen=True)
class TrainJob:
    """Train a victim on these images; each chosen epoch's weights and the last become models of the store."""

    kind: ClassVar[str] = "train"
    type_tag: ClassVar[str] = "train"
    version: ClassVar[int] = 1

    model: ModelSpec  # what is trained: drawn from its init_seed, or from the weights that it names
    data: DataChoice  # with its fingerprint
    recipe: dict[str, Any]  # every field of a core.models.training.recipe.Recipe
    device: str = "auto"


@dataclass(frozen=True)
class CampaignJob:
    """A grid of settings, run as one: the runner asks for its trainings and attacks as their turn comes."""

    kind: ClassVar[str] = "campaign"
    type_tag: ClassVar[str] = "campaign"
    version: ClassVar[int] = 1

    plan: dict[str, Any]  # core.campaigns.plan.Campaign as a dict
    device: str = "auto"


Payload = AttackJob | ScoreJob | TrainJob | CampaignJob
SCORING = (ScoreJob.kind, RescoreJob.kind)  # kinds of jobs that score a run
PAYLOADS: dict[str, type[Payload]] = {
    "attack": AttackJob,
    "score": ScoreJob,
    "rescore": RescoreJob,
    "train": TrainJob,
    "campaign": CampaignJob,
}


def to_json(payload: Payload) -> str:
    """Canonical JSON of a payload: sorted keys, no spaces, no NaN."""
    return json.dumps(asdict(payload), sort_keys=True, separators=(",", ":"), allow_nan=False)


def from_json(type_tag: str, version: int, text: str) -> Payload:
    """Rebuild a payload; raise UserError for a tag or version that this code does not know."""
    kind = PAYLOADS.get(type_tag)
    if kind is None or kind.version != version:
        raise UserError(
            f"This job was stored as {type_tag} version {version}, which this version of SemSight cannot run; "
            "update SemSight or start the job anew."
        )
    values: dict[str, Any] = json.loads(text)
    if kind is AttackJob:
        values["config"] = renamed(values["attack"], values["config"])
        values["model"] = ModelSpec.from_json(json.dumps(values["model"]))
        values["threat"] = ThreatModel.from_dict(values["threat"])
    if kind is TrainJob:
        values["model"] = ModelSpec.from_json(json.dumps(values["model"]))
        data: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values["data"].items()}
        values["data"] = DataChoice(**data)
    restored: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    return kind(**restored)


def renamed(attack: str, config: dict[str, Any]) -> dict[str, Any]:
    """Stored settings under the names that they have now: iDLG's `rule` was auto or "row sums"."""
    if attack != "idlg" or "rule" not in config:
        return config
    rule = {"row sums": "idlg"}.get(config["rule"], config["rule"])
    return {**{name: value for name, value in config.items() if name != "rule"}, "label_rule": rule}


def identity(payload: Payload) -> str:
    """sha256 that tells whether two jobs ask the same: the type, and the JSON, which names weights and images."""
    text = f"{payload.type_tag}:{payload.version}:{to_json(payload)}"
    return hashlib.sha256(text.encode()).hexdigest()

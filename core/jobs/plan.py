"""How a job is cut into shards: pure, torch-free, and the same on every machine."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

from core.attacks import ATTACKS, config_from_dict, recipe
from core.attacks.base import Attack
from core.attacks.deep_inversion import DENIED, NO_BATCHNORM
from core.errors import UserError
from core.jobs.devices import CPU_SLOTS, Room
from core.jobs.payloads import AttackJob, Payload
from core.leakage.controls import easy_case, pick_donors, pick_other_classes
from core.leakage.defences import check_defences
from core.leakage.threat import ThreatModel, check_threat
from core.models.catalogue import CATALOGUE, check_spec, check_train_mode
from core.models.spec import ModelSpec
from core.registry import look_up

Item = TypeVar("Item")

IMAGE_SLOTS = CPU_SLOTS
PAIRS = 256  # pairs of a scoring shard


@dataclass(frozen=True)
class ShardPlan:
    """What one shard does, as stored in its row.

    targets: updates of the job (attack, controls), places in the list of pairings (score), or in core.jobs.sets.SETS
    (sets).
    donors: for a mismatched control, the updates whose gradients are swapped in.
    """

    role: str  # attack, mismatched, prior, easy, score, sets
    targets: tuple[int, ...]
    donors: tuple[int, ...] = ()

    def to_json(self) -> str:
        """JSON for the `plan` column; the role has a column of its own."""
        values = asdict(self)
        del values["role"]
        return json.dumps(values)

    @staticmethod
    def from_json(role: str, text: str) -> "ShardPlan":
        """Rebuild a stored plan."""
        values = json.loads(text)
        return ShardPlan(role, tuple(values["targets"]), tuple(values["donors"]))


def check_payload(payload: Payload) -> None:
    """Raise UserError, in one sentence, for a job that could not run."""
    if not isinstance(payload, AttackJob):
        return
    check_spec(payload.model)
    attack = look_up(ATTACKS, payload.attack, "attack")
    config = config_from_dict(payload.attack, payload.config)
    check_threat(payload.threat)
    check_fits(attack, payload.threat)
    check_defences(payload.threat, payload.model)
    check_statistics(attack, config, payload.model, payload.threat)
    size = payload.threat.batch_size
    count = len(payload.originals)
    if payload.threat.batchnorm == "train":
        check_train_mode(payload.model, payload.threat.least_batch)
    if count == 0:
        raise UserError("An attack needs at least one image; choose some.")
    if count % size:
        raise UserError(
            f"{count} images cannot be shared in updates of {size}; choose {count - count % size or size} images "
            f"or a batch size that divides {count}."
        )
    if payload.controls < 0:
        raise UserError(f"The number of control targets must be 0 or more, not {payload.controls}.")
    if len(payload.original_hashes) != count:
        raise ValueError(f"{count} originals came with {len(payload.original_hashes)} hashes.")


def check_fits(attack: Attack, threat: ThreatModel) -> None:
    """Raise UserError when the attack cannot work on what this threat model gives it."""
    size = threat.batch_size
    if not 1 <= size <= attack.max_batch:
        raise UserError(
            f"{attack.title} takes updates of 1 to {attack.max_batch} images, not {size}; choose another batch size."
        )
    if threat.update not in attack.updates:
        shared = {
            "gradients": "a gradient (FedSGD)",
            "weights": "new weights (FedAvg)",
            "none": "nothing but the model",
        }
        wanted = " or ".join(shared[one] for one in attack.updates)
        raise UserError(f"{attack.title} needs {wanted}, and here the client shares {shared[threat.update]}.")
    check_defences(threat)


def check_statistics(attack: Attack, config: Any, spec: ModelSpec, threat: ThreatModel) -> None:
    """Raise UserError when an attack would lack the BatchNorm, or its statistics, that its prior computes with."""
    batchnorm = CATALOGUE[spec.architecture].batchnorm
    weighed = bool(getattr(config, "batchnorm", 0))
    if attack.model_only and batchnorm and not threat.running_statistics:
        raise UserError(DENIED)
    if attack.model_only and not batchnorm and weighed:
        raise UserError(NO_BATCHNORM)
    if not attack.model_only and not batchnorm and weighed:
        raise UserError(recipe.NO_BATCHNORM.format(spec.architecture))
    if attack.model_only or not weighed:
        return
    if getattr(config, "statistics", "") == "batch" and not threat.batch_statistics:
        raise UserError(recipe.NOT_THE_BATCHS)
    if not threat.running_statistics and not threat.batch_statistics:
        raise UserError(recipe.NO_STATISTICS)


def plan_attack(payload: AttackJob, labels: Sequence[int], room: Room | None = None) -> list[ShardPlan]:
    """Shards of an attack: the attack on every update, then its controls on the first `payload.controls` updates.

    labels: true labels of the originals in order. Each shard holds as many updates as `room` (a CPU's) allows.
    A target has no mismatched control when every other update holds one of its pictures, or when it is the only update:
    there is no wrong gradient to swap in. Where the model alone is attacked, another class is asked for instead. The
    easy case attacks the first image of each control update alone.
    """
    size = payload.threat.batch_size
    restarts = int(payload.config.get("restarts", getattr(ATTACKS[payload.attack].config, "restarts", 1)))
    area = payload.model.height * payload.model.width
    slots = (room or Room()).slots_of(len(payload.originals) * restarts, area)
    width = max(1, slots // (size * restarts))
    updates = range(len(payload.originals) // size)
    batches = [tuple(labels[u * size : (u + 1) * size]) for u in updates]
    controls = updates[: payload.controls]
    plans = [ShardPlan("attack", tuple(part)) for part in _parts(updates, width)]
    attack = look_up(ATTACKS, payload.attack, "attack")
    if len(updates) >= 2 and "mismatched" in attack.controls:
        pictures = [payload.original_hashes[u * size : (u + 1) * size] for u in updates]
        alone = payload.threat.update == "none"
        donors = pick_other_classes(batches, controls) if alone else pick_donors(batches, controls, pictures)
        pairs = [(target, donor) for target, donor in zip(controls, donors, strict=True) if donor is not None]
        plans += [
            ShardPlan("mismatched", tuple(t for t, _ in part), tuple(d for _, d in part))
            for part in _parts(pairs, width)
        ]
    if "prior" in attack.controls:
        plans += [ShardPlan("prior", tuple(part)) for part in _parts(controls, width)]
    if easy_case(payload.threat, attack.updates) is not None:
        lone = max(1, slots // restarts)
        plans += [ShardPlan("easy", tuple(part)) for part in _parts(controls, lone)]
    return plans


def plan_score(references: Sequence[str]) -> list[ShardPlan]:
    """Shards over the places of a list of pairings. references: of each pairing; a shard's pairs are all of one."""
    places = {one: [p for p, other in enumerate(references) if other == one] for one in dict.fromkeys(references)}
    return [ShardPlan("score", tuple(part)) for of_one in places.values() for part in _parts(of_one, PAIRS)]


def split(plan: ShardPlan) -> tuple[ShardPlan, ShardPlan] | None:
    """Two halves of a shard that did not fit in memory; None when it has one target only."""
    if len(plan.targets) < 2:
        return None
    half = len(plan.targets) // 2
    return (
        replace(plan, targets=plan.targets[:half], donors=plan.donors[:half]),
        replace(plan, targets=plan.targets[half:], donors=plan.donors[half:]),
    )


def _parts(items: Sequence[Item], width: int) -> list[Sequence[Item]]:
    return [items[start : start + width] for start in range(0, len(items), width)]

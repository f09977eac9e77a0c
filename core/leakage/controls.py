"""The controls that tell leakage from what an attack would show anyway, and failure from safety. Imports no torch.

Mismatched: the same attack on the same target's model and labels, but with another update. Prior alone:
the same attack from the same start with its matching term switched off. What the attack shows above both is leakage.
Easy case: the same attack on the same model, with everything in its favour. Where it fails there too, its failure on
the run's own threat model says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from core.errors import UserError
from core.leakage.threat import ThreatModel

if TYPE_CHECKING:
    from core.leakage.observation import Observation


def pick_donors(
    labels: Sequence[Sequence[int]], targets: Sequence[int], pictures: Sequence[Sequence[str]] | None = None
) -> tuple[int | None, ...]:
    """For each target update the index of another update whose gradient takes its place, or None where there is none.

    labels, pictures: all updates of the job, M × B. Equal pictures are equal pixels: an update that holds a picture of
    the target is no donor, as its gradient would leak the target itself. Without `pictures` all count as different.
    Of the donors left it is the one that shares the most classes with the target (so that the labels still fit the
    gradient and only the picture is wrong); of equals, the next one. Raises UserError when the job has no other update.
    """
    count = len(labels)
    if count < 2:
        raise UserError("The mismatched control swaps the gradients of two updates, and this job has only one.")

    def shared(one: int, other: int) -> int:
        left = list(labels[other])
        total = 0
        for label in labels[one]:
            if label in left:
                left.remove(label)
                total += 1
        return total

    def rank(target: int, step: int) -> tuple[int, int]:
        return (-shared(target, (target + step) % count), step)

    def copies(one: int, other: int) -> bool:
        return pictures is not None and not set(pictures[one]).isdisjoint(pictures[other])

    def donor(target: int) -> int | None:
        steps = [s for s in range(1, count) if not copies(target, (target + s) % count)]
        best = min(steps, key=lambda step: rank(target, step), default=None)
        return None if best is None else (target + best) % count

    return tuple(donor(target) for target in targets)


def pick_other_classes(labels: Sequence[Sequence[int]], targets: Sequence[int]) -> tuple[int | None, ...]:
    """The mismatched control of an attack on the model alone, which has no gradient to swap: for each target the next
    update that holds none of its classes, whose classes the attack is asked for instead; None where there is none.

    labels: all updates of the job, M × B.
    """
    count = len(labels)

    def donor(target: int) -> int | None:
        others = ((target + step) % count for step in range(1, count))
        return next((other for other in others if set(labels[other]).isdisjoint(labels[target])), None)

    return tuple(donor(target) for target in targets)


def easy_case(threat: ThreatModel, updates: Sequence[str]) -> ThreatModel | None:
    """The undefended threat model of one image with all that an attacker may be told, or None where this is it.

    updates: the kinds of update that the attack takes. FedSGD where it can be, else FedAvg of a single step. An attack
    on the model alone has no easier case.
    """
    if threat.update == "none":
        return None
    easy = ThreatModel() if "gradients" in updates else ThreatModel(update="weights", local_lr=threat.local_lr)
    as_asked = replace(threat, adaptive=True) if not threat.defences else threat
    if as_asked.update != "weights":
        as_asked = replace(as_asked, local_epochs=1, local_batch=1, local_lr=easy.local_lr)
    return None if as_asked == easy else easy


def mismatched(observation: Observation, gradients_of: Observation) -> Observation:
    """`observation` with all that comes from the N updates of `gradients_of`: their gradients (or weight differences)
    and their private batches' statistics. Labels, model and all else are kept. An attack on the model alone is asked
    for the classes of `gradients_of` instead.

    Raises UserError when the two are not as many updates of one model, batch size and kind.
    """

    def kind(one: Observation) -> tuple[object, ...]:
        shared = [{name: tensor.shape for name, tensor in part.items()} for part in (one.gradients, one.statistics)]
        return (shared, one.batch_size, one.update, one.clients, one.local)

    if observation.update == gradients_of.update == "none" and kind(observation) == kind(gradients_of):
        return replace(observation, labels=gradients_of.labels)
    if not observation.gradients or kind(observation) != kind(gradients_of):
        raise UserError(
            "The mismatched control needs as many updates of the same model, batch size and kind as it replaces."
        )
    return replace(observation, gradients=dict(gradients_of.gradients), statistics=dict(gradients_of.statistics))


def favourable(config: Any) -> Any:
    """An attack's config for the easy case, which has no private batch's statistics: a prior that insists on those
    takes the model's running ones."""
    return replace(config, statistics="granted") if getattr(config, "statistics", "") == "batch" else config


def prior_alone(config: Any) -> Any:
    """An attack's config with its matching term switched off: only its prior and its start are left."""
    return replace(config, matching=0.0)

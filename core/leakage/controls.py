"""The two controls that tell leakage from what an attack would show anyway. Imports no torch.

Mismatched: the same attack on the same target's model and labels, but with the gradient of another update. Prior alone:
the same attack from the same start with its matching term switched off. What the attack shows above both is leakage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from core.errors import UserError

if TYPE_CHECKING:
    from core.leakage.observation import Observation


def pick_donors(labels: Sequence[Sequence[int]], targets: Sequence[int]) -> tuple[int, ...]:
    """For each target update the index of another update whose gradient takes its place.

    labels: all updates of the job, M × B. The donor shares as many classes with the target as any other update does (so
    that the labels still fit the gradient and only the picture is wrong); of equals, the next one after the target.
    Raises UserError when the job has no other update.
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

    return tuple((t + min(range(1, count), key=lambda step: rank(t, step))) % count for t in targets)


def mismatched(observation: Observation, gradients_of: Observation) -> Observation:
    """`observation` with the gradients of the N updates of `gradients_of`; labels and all else are kept.

    Raises UserError when the two are not as many updates of one model and batch size.
    """
    ours = {name: tensor.shape for name, tensor in observation.gradients.items()}
    theirs = {name: tensor.shape for name, tensor in gradients_of.gradients.items()}
    if ours != theirs or observation.batch_size != gradients_of.batch_size:
        raise UserError("The mismatched control needs as many updates of the same model and batch size as it replaces.")
    return replace(observation, gradients=dict(gradients_of.gradients))


def prior_alone(config: Any) -> Any:
    """An attack's config with its matching term switched off: only its prior and its start are left."""
    return replace(config, matching=0.0)

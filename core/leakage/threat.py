"""The threat model: what is shared and what the attacker is told. Imports no torch, so that pages may use it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from core.errors import UserError

MAX_BATCH = 128
CHOICES = {
    "update": ("gradients", "weights", "none"),
    "batchnorm": ("eval", "train"),
    "labels": ("known", "inferred"),
}


@dataclass(frozen=True)
class ChosenDefence:
    """A defence of `core.leakage.defences.DEFENCES` with every field of its config."""

    name: str
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ThreatModel:
    """What the client shares and what the attacker is told. Every field is a choice on the Audit page.

    batch_size counts all private images behind one shared update, those of all its clients together.
    """

    batch_size: int = 1  # images an update, 1 to MAX_BATCH
    batchnorm: Literal["eval", "train"] = "eval"  # mode of BatchNorm in the victim's step
    labels: Literal["known", "inferred"] = "known"  # granted (the classes, not their order), or recovered
    update: Literal["gradients", "weights", "none"] = "gradients"  # FedSGD, FedAvg, or the model alone
    clients: int = 1  # so many clients' updates are averaged before the attacker sees them; divides batch_size
    running_statistics: bool = True  # the model comes with its BatchNorm running statistics
    batch_statistics: bool = False  # the attacker is given the private batch's BatchNorm statistics too
    local_epochs: int = 1  # FedAvg: passes over a client's images
    local_batch: int = 1  # FedAvg: images of one local step
    local_lr: float = 0.01  # FedAvg: learning rate of the local SGD
    defences: tuple[ChosenDefence, ...] = ()  # in the order in which they are applied
    adaptive: bool = True  # the attacker is told which defences are in use

    @property
    def client_images(self) -> int:
        """Private images of one client."""
        return self.batch_size // self.clients

    @property
    def local_steps(self) -> int:
        """Steps of SGD that one client makes for an update; 1 for FedSGD."""
        if self.update != "weights":
            return 1
        return self.local_epochs * -(-self.client_images // self.local_batch)

    @property
    def least_batch(self) -> int:
        """Images of the smallest batch that goes through the model at once: BatchNorm in train mode needs some."""
        if self.update != "weights":
            return self.client_images
        return self.client_images % self.local_batch or self.local_batch

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> ThreatModel:
        """From what dataclasses.asdict gave, or from JSON of it. Fields that older versions lack take their default."""
        chosen = tuple(ChosenDefence(one["name"], dict(one["settings"])) for one in values.get("defences", ()))
        return ThreatModel(**{**values, "defences": chosen})


def check_threat(threat: ThreatModel) -> None:
    """Raise UserError, in one sentence, for a threat model that contradicts itself."""
    for name, allowed in CHOICES.items():
        if getattr(threat, name) not in allowed:
            raise UserError(f"{name} is one of {', '.join(allowed)}, not {str(getattr(threat, name))[:40]!r}.")
    if not 1 <= threat.batch_size <= MAX_BATCH:
        raise UserError(f"An update is of 1 to {MAX_BATCH} images, not {threat.batch_size}; choose another batch size.")
    if threat.clients < 1 or threat.batch_size % threat.clients:
        raise UserError(
            f"{threat.batch_size} images an update cannot be shared equally by {threat.clients} clients; choose a "
            "number of clients that divides the images an update."
        )
    if threat.update == "weights" and (
        not 1 <= threat.local_epochs <= 100
        or not 1 <= threat.local_batch <= threat.client_images
        or not 0 < threat.local_lr <= 100
    ):
        raise UserError(
            f"A FedAvg client trains 1 to 100 epochs on local batches of 1 to {threat.client_images} images (what it "
            "has) with a learning rate above 0 and at most 100; correct these three."
        )
    if threat.batchnorm == "eval" and not threat.running_statistics:
        raise UserError(
            "BatchNorm in eval mode computes with the running statistics, so whoever has the model has them; "
            "choose train mode, or grant the running statistics."
        )
    if threat.batch_statistics and threat.batchnorm != "train":
        raise UserError("Only BatchNorm in train mode has statistics of the private batch; choose train, or deny them.")

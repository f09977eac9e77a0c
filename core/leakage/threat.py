"""The threat model: what is shared and what the attacker is told. Imports no torch, so that pages may use it."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ThreatModel:
    """What the client shares and what the attacker is told. Every field is a choice on the Audit page."""

    batch_size: int = 1  # images an update, 1 to 8
    batchnorm: Literal["eval", "train"] = "eval"  # mode of BatchNorm in the victim's step
    labels: Literal["known", "inferred"] = "known"  # granted, or recovered from the update

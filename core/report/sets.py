"""What pages read about set metrics: one figure over all reconstructions of a run, or of its setting. No torch."""

from dataclasses import dataclass
from typing import Literal

from core.storage.store import Store


@dataclass(frozen=True)
class SetScore:
    """One set metric's answer over a run, or over all runs of its setting; value None: unavailable, with the reason."""

    metric: str
    title: str
    direction: Literal["higher", "lower"]  # the end that means more leakage
    value: float | None
    reason: str  # why there is no value; "" where there is one
    n: int  # pictures in the smaller of the two sets
    minimum_sample: int  # below it the value is given with a warning
    warning: str  # in a sentence; "" where there is none
    scope: Literal["run", "setting"]
    runs: tuple[int, ...]  # attack jobs whose reconstructions are in the set


def set_scores(store: Store, run: int, reference: str = "attacked") -> tuple[SetScore, ...]:
    """The set metrics of a run, then of its setting where several runs share it; () before they are scored.

    reference: what the reconstructions are compared with, "attacked" or "source".
    """
    return ()

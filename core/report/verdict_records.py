"""What a verdict is made of, and what it says: small records."""

from dataclasses import dataclass
from typing import Literal

from core.report.verdict_words import EASY
from core.statistics import Estimate

ENOUGH_ANSWERS = 3  # fewer leave a reconstruction undetermined (docs/architecture.md, "recognisable")

Basis = Literal["people", "few answers", "threshold", "nothing"]
Outcome = Literal["leaks", "nothing shown", "inconclusive", "pending"]


@dataclass(frozen=True)
class Threshold:
    """From where on a score counts as leaked; a convention that the reader sees and may change."""

    metric: str
    title: str
    value: float
    direction: Literal["higher", "lower"]  # this end means more leakage
    unit: str = ""

    def crossed(self, score: float) -> bool:
        """Whether `score` lies on the leaking side, the threshold itself included."""
        return self.oriented(score) >= self.oriented(self.value)

    def oriented(self, score: float) -> float:
        """The score, turned so that higher means more leakage."""
        return score if self.direction == "higher" else -score

    def __str__(self) -> str:
        sign = "≥" if self.direction == "higher" else "≤"
        return f"{self.title} {sign} {self.value:g}{' ' + self.unit if self.unit else ''}"


@dataclass(frozen=True)
class Evidence:
    """One chosen reconstruction, compared with the original that it is paired with."""

    reconstruction: int
    original: int
    name: str
    role: str  # attack, mismatched, prior, easy
    score: float | None  # by the threshold's metric; ±inf is a score
    recognised: int = 0  # answers that recognise
    answers: int = 0
    status: str = "ok"
    nearest: str = ""  # the metric by which it was paired with the nearest original of its class; "" otherwise

    @property
    def rate(self) -> float | None:
        """Recognition rate, None without answers."""
        return self.recognised / self.answers if self.answers else None

    @property
    def recognisable(self) -> bool | None:
        """More than half of at least three answers recognise; None with fewer answers."""
        return None if self.answers < ENOUGH_ANSWERS else 2 * self.recognised > self.answers


@dataclass(frozen=True)
class ControlCheck:
    """How one kind of control compares with the attack."""

    role: str
    count: int
    score: float | None  # the score nearest to leakage
    against: float | None  # what it must stay below: median score of the leaked originals
    failed: bool
    reason: str
    name: str = ""  # of the control, for people
    over: int = 0  # scores that `against` is the median of; 0 where it is the threshold

    @property
    def reaches(self) -> bool:
        """True for the control that must reach the bar, not stay below it."""
        return self.role == EASY


@dataclass(frozen=True)
class Verdict:
    """k (`leaked`) of n (`judged`) originals, on which basis, and whether the controls hold."""

    outcome: Outcome
    basis: Basis
    leaked: int
    judged: int
    originals: int
    undetermined: int  # originals left out of n: too few answers, or no score
    failed: int  # originals that do not count as leaked, and on which the attack itself reports that it failed
    interval: Estimate
    worst: tuple[Evidence, ...]
    controls: tuple[ControlCheck, ...]
    threshold: Threshold
    headline: str
    notes: tuple[str, ...]

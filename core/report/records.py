"""What a page of reconstructions is asked for, and what it gets."""

from dataclasses import dataclass, field
from typing import Literal

Label = Literal["any", "unanswered", "answered", "recognisable", "not recognisable", "undetermined", "contested"]
LABELS: tuple[Label, ...] = (
    "any", "unanswered", "answered", "recognisable", "not recognisable", "undetermined", "contested",
)  # fmt: skip
ROLES = ("attack", "mismatched", "prior", "easy")
OTHER_SORTS = ("target", "loss", "rate", "answers", "agreement")  # besides the names of metrics
DIFFERENCE = "difference:"  # before a metric's name: by how much more this run leaks than the one beside it
REFERENCES = ("attacked", "source")  # what a reconstruction is compared with: the attacked pixels, or their source
MAX_PAGE = 100


@dataclass(frozen=True)
class Score:
    """One metric's answer for a card: a value (±inf included), or None with the reason.

    percentile: where it stands among the run's scores of the same role, 0 to 100, 100 leaking most; None without a
    value, for a diagnostic, and where there is nothing to compare with.
    """

    value: float | None
    reason: str = ""
    percentile: float | None = None


@dataclass(frozen=True)
class ScoredMetric:
    """A metric that a run was scored with, in the version that is shown (see core.report.present)."""

    name: str
    version: str
    weights_hash: str
    scored: bool = field(default=True, compare=False)  # whether anything in the run has a value of it
    reason: str = field(default="", compare=False)  # a reason that is stored where there is no value
    anew: int = field(default=0, compare=False)  # where an older version is shown: pairings with the present one,
    of: int = field(default=0, compare=False)  # of how many; 0 where the present version is shown


@dataclass(frozen=True)
class Card:
    """One reconstruction beside its original."""

    reconstruction: int
    pairing: int | None
    original: int | None
    name: str
    label: int | None
    class_name: str | None
    label_source: str
    original_sha: str | None  # the attacked pixels, or the picture that they were made from (reference "source")
    image_sha: str
    target: int
    restart: int
    loss: float | None
    iterations: int
    status: str
    pairing_method: str
    pairing_cost: str = ""  # the metric that the pairing was made by; "" when given
    scores: dict[str, Score] = field(default_factory=dict)
    run: int = 0
    role: str = "attack"
    reference: str = "attacked"


@dataclass(frozen=True)
class Query:
    """What a page asks of a run.

    sort: target, loss, rate, answers, agreement, a metric, or DIFFERENCE before a metric where `beside` names a run.
    least and most bound `filter_metric`. label_index: only originals of this true class. beside: only originals that
    this other run has attacked too.
    """

    run: int
    role: str = "attack"
    sort: str = "target"
    descending: bool = False
    label: Label = "any"
    annotator: str = ""
    filter_metric: str = ""
    least: float | None = None
    most: float | None = None
    page: int = 1
    size: int = 12
    label_index: int | None = None
    reference: str = "attacked"
    beside: int | None = None


@dataclass(frozen=True)
class CardPage:
    """One page of cards, and how many there are in all. others: of the run beside, by reconstruction."""

    cards: tuple[Card, ...]
    total: int
    page: int
    pages: int
    others: dict[int, Card] = field(default_factory=dict)

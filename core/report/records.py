"""What a page of reconstructions is asked for, and what it gets."""

from dataclasses import dataclass, field
from typing import Literal

Label = Literal["any", "unanswered", "answered", "recognisable", "not recognisable", "undetermined"]
LABELS: tuple[Label, ...] = ("any", "unanswered", "answered", "recognisable", "not recognisable", "undetermined")
ROLES = ("attack", "mismatched", "prior", "easy")
OTHER_SORTS = ("target", "loss", "rate")  # besides the names of metrics
MAX_PAGE = 100


@dataclass(frozen=True)
class Score:
    """One metric's answer for a card: a value (±inf included), or None with the reason."""

    value: float | None
    reason: str = ""


@dataclass(frozen=True)
class ScoredMetric:
    """A metric that a run was scored with: the newest version of it."""

    name: str
    version: str
    weights_hash: str
    scored: bool = field(default=True, compare=False)  # whether anything in the run has a value of it
    reason: str = field(default="", compare=False)  # a reason that is stored where there is no value


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
    original_sha: str | None
    image_sha: str
    target: int
    restart: int
    loss: float | None
    iterations: int
    status: str
    pairing_method: str
    pairing_cost: str = ""  # the metric that the pairing was made by; "" when given
    scores: dict[str, Score] = field(default_factory=dict)


@dataclass(frozen=True)
class Query:
    """What a page asks of a run. sort: target, loss, rate or a metric; least and most bound `filter_metric`."""

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


@dataclass(frozen=True)
class CardPage:
    """One page of cards, and how many there are in all."""

    cards: tuple[Card, ...]
    total: int
    page: int
    pages: int

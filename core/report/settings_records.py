"""What a table of settings is made of: rows, columns, ranks, and how rankings agree. Records only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from core.report.evidence import RunVerdict
from core.report.sets import SetScore
from core.report.summary import MetricSummary
from core.statistics.estimate import Estimate
from core.statistics.few import RankTest

Statistic = Literal["mean", "median"]
STATISTICS: tuple[Statistic, ...] = ("mean", "median")
PARTS = ("data", "victim", "recipe", "threat", "attack")
SHARE, RATE = "recognisable", "recognition_rate"  # the two columns that people fill
PEOPLE = (SHARE, RATE)
FEWEST_SETTINGS = 4  # with fewer there is no ranking to agree with
FEWEST_ANSWERED = 3  # images of a setting that people must have answered for it to count in that
FEW_SCORES = 6  # shown before anyone chooses: they stand beside people, verdict and accuracy
# waiting: no run was asked for yet. training: its victim is being trained. scoring: attacked, and being scored.
State = Literal["waiting", "training", "queued", "running", "paused", "scoring", "done", "failed", "cancelled"]


@dataclass(frozen=True)
class Victim:
    """What is known of the attacked model. accuracy: share of `held_out` images, in [0, 1]; None: not known."""

    model: int | None = None  # id in the store; None: not kept there
    name: str = ""
    accuracy: float | None = None
    held_out: int | None = None
    epsilon: float | None = None  # spent by DP-SGD, at delta, for unit: without them it says nothing
    delta: float | None = None
    unit: str = ""  # whose presence ε hides, such as "one image (add or remove one)"
    epoch: int | None = None
    recipe: str = ""  # in words: what differs from the paper's
    recipe_name: str = ""  # what its training called it


@dataclass(frozen=True)
class People:
    """What people said of a setting's reconstructions.

    share: recognisable of those with at least 3 answers. rate: recognised answers of all answers. beside: answers
    given beside the original, which are left out. controls: answers about what was made without the update.
    """

    images: int  # with an answer
    share: Estimate
    recognisable: int
    undetermined: int  # images with fewer than 3 answers
    unlabelled: int
    rate: Estimate
    beside: int = 0
    controls: int = 0


@dataclass(frozen=True)
class SettingRow:
    """One setting. What does not exist yet is None or absent, never 0."""

    place: int  # counts from 1
    title: str
    parts: Mapping[str, str]  # by PARTS, in words
    state: State
    reason: str = ""  # why it has no run, or no complete one; one sentence
    runs: tuple[int, ...] = ()  # attack jobs whose results the row shows
    job: int | None = None  # the newest attack job, with results or not
    train_job: int | None = None
    victim: Victim = field(default_factory=Victim)
    originals: int | None = None  # attacked
    reconstructions: int | None = None
    reference: str = "attacked"  # what its scores compare with
    metrics: Mapping[str, MetricSummary] = field(default_factory=dict)
    unscored: Mapping[str, str] = field(default_factory=dict)  # why a metric has no figure here
    run_sets: Mapping[str, SetScore] = field(default_factory=dict)
    setting_sets: Mapping[str, SetScore] = field(default_factory=dict)  # over all runs of the setting
    people: People | None = None  # None: no results yet
    verdict: RunVerdict | None = None
    drawn: bool = False  # an original's label was drawn: its class was none of the victim's, or so it was asked
    nearest: str = ""  # the metric by which the nearest original of its class was paired with each reconstruction
    pictures: tuple[tuple[int, str], ...] = ()  # a few (original id, image hash of its reconstruction)

    @property
    def whole(self) -> bool:
        """Whether its attack has ended well: only such rows are ranked."""
        return self.state in ("done", "scoring")


@dataclass(frozen=True)
class SettingColumn:
    """A column that ranks settings. direction: the end that means more leakage."""

    name: str
    title: str
    kind: Literal["metric", "set", "people"]
    direction: Literal["higher", "lower"]
    unit: str = ""
    group: str = ""  # of core.report.groups; "" for sets and people
    diagnostic: bool = False  # measures the attack's fit: shown apart, and never ranked
    version: str = ""
    weights_hash: str = ""
    note: str = ""  # what a reader must know: an older version, different numbers of pictures
    ranks: tuple[int | None, ...] = ()  # by row: 1 leaks most, equal values share a place; None: not ranked


@dataclass(frozen=True)
class Agreement:
    """How one column's ranking of the settings agrees with people's. +1: the same order of leakage."""

    column: str
    tau: RankTest
    rho: RankTest


@dataclass(frozen=True)
class SettingsTable:
    """Settings, what was measured of them, their ranks, and which measure ranks them as people do."""

    rows: tuple[SettingRow, ...]
    columns: tuple[SettingColumn, ...]
    agreement: tuple[Agreement, ...]  # () where fewer than FEWEST_SETTINGS have answers; `agreement_words` says so
    agreement_words: str
    against: str  # the column of people that `agreement` is with
    notes: tuple[str, ...]
    reference: str
    blind_only: bool
    statistic: Statistic
    unscored: Mapping[str, str] = field(default_factory=dict)  # metrics without a value anywhere, and why
    references: tuple[str, ...] = ("attacked",)  # that there is a choice of
    campaign: int | None = None
    alike: Mapping[str, str] = field(default_factory=dict)  # PARTS that all rows have in common, in words

    def column(self, name: str) -> SettingColumn:
        """The column of this name; KeyError for none."""
        return next((one for one in self.columns if one.name == name), None) or _missing(name)

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The metrics of pairs, in order."""
        return tuple(one.name for one in self.columns if one.kind == "metric")


def value_of(row: SettingRow, column: SettingColumn, statistic: Statistic) -> float | None:
    """The figure that stands in this cell and ranks the row; None where there is none. ±inf is a value."""
    if column.kind == "people":
        if row.people is None:
            return None
        return (row.people.share if column.name == SHARE else row.people.rate).estimate
    if column.kind == "set":
        found = set_of(row, column.name)
        return None if found is None else found.value
    return figure(row.metrics.get(column.name), statistic)


def set_of(row: SettingRow, name: str) -> SetScore | None:
    """A set metric over the row's run; over all runs of its setting where the row holds several."""
    return (row.run_sets if len(row.runs) == 1 else row.setting_sets).get(name)


def figure(found: MetricSummary | None, statistic: Statistic) -> float | None:
    """The median, or the mean: in dB that of the errors behind the scores, so that an infinite score has its place."""
    if found is None or not found.n:
        return None
    if statistic == "median":
        return found.median
    return found.mean if found.of_mean_error is None else found.of_mean_error


def _missing(name: str) -> SettingColumn:
    raise KeyError(name)

"""The data behind the Correlations page: one row a reconstruction, one column a metric, and what people recognised."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from core.labels.recognition import FEWEST_ANSWERS, Recognition
from core.metrics.registry import METRICS
from core.registry import look_up
from core.report.names import NEAREST, short_name
from core.statistics import Estimate, kendall, spearman

RECOGNITION = "recognition"
STATES = ("recognisable", "not recognisable", "undetermined", "not labelled")


@dataclass(frozen=True)
class Axis:
    """What one axis shows; direction is the end that means more leakage."""

    name: str
    title: str
    direction: str
    unit: str
    diagnostic: bool = False  # measures the attack's fit, never leakage

    @property
    def sign(self) -> int:
        """Multiplies values so that higher means more leakage."""
        return 1 if self.direction == "higher" else -1


@dataclass(frozen=True)
class Relation:
    """How two axes agree, both oriented so that higher means more leakage."""

    spearman: Estimate
    kendall: Estimate
    n: int  # reconstructions with both values
    unscored: int  # without a score on an axis that is a metric
    unlabelled: int  # without an answer, where recognition is an axis
    undetermined: int  # of n: fewer than 3 answers, where recognition is an axis
    nearest: int  # left out where recognition is an axis, and counted nowhere else: see `beside_people`
    words: str  # why there is no number, in one sentence; "" where there is one


@dataclass(frozen=True)
class Points:
    """One kind of point for a plot; infinite scores stand at the edge of the finite ones."""

    state: str
    ids: tuple[int, ...]
    x: tuple[float, ...]
    y: tuple[float, ...]


def axis(name: str) -> Axis:
    """The axis called `name`: a metric, or "recognition". Raises UserError for any other name."""
    if name == RECOGNITION:
        return Axis(RECOGNITION, "Recognition rate", "higher", "")
    metric = look_up(METRICS, name, "metric")
    return Axis(metric.name, short_name(metric.name), metric.direction, metric.unit, metric.diagnostic)


def with_recognition(frame: pd.DataFrame, recognised: Mapping[int, Recognition]) -> pd.DataFrame:
    """A copy of `frame` with columns recognition (rate in [0, 1], NaN without an answer), answers and state."""
    found = [recognised.get(one) for one in frame.index]
    return frame.assign(
        recognition=[math.nan if one is None else one.rate for one in found],
        answers=[0 if one is None else one.answers for one in found],
        state=[_state(one) for one in found],
    )


def relate(frame: pd.DataFrame, x: Axis, y: Axis, beside: int = 0) -> Relation:
    """Rank correlations of two axes over the rows of a frame made by `score_frame` and `with_recognition`.

    beside: answers given beside the original that `frame` leaves out; named where it holds no other.
    """
    made, frame = len(frame), beside_people(frame, x, y)
    nearest = made - len(frame)
    first, second = _column(frame, x) * x.sign, _column(frame, y) * y.sign
    used = ~(np.isnan(first) | np.isnan(second))
    people = RECOGNITION in (x.name, y.name)
    missing = [np.isnan(_column(frame, one)) for one in (x, y) if one.name != RECOGNITION]
    rho = spearman(first, second)
    return Relation(
        spearman=rho,
        kendall=kendall(first, second),
        n=int(used.sum()),
        unscored=int(np.logical_or.reduce(missing).sum()) if missing else 0,
        unlabelled=int((frame["answers"] == 0).sum()) if people else 0,
        undetermined=int((used & (frame["answers"] < FEWEST_ANSWERS)).sum()) if people else 0,
        nearest=nearest,
        words="" if rho.estimate is not None else _why_not(frame, x, y, used, beside, nearest),
    )


def beside_people(frame: pd.DataFrame, x: Axis, y: Axis) -> pd.DataFrame:
    """Where recognition is an axis: without what was paired with the nearest original of its class.

    That choice favours what a metric says is alike, so those pairs would flatter the metric against people.
    """
    return frame[frame["method"] != NEAREST] if RECOGNITION in (x.name, y.name) else frame


def points(frame: pd.DataFrame, x: Axis, y: Axis) -> tuple[list[Points], int]:
    """The points to draw, in each of STATES, and how many of them are infinite and stand at the edge.

    Only finite numbers leave here. Recognition rates, of which there are few different ones, are spread by up to
    0.02 so that points do not hide each other; the same reconstruction always stands at the same place.
    """
    frame = beside_people(frame, x, y)
    first, second = _column(frame, x), _column(frame, y)
    used = ~(np.isnan(first) | np.isnan(second))
    ids = frame.index.to_numpy()[used]
    infinite = int((np.isinf(first[used]) | np.isinf(second[used])).sum())
    shown = [_drawn(first[used], x, ids), _drawn(second[used], y, ids)]
    states = frame["state"].to_numpy()[used]
    kinds = []
    for state in STATES:
        chosen = states == state
        kinds.append(Points(state, *(tuple(values[chosen].tolist()) for values in (ids, *shown))))
    return kinds, infinite


def _state(found: Recognition | None) -> str:
    if found is None:
        return STATES[3]
    if found.recognisable is None:
        return STATES[2]
    return STATES[0] if found.recognisable else STATES[1]


def _column(frame: pd.DataFrame, which: Axis) -> npt.NDArray[np.float64]:
    return frame[which.name].to_numpy(dtype=np.float64)


def _why_not(frame: pd.DataFrame, x: Axis, y: Axis, used: npt.NDArray[np.bool_], beside: int, nearest: int) -> str:
    if not len(frame) and nearest:
        return "Every reconstruction here is of an attack on the model alone, and those are left out."
    if not len(frame):
        return "There are no reconstructions yet."
    for one in (x, y):
        column = _column(frame, one)
        if np.isnan(column).all():
            if one.name == RECOGNITION:
                if beside:
                    return f"No blind answer yet; {beside} given beside the original."
                return "Nobody has labelled any of these reconstructions yet."
            return f"None of these reconstructions has a score of {one.title}."
    count = int(used.sum())
    if count < 3:
        noun = "reconstruction has" if count == 1 else "reconstructions have"
        return f"{count} {noun} both values; a correlation needs at least 3."
    flat = [one.title for one in (x, y) if len(np.unique(_column(frame, one)[used])) == 1]
    verb = "has" if len(flat) == 1 else "have"
    return f"{' and '.join(flat)} {verb} the same value everywhere, so nothing can be ranked."


def spread_out(values: Sequence[float]) -> tuple[list[float], int]:
    """Values for a plot's axis: infinite ones a little beyond the finite ones, and how many they are."""
    found = np.array(values, dtype=np.float64)
    return _at_edge(found).tolist(), int(np.isinf(found).sum())


def _at_edge(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    finite = values[np.isfinite(values)]
    low, high = (finite.min(), finite.max()) if len(finite) else (0.0, 1.0)
    edge = 0.08 * ((high - low) or 1.0)
    return np.clip(values, low - edge, high + edge)


def _drawn(values: npt.NDArray[np.float64], which: Axis, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    shown = _at_edge(values)
    if which.name == RECOGNITION:
        shown = (
            shown + (np.modf(ids * 0.6180339887)[0] - 0.5) * 0.04
        )  # golden-ratio steps: even, and the same each time
    return np.array([float(f"{value:.6g}") for value in shown])

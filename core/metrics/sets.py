"""Metrics of two sets of pictures: every original of a run or a setting, and every reconstruction. Imports no torch.

They compare how pictures are spread, not a reconstruction with its own original: they tell whether what comes out looks
like what went in. Read them beside the pair metrics, never in their place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from core.models.weights import MissingWeights, find_weights
from core.registry import look_up, register
from core.settings import Settings

NEIGHBOURS = 5  # k: as in Naeem et al. 2020
INCEPTION_DIMENSIONS, ALEX_DIMENSIONS = 2048, 256
FEW = 100  # below, a kernel or neighbour estimate moves by as much as it says; a convention, not a measurement


@dataclass(frozen=True)
class SetMetric:
    """A score of how alike two sets of pictures are spread.

    statistic: its name in core.metrics.set_statistics. features: what turns a picture into numbers, a name of
    core.metrics.set_features. direction says which end means more leakage.
    """

    name: str
    title: str
    direction: Literal["higher", "lower"]
    bounds: tuple[float, float]
    features: Literal["inception", "alexnet"]
    statistic: Literal["fid", "kid", "precision", "recall", "density", "coverage"]
    needs: tuple[str, ...]  # names of weights
    least: int  # pictures in each set without which it is not defined
    minimum_sample: int  # pictures in each set below which its value comes with a warning
    version: str
    source: str
    sees: str  # one sentence: what moves this score
    misses: str  # one sentence: what does not, or moves it for a wrong reason
    library: str = ""  # package on the package index whose code or data computes it; "" where it is our own code
    kind: Literal["set"] = "set"


SET_METRICS: dict[str, SetMetric] = {}


def missing_for_set(metric: SetMetric, settings: Settings) -> str:
    """Why `metric` cannot be computed here, or ""."""
    found = (find_weights(name, settings) for name in metric.needs)
    return next((one.reason for one in found if isinstance(one, MissingWeights)), "")


def set_weights_hash(metric: SetMetric, settings: Settings) -> str:
    """sha256 of the weights that its features would be computed with now, "" where they are missing."""
    found = find_weights(metric.needs[0], settings)
    return "" if isinstance(found, MissingWeights) else found.sha256


def look_up_set_metric(name: str) -> SetMetric:
    """The set metric of this name; UserError, with its nearest neighbours, for any other."""
    return look_up(SET_METRICS, name, "set metric")


def warning_of(metric: SetMetric, n: int) -> str:
    """What a reader must know about a value over `n` pictures in the smaller set, or ""."""
    if n >= metric.minimum_sample:
        return ""
    return (
        f"From {n} pictures: with fewer than {metric.minimum_sample:,} it says little by itself and compares only with "
        "a value over as many."
    )


@dataclass(frozen=True)
class _Statistic:
    """What the two versions of a statistic, on Inception's and on AlexNet's features, share."""

    name: Literal["fid", "kid", "precision", "recall", "density", "coverage"]
    title: str
    direction: Literal["higher", "lower"]
    bounds: tuple[float, float]
    source: str
    sees: str
    misses: str


INFINITE = float("inf")
NAEEM = "Naeem et al. 2020, Reliable Fidelity and Diversity Metrics for Generative Models, arXiv 2002.09797"
KYNKAANNIEMI = "Kynkäänniemi et al. 2019, Improved Precision and Recall Metric, arXiv 1904.06991"
STATISTICS = (
    _Statistic(
        "fid",
        "Fréchet distance",
        "lower",
        (0.0, INFINITE),
        "Heusel et al. 2017, GANs Trained by a Two Time-Scale Update Rule, arXiv 1706.08500",
        "It compares mean and covariance of all originals' features with all reconstructions', so what these share, "
        "such as noise or blur, moves it.",
        "It knows no pairs, so faces that are nobody's score as well as the right ones; from few pictures it comes out "
        "too large.",
    ),
    _Statistic(
        "kid",
        "Kernel distance",
        "lower",
        (-INFINITE, INFINITE),
        "Bińkowski et al. 2018, Demystifying MMD GANs, arXiv 1801.01401: unbiased, cubic kernel (x·y / D + 1)³, all "
        "pictures at once",
        "As the Fréchet distance, it grows with every difference of the two spreads; its mean does not depend on the "
        "number of pictures.",
        "It knows no pairs either, and from few pictures it may come out below 0, which means no more than 0 does.",
    ),
    _Statistic(
        "precision",
        "Precision",
        "higher",
        (0.0, 1.0),
        f"{KYNKAANNIEMI}; k = {NEIGHBOURS}, distances up to and including the radius",
        "It is the share of reconstructions no farther from some original than that one's 5th nearest: how many look "
        "like such a picture at all.",
        "One lone original far from the rest has a wide radius and lets anything in; whose picture it is plays no "
        "part.",
    ),
    _Statistic(
        "recall",
        "Recall",
        "higher",
        (0.0, 1.0),
        f"{KYNKAANNIEMI}; k = {NEIGHBOURS}, distances up to and including the radius",
        "It is the share of originals no farther from some reconstruction than that one's 5th nearest: how much of the "
        "variety comes back.",
        "Reconstructions that scatter widely, as noise may, have wide radii and cover originals that nobody would "
        "recognise: read it with precision.",
    ),
    _Statistic(
        "density",
        "Density",
        "higher",
        (0.0, INFINITE),
        f"{NAEEM}; k = {NEIGHBOURS}, distances up to and including the radius",
        "It counts how many originals' neighbourhoods each reconstruction lies in, divided by 5, so a lone original "
        "weighs less than in precision.",
        "It exceeds 1 where reconstructions crowd the middle of the originals: many copies of an average picture score "
        "high.",
    ),
    _Statistic(
        "coverage",
        "Coverage",
        "higher",
        (0.0, 1.0),
        f"{NAEEM}; k = {NEIGHBOURS}, distances up to and including the radius",
        "It is the share of originals with a reconstruction nearer than their 5th nearest original: how many have "
        "something like them in what came out.",
        "Something like it need not be its own reconstruction, and where all originals are alike it is reached easily.",
    ),
)


def _register(statistic: _Statistic, features: Literal["inception", "alexnet"]) -> None:
    inception = features == "inception"
    dimensions = INCEPTION_DIMENSIONS if inception else ALEX_DIMENSIONS
    network = (
        "features before the last layer of the Inception that FID is defined with, at 299 px, by torch-fidelity"
        if inception
        else "AlexNet's last convolution after its ReLU, averaged over its places, at 224 px (bilinear, antialiased)"
    )
    where = "Inception" if inception else "AlexNet; not comparable with published FID"
    if not inception and statistic.name != "fid":
        where = "AlexNet; not comparable with published values"
    metric = SetMetric(
        name=statistic.name if inception else f"{statistic.name}_alex",
        title=f"{statistic.title} ({where})",
        direction=statistic.direction,
        bounds=statistic.bounds,
        features=features,
        statistic=statistic.name,
        needs=("inception-fid" if inception else "alexnet-imagenet-features",),
        least=2 if statistic.name in ("fid", "kid") else NEIGHBOURS + 1,
        minimum_sample=dimensions if statistic.name == "fid" else FEW,
        version="1",
        source=f"{statistic.source}; {network}",
        sees=statistic.sees,
        misses=statistic.misses,
        library="torch-fidelity" if inception else "",
    )
    register(SET_METRICS, metric.name, metric)


for _statistic in STATISTICS:
    _register(_statistic, "inception")
for _statistic in STATISTICS:
    _register(_statistic, "alexnet")

"""Which version of a metric is shown: the present one, or the fullest before it while that is being scored anew.

One rule for a run's columns, the frames of Correlations and the scores of sets. Scores of two versions, or of one
version with two sets of weights, never stand in one column.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from core.errors import UserError
from core.metrics.registry import METRICS, weights_hash
from core.metrics.sets import SET_METRICS, set_weights_hash
from core.report.names import short_name
from core.settings import Settings

KEPT_SECONDS = 2.0  # that what weights are here is believed; looking takes about 1 ms where all are


@dataclass(frozen=True)
class Kind:
    """The rows of one metric, of one version and one set of weights."""

    version: str
    weights: str
    rows: int  # subjects with a value or a reason
    valued: bool  # whether any has a value
    newest: int  # a row's id

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from the other kinds of its metric."""
        return self.version, self.weights


@dataclass(frozen=True)
class Shown:
    """The kind to show. of: where it is not the present one, how many rows it has, and `done` how many that has."""

    kind: Kind
    done: int = 0
    of: int = 0


_known: dict[Settings, tuple[float, dict[str, str]]] = {}


def present_weights(settings: Settings) -> dict[str, str]:
    """Hash of the weights that each metric would use now; "" for none. What is missing here is left out.

    torch's cache is not looked at: converting a file of it would import torch.
    """
    here = replace(settings, torch_cache=None)
    now = time.monotonic()
    kept = _known.get(here)
    if kept is not None and now - kept[0] < KEPT_SECONDS:
        return kept[1]
    asked = {name: partial(weights_hash, name, here) for name in METRICS}
    asked |= {name: partial(set_weights_hash, metric, here) for name, metric in SET_METRICS.items()}
    found = {}
    for name, ask in asked.items():
        try:
            found[name] = ask()
        except (UserError, OSError):
            continue
    for name in SET_METRICS:
        if not found.get(name):
            found.pop(name, None)  # a set metric always needs some
    _known[here] = (now, found)
    return found


def present_mark(settings: Settings) -> str:
    """Versions and weights of all metrics as they are now: part of the key of whatever is kept."""
    weights = present_weights(settings)
    versions = {name: metric.version for name, metric in METRICS.items()}
    versions |= {name: metric.version for name, metric in SET_METRICS.items()}
    return " ".join(f"{name} {version} {weights.get(name)}" for name, version in versions.items())


def shown(metric: str, kinds: Sequence[Kind], settings: Settings) -> Shown:
    """Which of a metric's `kinds` (at least one) is shown.

    The present version, with the weights that are here, else with the newest that gave a value. Until that has as many
    rows as an older kind, the fullest older one. Reasons that name no weights count with those of their version.
    """
    fullest = max(kinds, key=lambda kind: (kind.rows, kind.valued, kind.newest))
    record = METRICS.get(metric) or SET_METRICS.get(metric)
    if record is None:
        return Shown(fullest)
    present = [kind for kind in kinds if kind.version == record.version]
    if not present:
        return Shown(fullest, 0, fullest.rows)
    weights = present_weights(settings).get(metric) if len(present) > 1 else None
    wanted = max(present, key=lambda kind: (kind.weights == weights, kind.valued, kind.newest))
    unnamed = sum(kind.rows for kind in present if not kind.weights and not kind.valued and kind is not wanted)
    done = wanted.rows + unnamed
    return Shown(wanted) if done >= fullest.rows else Shown(fullest, done, fullest.rows)


def anew_words(found: Mapping[str, tuple[int, int]]) -> str:
    """A sentence about the metrics of which an older version is shown, from (done, of) of each; "" for none."""
    if not found:
        return ""
    parts = (f"{short_name(name)} {done:,} of {of:,}" for name, (done, of) in found.items())
    return f"Being scored anew: {', '.join(parts)}; until that is done, the version before is shown."

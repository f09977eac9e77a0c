"""Which version of a metric is shown: the present one, or the fullest before it while that is being scored anew.

One rule for a run's columns, the frames of Correlations and the scores of sets. Scores of two versions, or of one
version with two sets of weights, never stand in one column.
"""

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from core.errors import UserError
from core.metrics.dreamsim import FOLDER as DREAMSIM
from core.metrics.registry import METRICS, weights_hash
from core.metrics.sets import SET_METRICS, set_weights_hash
from core.models.judges import FOLDER as JUDGES
from core.models.weights import WEIGHTS
from core.report.names import short_name
from core.settings import Settings

KEPT_SECONDS = 2.0  # that it is believed which weights are here; looking takes less than 1 ms


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


_states: dict[Settings, tuple[float, str]] = {}
_hashes: dict[tuple[Settings, str], tuple[str, str | None]] = {}


def weights_here(metric: str, settings: Settings) -> str | None:
    """Hash of the weights that a metric would use now; "" for none, None where they are missing.

    torch's cache is not looked at: converting a file of it would import torch. A file is hashed once for each state.
    """
    state = _state(settings)
    kept = _hashes.get((settings, metric))
    if kept is not None and kept[0] == state:
        return kept[1]
    here = replace(settings, torch_cache=None)
    found: str | None = None
    try:
        if metric in METRICS:
            found = weights_hash(metric, here)
        elif metric in SET_METRICS:
            found = set_weights_hash(SET_METRICS[metric], here) or None
    except (UserError, OSError):
        found = None
    _hashes[settings, metric] = (state, found)
    return found


def present_mark(settings: Settings) -> str:
    """Versions and weights of all metrics as they are now: part of the key of whatever is kept."""
    versions = [(name, metric.version) for name, metric in METRICS.items()]
    versions += [(name, metric.version) for name, metric in SET_METRICS.items()]
    return f"{_state(settings)} {versions}"


def _state(settings: Settings) -> str:
    """What changes whenever the weights that are here do, without reading them; believed for KEPT_SECONDS."""
    now = time.monotonic()
    kept = _states.get(settings)
    if kept is not None and now - kept[0] < KEPT_SECONDS:
        return kept[1]
    paths = [settings.weights / f"{name}.safetensors" for name in WEIGHTS]
    for folder in (JUDGES, DREAMSIM):
        paths += sorted((settings.weights / folder).glob("*"))
    parts = []
    for path in paths:
        try:
            status = path.stat()
            parts.append(f"{path} {status.st_mtime_ns} {status.st_size}")
        except OSError:
            continue  # missing
    state = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    _states[settings] = (now, state)
    return state


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
    weights = weights_here(metric, settings) if len(present) > 1 else None
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

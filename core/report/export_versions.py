"""What an exported run says of its metrics: versions, weights and reference, and the scores over all pictures."""

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from core.report.names import short_name
from core.report.records import ScoredMetric
from core.report.references import ATTACKED, REFERENCE_WORDS
from core.report.sets import SetScore

REFERENCE = ATTACKED  # what every score of the file compares with
HASH_DIGITS = 16  # of a weights hash in the table; the JSON holds it whole


def scored_with(metrics: Iterable[ScoredMetric]) -> dict[str, Any]:
    """The reference, and each metric's version and weights ("" for none), as the JSON holds them."""
    told: dict[str, dict[str, Any]] = {}
    for one in metrics:
        told[one.name] = {"version": one.version, "weights_hash": one.weights_hash}
        if one.of:
            told[one.name] |= {"scored_anew": one.anew, "scored_anew_of": one.of}
    return {"reference": REFERENCE, "metrics": told}


def versions_html(metrics: Iterable[ScoredMetric], anew: str) -> str:
    """The same for people; `anew`: a sentence about what is shown in an older version, or ""."""
    rows = "".join(
        f"<tr><td>{escape(short_name(one.name))}</td><td>{escape(one.version)}</td>"
        f"<td>{escape(one.weights_hash[:HASH_DIGITS] or 'none')}</td></tr>"
        for one in metrics
    )
    if not rows:
        return ""
    words = f"Every score compares a reconstruction with the {REFERENCE_WORDS[REFERENCE]}. {anew}".strip()
    head = "<tr><th>metric</th><th>version</th><th>sha256 of its weights</th></tr>"
    return f'<section id="versions"><h2>Metrics</h2><p>{escape(words)}</p><table>{head}{rows}</table></section>'


def set_row(one: SetScore) -> dict[str, Any]:
    """A set metric's answer as the JSON holds it."""
    return {
        "metric": one.metric,
        "version": one.version,
        "weights_hash": one.weights_hash,
        "value": strict(one.value),
        "unscored": one.reason,
        "n": one.n,
        "warning": one.warning,
        "scope": one.scope,
        "runs": list(one.runs),
    }


def sets_html(found: Sequence[SetScore]) -> str:
    """The set metrics' answers, or why there is none."""
    if not found:
        return ""
    rows = "".join(
        f"<tr><td>{escape(one.title)}</td><td>{plain_number(one.value)}</td><td>{one.n}</td><td>{escape(one.scope)}</td>"
        f"<td>{escape(one.version)}</td><td>{escape(one.reason or one.warning)}</td></tr>"
        for one in found
    )
    head = "<tr><th>metric</th><th>value</th><th>n</th><th>over the</th><th>version</th><th>note</th></tr>"
    return f'<section id="sets"><h2>Over all pictures at once</h2><table>{head}{rows}</table></section>'


def strict(value: float | None) -> float | str | None:
    """A number as strict JSON takes it: infinities as words, NaN as nothing."""
    if value is None or math.isnan(value):
        return None
    return value if math.isfinite(value) else "inf" if value > 0 else "-inf"


def plain_number(value: float | None) -> str:
    """A number for people."""
    if value is None:
        return "–"
    return f"{value:.4g}" if math.isfinite(value) else "∞" if value > 0 else "−∞"

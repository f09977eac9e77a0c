"""One row a reconstruction, one column a metric: scores of one version and one set of weights, never mixed."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from sqlalchemy import ColumnElement, Connection, and_, or_, select

from core.metrics.base import Metric
from core.metrics.registry import METRICS
from core.registry import look_up
from core.report.names import short_name
from core.report.present import Kind, Shown, anew_words, shown
from core.settings import Settings
from core.storage.schema import jobs, originals, pairings, reconstructions, scores
from core.storage.store import Store

REFERENCE = "attacked"  # the pixels given to the victim
OTHER_VERSIONS, ANEW = "of_another_version", "scored_anew"  # in a frame's attrs


def stored_metrics(store: Store) -> tuple[Metric, ...]:
    """The registered metrics of which the store holds a pair's value (infinities too), in registry order.

    Diagnostics last.
    """
    valued = or_(scores.c.value.is_not(None), scores.c.special.is_not(None))
    query = select(scores.c.metric).where(scores.c.subject_kind == "pairing", valued).distinct()
    with store.database.read() as connection:
        stored = set(connection.execute(query).scalars())
    found = [metric for metric in METRICS.values() if metric.name in stored]
    return tuple(sorted(found, key=lambda metric: metric.diagnostic))


def labelled_runs(store: Store) -> dict[int, str]:
    """Title by id of the runs that have reconstructions to judge, newest first."""
    query = (
        select(jobs.c.id, jobs.c.title)
        .where(jobs.c.id.in_(select(reconstructions.c.job_id).where(_attacked()).distinct()))
        .order_by(jobs.c.id.desc())
    )
    with store.database.read() as connection:
        return {row.id: row.title for row in connection.execute(query)}


def score_frame(
    store: Store, metrics: Sequence[str], run: int | None = None, reference: str = REFERENCE
) -> pd.DataFrame:
    """One row for each chosen reconstruction of an attack (no controls), of one run or of all.

    Index: reconstruction id. Columns: name (of the original), run, run_title, image_sha, original, method (of the
    pairing), then one for each of `metrics`: float, ±inf as such, NaN where it is unscored. reference: "attacked", or
    "source" for the un-augmented original, which only some reconstructions have. All scores of a metric are of
    one version and one set of weights, which `core.report.present` chooses over the whole frame; what was scored with
    others only is NaN, and counted: see `of_another_version`.
    """
    elsewhere, anew = {}, {}
    with store.database.read() as connection:
        frame = _subjects(connection, run, reference)
        for name in metrics:
            found = _values(connection, look_up(METRICS, name, "metric"), run, reference, store.settings)
            frame[name] = frame["pairing"].map(found.values).astype(float)
            elsewhere[name] = len(found.valued - found.values.keys())
            if found.choice is not None and found.choice.of:
                anew[name] = (found.choice.done, found.choice.of)
    frame = frame.drop(columns="pairing")
    frame.attrs[OTHER_VERSIONS], frame.attrs[ANEW] = elsewhere, anew
    return frame


def of_another_version(frame: pd.DataFrame) -> dict[str, int]:
    """By metric, how many rows of a `score_frame` have a value, but of another version or with other weights."""
    found: dict[str, int] = frame.attrs.get(OTHER_VERSIONS, {})
    return found


def other_version_words(frame: pd.DataFrame) -> str:
    """What is shown in an older version, and what is left out because it was scored by another one; or ""."""
    counts = {name: count for name, count in of_another_version(frame).items() if count}
    parts = [f"{count} of {short_name(name)}" for name, count in counts.items()]
    anew = anew_words(frame.attrs.get(ANEW, {}))
    if not counts:
        return anew
    return f"{anew} " * bool(anew) + (
        f"Left out: {' and '.join(parts)}, scored by another version of the metric or with other weights; scores of "
        "different versions are never mixed. What can be scored here is scored anew in the background."
    )


def _attacked() -> ColumnElement[bool]:
    """What correlations are about: the attack's own choices, without controls."""
    return and_(reconstructions.c.chosen, reconstructions.c.role == "attack")


def _subjects(connection: Connection, run: int | None, reference: str) -> pd.DataFrame:
    query = (
        select(
            reconstructions.c.id,
            originals.c.name,
            reconstructions.c.job_id,
            jobs.c.title,
            reconstructions.c.image_sha,
            originals.c.id,
            pairings.c.method,
            pairings.c.id,
        )
        .join(pairings, pairings.c.reconstruction_id == reconstructions.c.id)
        .join(originals, originals.c.id == pairings.c.original_id)
        .join(jobs, jobs.c.id == reconstructions.c.job_id)
        .where(_attacked(), pairings.c.reference == reference)
        .order_by(reconstructions.c.id)
    )
    if run is not None:
        query = query.where(reconstructions.c.job_id == run)
    columns = ["id", "name", "run", "run_title", "image_sha", "original", "method", "pairing"]
    rows = [tuple(row) for row in connection.execute(query)]
    return pd.DataFrame(rows, columns=columns).set_index("id")


@dataclass(frozen=True)
class _Column:
    """values: by pairing, of the version and weights that are shown. valued: pairings with a value of any."""

    values: dict[int, float]
    valued: set[int]
    choice: Shown | None


def _values(connection: Connection, metric: Metric, run: int | None, reference: str, settings: Settings) -> _Column:
    query = (
        select(scores.c.id, scores.c.subject_id, scores.c.metric_version, scores.c.weights_hash)
        .add_columns(scores.c.value, scores.c.special)
        .join(pairings, and_(pairings.c.id == scores.c.subject_id, pairings.c.reference == scores.c.reference))
        .join(reconstructions, reconstructions.c.id == pairings.c.reconstruction_id)
        .where(
            _attacked(),
            scores.c.metric == metric.name,
            scores.c.subject_kind == "pairing",
            scores.c.reference == reference,
        )
        .order_by(scores.c.id)
    )
    if run is not None:
        query = query.where(reconstructions.c.job_id == run)
    by_kind: dict[tuple[str, str], dict[int, float]] = {}
    told: dict[tuple[str, str], tuple[int, int]] = {}  # (rows, the newest)
    for key, subject, version, weights, value, special in connection.execute(query):
        told[version, weights] = (told.get((version, weights), (0, 0))[0] + 1, key)
        values = by_kind.setdefault((version, weights), {})
        if value is not None or special is not None:
            values[subject] = value if special is None else float(special)
    if not told:
        return _Column({}, set(), None)
    kinds = [Kind(*kind, rows, bool(by_kind[kind]), newest) for kind, (rows, newest) in told.items()]
    choice = shown(metric.name, kinds, settings)
    valued = {subject for values in by_kind.values() for subject in values}
    return _Column(by_kind[choice.kind.key], valued, choice)

"""What pages read about reconstructions: ordered on cached columns, the cards of one page read from the database."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from sqlalchemy import Connection, and_, func, select

from core.errors import UserError
from core.metrics.registry import METRICS
from core.report.columns import NONE, RunTable, run_table
from core.report.order import ordered
from core.report.people import answers_of as answers_of
from core.report.present import anew_words
from core.report.records import ROLES, Card, CardPage, Query, Score, ScoredMetric
from core.storage import schema
from core.storage.scores import score_value
from core.storage.store import Store

rec, pair, orig, score = schema.reconstructions, schema.pairings, schema.originals, schema.scores


def run_metrics(store: Store, run: int, reference: str = "attacked") -> dict[str, ScoredMetric]:
    """The metrics that this run's pairings carry, each in the version that is shown (see core.report.present)."""
    return run_table(store, run, "", reference).metrics


def reconstruction_page(store: Store, query: Query) -> CardPage:
    """The cards of one page; UserError for a sort, filter, role, label or reference that does not exist."""
    ids = ordered(store, query)
    pages = max(1, math.ceil(len(ids) / query.size))
    page = min(max(1, query.page), pages)
    shown = [int(i) for i in ids[(page - 1) * query.size : page * query.size]]
    cards = cards_of(store, shown, query.reference)
    others = beside_cards(store, cards, query) if query.beside is not None else {}
    return CardPage(cards=cards, total=len(ids), page=page, pages=pages, others=others)


def cards_of(store: Store, reconstructions: Sequence[int], reference: str = "attacked") -> tuple[Card, ...]:
    """The cards of these reconstructions in this order, with scores and percentiles; unknown ids are left out."""
    with store.database.read() as connection:
        rows = _rows(connection, reconstructions, reference)
        runs = {row.job_id for row in rows.values()}
    metrics = {run: run_metrics(store, run, reference) for run in runs}
    with store.database.read() as connection:
        scores = _scores(connection, rows, metrics, reference)
    tables = {(r.job_id, r.role): run_table(store, r.job_id, r.role, reference) for r in rows.values()}
    return tuple(
        _card(rows[i], _ranked(tables[rows[i].job_id, rows[i].role], i, scores.get(i, {})), reference)
        for i in reconstructions
        if i in rows
    )


def card(store: Store, reconstruction: int, reference: str = "attacked") -> Card:
    """One chosen reconstruction; UserError where the store has none of this id."""
    found = cards_of(store, [reconstruction], reference)
    if not found:
        raise UserError(f"There is no reconstruction {reconstruction} in this store; choose one from the list.")
    return found[0]


def beside_cards(store: Store, cards: Sequence[Card], query: Query) -> dict[int, Card]:
    """What the run beside made of the same originals, by the reconstruction of this run."""
    if query.beside is None:
        return {}
    other = run_table(store, query.beside, query.role, query.reference)
    first: dict[int, int] = {}
    for original, made in zip(other.originals.tolist(), other.ids.tolist(), strict=True):
        first.setdefault(original, made)
    wanted = {c.reconstruction: first[c.original] for c in cards if c.original in first}
    found = {c.reconstruction: c for c in cards_of(store, list(wanted.values()), query.reference)}
    return {here: found[there] for here, there in wanted.items() if there in found}


def neighbours(store: Store, query: Query, reconstruction: int) -> tuple[int | None, int | None, int | None, int]:
    """(place from 0, the one before, the one after, how many) in the query's order; place None: not in it."""
    ids = ordered(store, query)
    found = np.flatnonzero(ids == reconstruction)
    if not len(found):
        return None, None, None, len(ids)
    place = int(found[0])
    before = int(ids[place - 1]) if place else None
    after = int(ids[place + 1]) if place + 1 < len(ids) else None
    return place, before, after, len(ids)


def metric_names(store: Store, run: int, reference: str = "attacked") -> tuple[str, ...]:
    """The metrics that this run is scored with, by name."""
    return tuple(run_metrics(store, run, reference))


def unscored_metrics(store: Store, run: int, reference: str = "attacked") -> dict[str, str]:
    """The metrics of which nothing in this run has a value, each with a stored reason."""
    return {name: found.reason for name, found in run_metrics(store, run, reference).items() if not found.scored}


def scored_anew(store: Store, run: int, reference: str = "attacked") -> str:
    """A sentence about the metrics of this run that are shown in an older version; "" for none."""
    metrics = run_metrics(store, run, reference).items()
    return anew_words({name: (found.anew, found.of) for name, found in metrics if found.of})


def without_weights(store: Store, run: int) -> tuple[str, ...]:
    """The metrics of this run whose weights were missing when it was scored: their rows name none."""
    found = run_metrics(store, run)
    return tuple(
        name for name, scored in found.items() if name in METRICS and METRICS[name].needs and not scored.weights_hash
    )


def image_pairs(store: Store, reconstructions: Sequence[int]) -> dict[int, tuple[str | None, str]]:
    """(original, reconstruction) image hashes by reconstruction."""
    with store.database.read() as connection:
        rows = _rows(connection, reconstructions, "attacked")
    return {key: (row.original_sha, row.image_sha) for key, row in rows.items()}


def role_counts(store: Store, run: int) -> dict[str, int]:
    """Chosen reconstructions of each role in a run."""
    with store.database.read() as connection:
        rows = connection.execute(
            select(rec.c.role, func.count()).where(rec.c.job_id == run, rec.c.chosen).group_by(rec.c.role)
        ).all()
    found = {row[0]: int(row[1]) for row in rows}
    return {role: found[role] for role in ROLES if role in found}


def _rows(connection: Connection, ids: Sequence[int], reference: str) -> dict[int, Any]:
    """What cards say of these reconstructions, by id."""
    paired = and_(pair.c.reconstruction_id == rec.c.id, pair.c.reference == reference)
    seen = orig.c.source_sha if reference == "source" else orig.c.image_sha
    statement = (
        select(
            rec,
            pair.c.id.label("pairing"),
            pair.c.method,
            pair.c.cost_name,
            orig.c.id.label("original"),
            orig.c.name,
            orig.c.label.label("true_label"),
            orig.c.class_name,
            orig.c.label_source,
            seen.label("original_sha"),
        )
        .outerjoin(pair, paired)
        .outerjoin(orig, orig.c.id == pair.c.original_id)
        .where(rec.c.id.in_(ids), rec.c.chosen)
    )
    return {row.id: row for row in connection.execute(statement)}


def _scores(
    connection: Connection, rows: dict[int, Any], metrics: dict[int, dict[str, ScoredMetric]], reference: str
) -> dict[int, dict[str, Score]]:
    """Scores of a few reconstructions, by reconstruction and metric, in the version that their run's `metrics` name."""
    owner = {row.pairing: row for row in rows.values() if row.pairing is not None}
    if not owner:
        return {}
    stored = connection.execute(
        select(score).where(
            score.c.subject_kind == "pairing", score.c.subject_id.in_(owner), score.c.reference == reference
        )
    )
    found: dict[int, dict[str, Score]] = {}
    for row in stored:
        mine = owner[row.subject_id]
        current = metrics[mine.job_id].get(row.metric)
        if current == ScoredMetric(row.metric, row.metric_version, row.weights_hash):
            found.setdefault(mine.id, {})[row.metric] = Score(score_value(row), row.reason)
    return found


def _ranked(table: RunTable, reconstruction: int, scores: dict[str, Score]) -> dict[str, Score]:
    """The scores with their percentiles among the run's of the same role."""
    places = np.flatnonzero(table.ids == reconstruction)
    if not len(places):
        return scores
    found = {}
    for name, one in scores.items():
        percentile = float(table.percentiles(name)[places[0]]) if name in table.scores else math.nan
        found[name] = Score(one.value, one.reason, None if math.isnan(percentile) else percentile)
    return found


def _card(row: Any, scores: dict[str, Score], reference: str) -> Card:
    return Card(
        reconstruction=row.id,
        pairing=row.pairing,
        original=row.original,
        name=row.name or f"target {row.target}",
        label=row.true_label,
        class_name=row.class_name,
        label_source=row.label_source or "",
        original_sha=row.original_sha,
        image_sha=row.image_sha,
        target=row.target,
        restart=row.restart,
        loss=row.loss,
        iterations=row.iterations,
        status=row.status,
        pairing_method=row.method or "",
        pairing_cost=row.cost_name or "",
        scores=scores,
        run=row.job_id,
        role=row.role,
        reference=reference,
    )


def class_names(store: Store, run: int, reference: str = "attacked") -> dict[int, str]:
    """The true classes of a run's originals in order of label, each with its name ("" without one)."""
    table = run_table(store, run, "", reference)
    return {int(label): table.classes.get(int(label), "") for label in np.unique(table.labels) if label != NONE}

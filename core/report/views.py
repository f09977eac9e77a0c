"""What pages read about reconstructions: paged and sorted by the database, so 10,000 rows cost what 12 do."""

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, and_, case, func, select
from sqlalchemy.sql.elements import ColumnElement

from core.errors import UserError
from core.labels.answers import current_answers
from core.labels.recognition import recognition
from core.labels.studies import default_study
from core.metrics.registry import METRICS
from core.report.records import LABELS, MAX_PAGE, OTHER_SORTS, ROLES, Card, CardPage, Query, Score, ScoredMetric
from core.storage import schema
from core.storage.database import change
from core.storage.scores import score_value
from core.storage.store import Store

INFINITE = 1e300  # stands for ±∞ where the database sorts

rec, pair, orig, score = schema.reconstructions, schema.pairings, schema.originals, schema.scores


def scored_metrics(connection: Connection, run: int) -> dict[str, ScoredMetric]:
    """The metrics that this run's pairings carry, each in the version scored last."""
    rows = connection.execute(
        select(
            score.c.metric,
            score.c.metric_version,
            score.c.weights_hash,
            (func.count(score.c.value) + func.count(score.c.special)).label("values"),
            func.max(score.c.reason).label("reason"),
        )
        .join(pair, and_(pair.c.id == score.c.subject_id, pair.c.reference == score.c.reference))
        .join(rec, rec.c.id == pair.c.reconstruction_id)
        .where(score.c.subject_kind == "pairing", score.c.reference == "attacked", rec.c.job_id == run)
        .group_by(score.c.metric, score.c.metric_version, score.c.weights_hash)
        .order_by(score.c.metric, func.max(score.c.id))  # of one metric the newest comes last, and is kept
    )
    return {row[0]: ScoredMetric(row[0], row[1], row[2], row[3] > 0, row[4] or "") for row in rows}


@dataclass(frozen=True)
class _Asked:
    """What a run's metrics are kept under: the change counter makes a stored answer give way to a newer one."""

    url: str
    run: int
    counter: int


_known: OrderedDict[_Asked, dict[str, ScoredMetric]] = OrderedDict()
_KEPT = 64


def run_metrics(store: Store, run: int) -> dict[str, ScoredMetric]:
    """As `scored_metrics`, remembered until any score changes: a run of 10,000 has 100,000 scores to look through."""
    with store.database.read() as connection:
        asked = _Asked(str(store.database.url), run, change(connection, "scores"))
        found = _known.get(asked)
        if found is None:
            found = scored_metrics(connection, run)
            _known[asked] = found
            while len(_known) > _KEPT:
                _known.popitem(last=False)
    return found


def reconstruction_page(store: Store, query: Query) -> CardPage:
    """The cards of one page; UserError for a sort, filter, role or label that does not exist.

    The database filters, sorts and cuts; only where people's answers decide does Python order the ids.
    """
    _check_words(query)
    people = query.sort == "rate" or query.label != "any"
    accepted = _accepted(store, query) if people else None
    rates = {key: r.rate for key, r in recognition(store, blind_only=False).items()} if query.sort == "rate" else {}
    metrics = run_metrics(store, query.run)
    _check(query, metrics)
    with store.database.read() as connection:
        chosen = _chosen(query, metrics)
        if accepted is None:
            total = int(connection.execute(select(func.count()).select_from(chosen.subquery())).scalar_one())
            pages, page, start = _place(total, query)
            cut = _ordered(chosen, query, metrics).limit(query.size).offset(start)
            ids = [row[0] for row in connection.execute(cut)]
        else:
            ids = [row[0] for row in connection.execute(_ordered(chosen, query, metrics)) if accepted(row[0])]
            if query.sort == "rate":
                ids = _by_rate(ids, rates, query.descending)
            total = len(ids)
            pages, page, start = _place(total, query)
            ids = ids[start : start + query.size]
        cards = _cards(connection, ids, metrics)
    return CardPage(cards=cards, total=total, page=page, pages=pages)


def _accepted(store: Store, query: Query) -> Callable[[int], bool]:
    """Whether a reconstruction passes the label filter."""
    if query.label in ("answered", "unanswered"):
        mine = answers_of(store, query.annotator)
        return lambda i: (i in mine) == (query.label == "answered")
    if query.label == "any":
        return lambda _: True
    said = {key: r.recognisable for key, r in recognition(store, blind_only=False).items()}
    wanted = {"recognisable": True, "not recognisable": False, "undetermined": None}[query.label]
    return lambda i: said.get(i) is wanted


def answers_of(store: Store, annotator: str) -> dict[int, str]:
    """The standing answers of the annotator of this name in the default study, by reconstruction; none if unknown."""
    with store.database.read() as connection:
        found = connection.execute(select(schema.annotators.c.id).where(schema.annotators.c.name == annotator)).scalar()
    if found is None:
        return {}
    return {key: given.answer for key, given in current_answers(store, default_study(store), int(found)).items()}


def _by_rate(ids: list[int], rates: dict[int, float], descending: bool) -> list[int]:
    """Ids by recognition rate; those without an answer come last, whichever the direction."""
    known = sorted((i for i in ids if i in rates), key=lambda i: rates[i], reverse=descending)
    return known + [i for i in ids if i not in rates]


def _place(total: int, query: Query) -> tuple[int, int, int]:
    """(pages, page, first row) with the page moved inside what there is."""
    pages = max(1, math.ceil(total / query.size))
    page = min(max(1, query.page), pages)
    return pages, page, (page - 1) * query.size


def metric_names(store: Store, run: int) -> tuple[str, ...]:
    """The metrics that this run is scored with, by name."""
    return tuple(run_metrics(store, run))


def unscored_metrics(store: Store, run: int) -> dict[str, str]:
    """The metrics of which nothing in this run has a value, each with a stored reason."""
    return {name: found.reason for name, found in run_metrics(store, run).items() if not found.scored}


def without_weights(store: Store, run: int) -> tuple[str, ...]:
    """The metrics of this run whose weights were missing when it was scored: their rows name none."""
    found = run_metrics(store, run)
    return tuple(
        name for name, scored in found.items() if name in METRICS and METRICS[name].needs and not scored.weights_hash
    )


def image_pairs(store: Store, reconstructions: Sequence[int]) -> dict[int, tuple[str | None, str]]:
    """(original, reconstruction) image hashes by reconstruction."""
    with store.database.read() as connection:
        cards = _cards(connection, reconstructions, {})
    return {card.reconstruction: (card.original_sha, card.image_sha) for card in cards}


def role_counts(store: Store, run: int) -> dict[str, int]:
    """Chosen reconstructions of each role in a run."""
    with store.database.read() as connection:
        rows = connection.execute(
            select(rec.c.role, func.count()).where(rec.c.job_id == run, rec.c.chosen).group_by(rec.c.role)
        ).all()
    found = {row[0]: int(row[1]) for row in rows}
    return {role: found[role] for role in ROLES if role in found}


def _check(query: Query, metrics: dict[str, ScoredMetric]) -> None:
    if query.sort not in OTHER_SORTS and query.sort not in metrics:
        known = ", ".join((*OTHER_SORTS, *metrics))
        raise UserError(f"Reconstructions can be sorted by {known}, not by {query.sort[:40]!r}.")
    if query.filter_metric and query.filter_metric not in metrics:
        raise UserError(f"This run is not scored with {query.filter_metric[:40]!r}; choose another filter.")


def _check_words(query: Query) -> None:
    if query.role not in ROLES or query.label not in LABELS or not 1 <= query.size <= MAX_PAGE:
        raise UserError(
            f"A page shows one of {', '.join(ROLES)}, a label of {', '.join(LABELS)}, 1 to {MAX_PAGE} cards."
        )


def _chosen(query: Query, metrics: dict[str, ScoredMetric]) -> Select[int]:
    """Ids of the run's chosen reconstructions of one role, within the bounds of the filter."""
    paired = and_(pair.c.reconstruction_id == rec.c.id, pair.c.reference == "attacked")
    statement = (
        select(rec.c.id)
        .outerjoin(pair, paired)
        .where(rec.c.job_id == query.run, rec.c.role == query.role, rec.c.chosen)
    )
    if query.filter_metric and (query.least is not None or query.most is not None):
        bounded = score.alias("bounded")
        statement = statement.join(bounded, _is_score(bounded, metrics[query.filter_metric]))
        if query.least is not None:
            statement = statement.where(_sortable(bounded) >= query.least)
        if query.most is not None:
            statement = statement.where(_sortable(bounded) <= query.most)
    return statement


def _ordered(statement: Select[int], query: Query, metrics: dict[str, ScoredMetric]) -> Select[int]:
    key: ColumnElement[Any] = rec.c.target
    if query.sort == "loss":
        key = rec.c.loss
    elif query.sort in metrics:
        sorting = score.alias("sorting")
        statement = statement.outerjoin(sorting, _is_score(sorting, metrics[query.sort]))
        key = _sortable(sorting)
    direction = key.desc() if query.descending and query.sort != "rate" else key.asc()
    return statement.order_by(direction.nulls_last(), rec.c.target, rec.c.id)


def _cards(connection: Connection, ids: Sequence[int], metrics: dict[str, ScoredMetric]) -> tuple[Card, ...]:
    """The cards of these reconstructions, in this order."""
    paired = and_(pair.c.reconstruction_id == rec.c.id, pair.c.reference == "attacked")
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
            orig.c.image_sha.label("original_sha"),
        )
        .outerjoin(pair, paired)
        .outerjoin(orig, orig.c.id == pair.c.original_id)
        .where(rec.c.id.in_(ids))
    )
    rows = {row.id: row for row in connection.execute(statement)}
    scores = _scores(connection, [row.pairing for row in rows.values() if row.pairing is not None], metrics)
    return tuple(_card(rows[i], scores.get(rows[i].pairing, {})) for i in ids if i in rows)


def _is_score(table: Any, metric: ScoredMetric) -> ColumnElement[bool]:
    return and_(
        table.c.subject_kind == "pairing",
        table.c.subject_id == pair.c.id,
        table.c.reference == "attacked",
        table.c.metric == metric.name,
        table.c.metric_version == metric.version,
        table.c.weights_hash == metric.weights_hash,
    )


def _sortable(table: Any) -> ColumnElement[Any]:
    return case((table.c.special == "inf", INFINITE), (table.c.special == "-inf", -INFINITE), else_=table.c.value)


def _scores(
    connection: Connection, pairings: Sequence[int], metrics: dict[str, ScoredMetric]
) -> dict[int, dict[str, Score]]:
    """Scores of the pairings of one page, by pairing and metric, in the version that `metrics` names."""
    if not pairings:
        return {}
    rows = connection.execute(
        select(score).where(
            score.c.subject_kind == "pairing", score.c.subject_id.in_(pairings), score.c.reference == "attacked"
        )
    )
    found: dict[int, dict[str, Score]] = {}
    for row in rows:
        current = metrics.get(row.metric)
        if current == ScoredMetric(row.metric, row.metric_version, row.weights_hash):
            found.setdefault(row.subject_id, {})[row.metric] = Score(score_value(row), row.reason)
    return found


def _card(row: Any, scores: dict[str, Score]) -> Card:
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
    )

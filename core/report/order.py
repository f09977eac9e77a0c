"""Which reconstructions a query shows, and in which order: on a run's columns, so 20,000 rows cost milliseconds."""

import numpy as np

from core.errors import UserError
from core.report.beside import difference, paired_rows
from core.report.columns import RunTable, run_table
from core.report.people import accepted, sort_key
from core.report.records import DIFFERENCE, LABELS, MAX_PAGE, OTHER_SORTS, REFERENCES, ROLES, Query
from core.storage.store import Store


def ordered(store: Store, query: Query) -> np.ndarray:
    """Ids of the reconstructions that `query` shows, in its order, all pages; UserError for what does not exist.

    What has no value to sort by comes last, whichever the direction; equals stay in order of target.
    """
    check_words(query)
    table = run_table(store, query.run, query.role, query.reference)
    _check_metrics(query, table)
    rows = np.arange(len(table.ids))
    other: RunTable | None = None
    if query.beside is not None:
        other = run_table(store, query.beside, query.role, query.reference)
        rows, beside = paired_rows(table, other)
        rows, beside = rows[np.argsort(rows)], beside[np.argsort(rows)]
        table, other = table.rows(rows), other.rows(beside)
    kept = _filtered(store, query, table)
    key = _key(store, query, table, other)[kept]
    missing = np.isnan(key)
    order = np.lexsort((np.arange(len(kept)), np.where(missing, 0, -key if query.descending else key), missing))
    return np.asarray(table.ids[kept[order]])


def check_words(query: Query) -> None:
    """UserError for a role, label, reference or page size that does not exist."""
    if query.role not in ROLES or query.label not in LABELS or not 1 <= query.size <= MAX_PAGE:
        raise UserError(
            f"A page shows one of {', '.join(ROLES)}, a label of {', '.join(LABELS)}, 1 to {MAX_PAGE} cards."
        )
    if query.reference not in REFERENCES:
        raise UserError(f"Reconstructions are compared with {' or '.join(REFERENCES)}, not {query.reference[:40]!r}.")


def _check_metrics(query: Query, table: RunTable) -> None:
    name = query.sort.removeprefix(DIFFERENCE)
    if query.sort not in OTHER_SORTS and name not in table.metrics:
        known = ", ".join((*OTHER_SORTS, *table.metrics))
        raise UserError(f"Reconstructions can be sorted by {known}, not by {query.sort[:40]!r}.")
    if query.sort.startswith(DIFFERENCE) and query.beside is None:
        raise UserError("A difference is between two runs; choose the run beside this one first.")
    if query.filter_metric and query.filter_metric not in table.metrics:
        raise UserError(f"This run is not scored with {query.filter_metric[:40]!r}; choose another filter.")


def _filtered(store: Store, query: Query, table: RunTable) -> np.ndarray:
    """The rows within the bounds, of the class and of the label state that the query names."""
    keep = np.ones(len(table.ids), dtype=bool)
    if query.label_index is not None:
        keep &= table.labels == query.label_index
    if query.filter_metric:
        values = table.scores[query.filter_metric]
        if query.least is not None:
            keep &= values >= query.least  # NaN is never within bounds
        if query.most is not None:
            keep &= values <= query.most
    passes = accepted(store, query)
    if passes is not None:
        keep &= np.fromiter((passes(int(i)) for i in table.ids), bool, len(table.ids))
    return np.flatnonzero(keep)


def _key(store: Store, query: Query, table: RunTable, other: RunTable | None) -> np.ndarray:
    """What to sort by, ascending; NaN where there is nothing."""
    if query.sort == "target":
        return table.targets.astype(np.float64)
    if query.sort == "loss":
        return table.losses
    if query.sort in OTHER_SORTS:
        said = sort_key(store, query.sort)
        return np.array([said(int(i)) for i in table.ids], dtype=np.float64)
    if query.sort.startswith(DIFFERENCE) and other is not None:
        return difference(table, other, query.sort.removeprefix(DIFFERENCE))
    return table.scores[query.sort]

"""A score comes back as it went in, on SQLite and on PostgreSQL."""

import math
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, func, select

from core.storage import schema
from core.storage.database import Database
from core.storage.scores import StoredScore, score_value, write_scores

ONE = StoredScore("pairing", 1, "attacked", "psnr", "1", "", 12.5)


@pytest.mark.parametrize("value", [12.5, 0.0, -0.1, 1e300, 5e-324, math.inf, -math.inf])
def test_values_survive(database: Database, value: float) -> None:
    with database.write() as connection:
        write_scores(connection, [replace(ONE, value=value)])
    with database.read() as connection:
        row = connection.execute(select(schema.scores)).one()
    assert score_value(row) == value
    assert row.reason == ""


@pytest.mark.parametrize("value", [None, math.nan])
def test_no_value_keeps_its_reason(database: Database, value: float | None) -> None:
    with database.write() as connection:
        write_scores(connection, [replace(ONE, value=value, reason="needs 161 pixels")])
    with database.read() as connection:
        row = connection.execute(select(schema.scores)).one()
    assert score_value(row) is None
    assert row.reason == "needs 161 pixels"


def test_no_value_without_a_reason_is_refused(database: Database) -> None:
    with pytest.raises(ValueError, match="reason"), database.write() as connection:
        write_scores(connection, [replace(ONE, value=math.nan)])


def test_a_reason_gives_way_and_a_value_stays(database: Database) -> None:
    answers = [replace(ONE, value=None, reason="no weights"), replace(ONE, value=3.0), replace(ONE, value=4.0)]
    for answer in [*answers, replace(ONE, value=None, reason="again none")]:
        with database.write() as connection:
            write_scores(connection, [answer])
    with database.read() as connection:
        assert [score_value(row) for row in connection.execute(select(schema.scores))] == [3.0]


def test_a_score_with_weights_replaces_the_word_that_they_are_missing(database: Database) -> None:
    lpips = replace(ONE, metric="lpips_alex", value=None, reason="no weights")
    for answer in (lpips, replace(lpips, weights_hash="a" * 64, value=0.25, reason=""), ONE):
        with database.write() as connection:
            write_scores(connection, [answer])
    with database.read() as connection:
        rows = connection.execute(select(schema.scores).order_by(schema.scores.c.id)).all()
    assert [(row.metric, score_value(row)) for row in rows] == [("lpips_alex", 0.25), ("psnr", 12.5)]


def test_a_reason_stands_neither_beside_a_value_nor_beside_another_reason(database: Database) -> None:
    lpips = replace(ONE, metric="lpips_alex", value=None, reason="no weights")
    weighed = replace(lpips, weights_hash="a" * 64)
    told = []
    for answer in (lpips, replace(weighed, reason="too small"), lpips, replace(weighed, value=0.25, reason=""), lpips):
        with database.write() as connection:
            write_scores(connection, [answer])
            told.append([(row.value, row.reason) for row in connection.execute(select(schema.scores))])
    assert told == [[(None, "no weights")], [(None, "too small")], [(None, "no weights")], [(0.25, "")], [(0.25, "")]]


def test_a_reason_of_another_version_is_told_beside_the_older_value(database: Database) -> None:
    with database.write() as connection:
        write_scores(connection, [ONE, replace(ONE, metric_version="2", value=None, reason="no weights")])
        found = connection.execute(select(schema.scores).order_by(schema.scores.c.id)).all()
    assert [(row.metric_version, row.value, row.reason) for row in found] == [
        ("1", 12.5, ""),
        ("2", None, "no weights"),
    ]


ANSWERS = st.builds(
    StoredScore,
    st.just("pairing"),
    st.integers(1, 2),
    st.sampled_from(["attacked", "source"]),
    st.sampled_from(["psnr", "lpips"]),
    st.sampled_from(["1", "2"]),
    st.sampled_from(["", "a" * 64]),
    st.sampled_from([None, 1.0, 2.0, math.inf]),
    st.just("a reason"),
)


@given(st.lists(ANSWERS, max_size=12))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
def test_many_rows_at_once_are_as_one_after_the_other(database: Database, rows: list[StoredScore]) -> None:
    columns = [column for column in schema.scores.c if column.name not in ("id", "created")]
    told = []
    for parts in ([[row] for row in rows], [rows]):
        with database.write() as connection:
            connection.execute(schema.scores.delete())
            for part in parts:
                write_scores(connection, part)
            told.append(sorted(map(repr, connection.execute(select(*columns)))))
    assert told[0] == told[1]


def test_many_rows_take_few_statements(database: Database) -> None:
    """600 subjects × 20 metrics, a quarter of them without a value: told in statements, not in seconds."""
    rows = [
        replace(ONE, subject_id=subject, metric=f"m{metric}", value=None if metric % 4 == 0 else 0.5, reason="none")
        for subject in range(600)
        for metric in range(20)
    ]
    asked: list[str] = []
    with database.write() as connection:
        event.listen(connection, "before_cursor_execute", lambda _c, _k, statement, *_: asked.append(statement))
        write_scores(connection, rows)
        assert connection.execute(select(func.count()).select_from(schema.scores)).scalar_one() == 12_000
    assert len(asked) < 60  # drivers cut a long list of rows into several statements

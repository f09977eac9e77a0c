"""Scores of different versions, weights or references never stand in one column."""

import math

from core.metrics.registry import METRICS
from core.report.evidence import evidence
from core.report.export import export_html, read_export
from core.report.frames import axis, relate, with_recognition
from core.report.references import references
from core.report.score_frames import of_another_version, other_version_words, score_frame
from core.storage import schema
from core.storage.database import bump
from core.storage.scores import StoredScore, write_scores
from core.storage.store import Store
from tests.filled_fixtures import filled, store, template  # noqa: F401
from tests.filled_store import Filled

VERSION = METRICS["lpips_alex"].version
OLD, NEW = "a" * 64, "b" * 64


def pairings_of(store: Store, filled: Filled) -> list[int]:  # noqa: F811
    """Pairing of each of the fixture's reconstructions."""
    with store.database.read() as connection:
        found = {row.reconstruction_id: row.id for row in connection.execute(schema.pairings.select())}
    return [found[one] for one in filled.reconstructions]


def write(store: Store, *rows: StoredScore) -> None:  # noqa: F811
    with store.database.write() as connection:
        write_scores(connection, rows)
        bump(connection, "scores")


def lpips(pairing: int, value: float | None, weights: str = OLD, version: str = VERSION) -> StoredScore:
    return StoredScore("pairing", pairing, "attacked", "lpips_alex", version, weights, value, "none")


def test_a_column_is_of_one_set_of_weights_over_all_runs(store: Store, filled: Filled) -> None:  # noqa: F811
    """7 reconstructions scored with old weights, the last 7 of 12 with new ones: 5 are left out."""
    pairs = pairings_of(store, filled)
    write(store, *[lpips(one, 0.1) for one in pairs[:7]], *[lpips(one, 0.9, NEW) for one in pairs[5:]])
    frame = score_frame(store, ["lpips_alex", "mse"])
    assert frame["lpips_alex"].tolist()[5:] == [0.9] * 7
    assert frame["lpips_alex"].isna().sum() == 5
    assert of_another_version(frame) == {"lpips_alex": 5, "mse": 0}
    assert other_version_words(frame).startswith("Left out: 5 of LPIPS alex, scored by another version")
    related = relate(with_recognition(frame, {}), axis("lpips_alex"), axis("mse"))
    assert (related.n, related.unscored) == (7, 5)


def test_the_fullest_column_stays_until_the_new_one_is_as_full(store: Store, filled: Filled) -> None:  # noqa: F811
    pairs = pairings_of(store, filled)
    write(store, *[lpips(one, 0.1) for one in pairs], *[lpips(one, 0.9, NEW) for one in pairs[:2]])
    frame = score_frame(store, ["lpips_alex"])
    assert frame["lpips_alex"].tolist() == [0.1] * 12
    assert other_version_words(frame) == (
        "Being scored anew: LPIPS alex 2 of 12; until that is done, the version before is shown."
    )
    write(store, *[lpips(one, 0.9, NEW) for one in pairs[2:]])
    frame = score_frame(store, ["lpips_alex"])
    assert frame["lpips_alex"].tolist() == [0.9] * 12
    assert other_version_words(frame) == ""


def test_a_reason_is_no_newer_version_of_a_value(store: Store, filled: Filled) -> None:  # noqa: F811
    pairs = pairings_of(store, filled)
    write(store, *[lpips(one, 0.1) for one in pairs[:6]], *[lpips(one, None, "") for one in pairs[6:]])
    frame = score_frame(store, ["lpips_alex"])
    assert frame["lpips_alex"].tolist()[:6] == [0.1] * 6
    assert of_another_version(frame) == {"lpips_alex": 0}


def test_values_of_an_older_version_are_left_out_and_counted(store: Store, filled: Filled) -> None:  # noqa: F811
    pairs = pairings_of(store, filled)
    write(store, lpips(pairs[0], 0.1, OLD, "0.0"), lpips(pairs[1], math.inf, OLD, "0.0"))
    write(store, lpips(pairs[2], 0.3), lpips(pairs[3], 0.3))
    frame = score_frame(store, ["lpips_alex"])
    assert frame["lpips_alex"].notna().sum() == 2
    assert of_another_version(frame) == {"lpips_alex": 2}


def test_one_reference_at_a_time(store: Store, filled: Filled) -> None:  # noqa: F811
    assert references(store, filled.runs[0]) == ("attacked",)
    assert score_frame(store, ["mse"], reference="source").empty
    first = filled.reconstructions[0]
    with store.database.write() as connection:
        second = connection.execute(
            schema.pairings.insert().values(
                reconstruction_id=first, original_id=1, method="given", cost_name="", reference="source"
            )
        ).inserted_primary_key[0]
        write_scores(connection, [StoredScore("pairing", second, "source", "mse", METRICS["mse"].version, "", 0.75)])
    assert score_frame(store, ["mse"], reference="source")["mse"].to_dict() == {first: 0.75}
    assert len(score_frame(store, ["mse"])) == 12
    assert score_frame(store, ["mse"]).loc[first, "mse"] == 0  # the fixture's first copy is exact
    assert references(store) == references(store, filled.runs[0]) == ("attacked", "source")
    assert references(store, filled.runs[1]) == ("attacked",)


def test_verdict_and_export_take_one_version_of_a_run(store: Store, filled: Filled) -> None:  # noqa: F811
    run = filled.runs[0]
    pairs = pairings_of(store, filled)
    write(store, *[lpips(one, 0.1) for one in pairs[:2]], *[lpips(one, 0.9, NEW) for one in pairs[:3]])
    scored = [one.score for one in evidence(store, run, "lpips_alex", {}) if one.role == "attack"]
    assert scored == [0.9, 0.9, 0.9, None, None, None]
    exported = read_export(export_html(store, run))["reconstructions"]
    shown = [row["scores"].get("lpips_alex") for row in exported if row["role"] == "attack"]
    assert shown == scored

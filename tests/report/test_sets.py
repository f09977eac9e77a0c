"""What pages read of sets: the present version, a value before a reason, warnings in words."""

import hashlib
import json
import subprocess
import sys

from core.metrics.sets import SET_METRICS
from core.report.sets import OLDER, set_scores
from core.storage import schema
from core.storage.scores import StoredScore, write_scores
from core.storage.sets import set_name
from core.storage.store import Store
from tests.filled_fixtures import filled, store, template  # noqa: F401
from tests.filled_store import Filled

RULE = {"scope": "run", "runs": [1], "reference": "attacked", "originals": 2048, "reconstructions": 3000}


def fill(
    store: Store,  # noqa: F811
    found: list[int],
    *rows: tuple[str, str, str, float | None],
    unreadable: int = 0,
) -> None:
    """A set of run 1 with scores (metric, version, weights, value)."""
    rule = {**RULE, "found": found, **({"unreadable": unreadable} if unreadable else {})}
    with store.database.write() as connection:
        made = connection.execute(
            schema.sets.insert().values(
                name=set_name("run", "1", "attacked"),
                rule=json.dumps(rule),
                identity=hashlib.sha256(repr((rule, rows)).encode()).hexdigest(),
                created=0,
            )
        ).inserted_primary_key[0]
        scores = [
            StoredScore("set", made, "attacked", metric, version, weights, value, "no weights")
            for metric, version, weights, value in rows
        ]
        write_scores(connection, scores)


def test_a_value_comes_before_a_reason_and_the_present_version_before_an_older_one(
    store: Store,  # noqa: F811
    filled: Filled,  # noqa: F811
) -> None:
    present = SET_METRICS["fid"].version
    fill(
        store,
        [2048, 3000],
        ("kid", present, "", None),
        ("fid", "of long ago", "a", 1.0),
        ("fid", present, "b", 7.0),
        ("precision", "of long ago", "a", 0.5),
    )
    fid, kid, precision = set_scores(store, filled.runs[0])
    assert (precision.value, precision.version) == (0.5, "of long ago")
    assert precision.warning == "Of an older version of the metric; it is being scored anew."
    assert (fid.version, fid.weights_hash) == (present, "b")
    assert (fid.metric, fid.value, fid.reason, fid.warning, fid.n) == ("fid", 7.0, "", "", 2048)
    assert (kid.metric, kid.value, kid.reason, kid.warning) == ("kid", None, "no weights", "")
    assert (fid.direction, fid.scope, fid.runs, fid.minimum_sample) == ("lower", "run", (1,), 2048)
    assert set_scores(store, filled.runs[0], "source") == ()
    assert set_scores(store, filled.runs[1]) == ()


def test_the_newest_set_counts_and_tells_what_it_left_out(store: Store, filled: Filled) -> None:  # noqa: F811
    present = SET_METRICS["fid"].version
    fill(store, [2048, 3000], ("fid", present, "a", 7.0))
    fill(store, [9000, 3000], ("fid", present, "a", 5.0), ("kid", present, "a", -0.25))
    fid, kid = set_scores(store, filled.runs[0])
    assert (fid.value, kid.value) == (5.0, -0.25)
    assert fid.warning == "Of 9,000 pictures, 3,000 were taken, evenly from first to last."


def test_a_set_that_is_not_scored_yet_hides_no_earlier_one(store: Store, filled: Filled) -> None:  # noqa: F811
    present = SET_METRICS["fid"].version
    fill(store, [2048, 3000], ("fid", present, "a", 7.0))
    fill(store, [2049, 3000])  # its row is stored while its shard is made, minutes before its scores come
    assert [one.value for one in set_scores(store, filled.runs[0])] == [7.0]
    fill(store, [2050, 3000], ("fid", "of long ago", "a", 5.0))
    (fid,) = set_scores(store, filled.runs[0])
    assert (fid.value, fid.version) == (5.0, "of long ago")  # the newest pictures, and it says that it is older:
    assert fid.warning.startswith(OLDER)


def test_sources_that_were_left_out_are_said(store: Store, filled: Filled) -> None:  # noqa: F811
    present = SET_METRICS["fid"].version
    fill(store, [2050, 3000], ("fid", present, "a", 7.0), ("kid", present, "", None), unreadable=2)
    fid, kid = set_scores(store, filled.runs[0])
    assert fid.warning == "Source pictures whose files are gone or damaged, and left out: 2."
    assert kid.reason == "no weights. Source pictures whose files are gone or damaged, and left out: 2."


def test_pages_and_the_runner_read_all_this_without_torch() -> None:
    modules = "core.report.sets, core.report.references, core.report.score_frames, core.jobs.rescore, core.jobs.sets"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"

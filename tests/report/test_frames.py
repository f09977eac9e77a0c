"""The Correlations page's numbers: the right rows, oriented, with what is missing counted."""

import json
import math
from uuid import uuid4

import numpy as np
import pytest
from sqlalchemy import update

from core.errors import UserError
from core.labels.annotators import annotator_id
from core.labels.answers import answer_reconstruction
from core.labels.recognition import recognition
from core.report.frames import (
    RECOGNITION,
    axis,
    points,
    relate,
    with_recognition,
)
from core.report.score_frames import labelled_runs, other_version_words, score_frame, stored_metrics
from core.storage import schema
from core.storage.scores import StoredScore, write_scores
from core.storage.store import Store
from tests.filled_fixtures import filled, store, template
from tests.filled_store import Filled, fill_store

__all__ = ["filled", "store", "template"]


def label(store: Store, reconstruction: int, answers: list[str]) -> None:
    for index, given in enumerate(answers):
        who = annotator_id(store, f"person {index}")
        answer_reconstruction(
            store, event_id=uuid4().hex, reconstruction=reconstruction, annotator=who, answer=given, blind=True
        )


def test_one_row_a_chosen_reconstruction_and_no_control(store: Store, filled: Filled) -> None:
    frame = score_frame(store, ["mse", "psnr", "ssim"])
    assert tuple(frame.index) == filled.reconstructions
    assert list(frame.columns) == ["name", "run", "run_title", "image_sha", "original", "method", "mse", "psnr", "ssim"]
    assert frame.loc[filled.reconstructions[0], "psnr"] == math.inf  # the fixture's first copy is exact
    assert math.isnan(frame.loc[filled.reconstructions[5], "ssim"])  # the fixture leaves it out
    assert tuple(score_frame(store, [], filled.runs[1]).index) == filled.reconstructions[6:]


def test_runs_are_listed_newest_first(store: Store, filled: Filled) -> None:
    assert list(labelled_runs(store)) == list(reversed(filled.runs))


def test_only_metrics_with_scores_are_offered_and_an_old_version_says_so(store: Store, filled: Filled) -> None:
    assert [metric.name for metric in stored_metrics(store)] == ["mse", "psnr", "ssim"]
    with store.database.write() as connection:
        write_scores(connection, [StoredScore("pairing", 1, "attacked", "mae", "of long ago", "", 0.5)])
    assert "mae" in [metric.name for metric in stored_metrics(store)]
    frame = score_frame(store, ["mae"])
    assert frame["mae"].notna().sum() == 1
    assert "MAE 0 of 1;" in other_version_words(frame)
    with pytest.raises(UserError, match="no metric"):
        score_frame(store, ["nonsense"])


def test_scores_of_weights_that_are_not_here_give_way(store: Store, filled: Filled) -> None:
    version = stored_metrics(store)[0].version
    with store.database.write() as connection:
        write_scores(connection, [StoredScore("pairing", 1, "attacked", "mse", version, "new weights", 0.25)])
    assert score_frame(store, ["mse"])["mse"].iloc[0] == 0  # MSE needs no weights: the exact copy of the fixture


def test_both_axes_are_oriented_to_more_leakage(store: Store, filled: Filled) -> None:
    """PSNR is a falling function of MSE, so oriented they rank alike: rho and tau are exactly 1."""
    frame = with_recognition(score_frame(store, ["mse", "psnr"]), {})
    related = relate(frame, axis("mse"), axis("psnr"))
    assert related.spearman.estimate == pytest.approx(1)
    assert related.kendall.estimate == pytest.approx(1)
    assert (related.n, related.unscored, related.undetermined, related.unlabelled) == (12, 0, 0, 0)


def test_recognition_counts_what_is_undetermined_and_unlabelled(store: Store, filled: Filled) -> None:
    first = filled.reconstructions
    label(store, first[0], ["yes", "yes", "yes"])
    label(store, first[2], ["yes", "no"])
    label(store, first[4], ["no"])
    label(store, first[5], ["no", "no", "unsure"])
    frame = with_recognition(score_frame(store, ["ssim"]), recognition(store))
    assert frame.loc[first[2], "recognition"] == 0.5
    assert frame.loc[list(first[:6]), "state"].tolist() == [
        "recognisable",
        "not labelled",
        "undetermined",
        "not labelled",
        "undetermined",
        "not recognisable",
    ]
    related = relate(frame, axis("ssim"), axis(RECOGNITION))
    # first[5] has no ssim, and so has the last of run 2; 8 of 12 were never labelled; first[2] and first[4] have < 3
    assert (related.n, related.unscored, related.unlabelled, related.undetermined) == (3, 2, 8, 2)
    assert related.spearman.estimate == pytest.approx(1)  # ssim falls along the targets, as 1, 0.5, 0 do


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (0, "Nobody has labelled any of these reconstructions yet."),
        (1, "1 reconstruction has both values; a correlation needs at least 3."),
        (2, "2 reconstructions have both values; a correlation needs at least 3."),
        (3, "Recognition rate has the same value everywhere, so nothing can be ranked."),
    ],
)
def test_what_cannot_be_ranked_is_said_in_words(store: Store, filled: Filled, labels: int, words: str) -> None:
    for reconstruction in filled.reconstructions[:labels]:
        label(store, reconstruction, ["yes"])
    frame = with_recognition(score_frame(store, ["mse"]), recognition(store))
    related = relate(frame, axis("mse"), axis(RECOGNITION))
    assert related.spearman.estimate is None
    assert related.words == words


def test_an_empty_store_and_a_constant_metric_in_words(store: Store) -> None:
    frame = with_recognition(score_frame(store, ["mse"]), {})
    assert relate(frame, axis("mse"), axis(RECOGNITION)).words == "There are no reconstructions yet."
    filled = fill_store(store, originals=4, runs=1)
    for reconstruction in filled.reconstructions:
        label(store, reconstruction, ["yes" if reconstruction % 2 else "no"])
    frame = with_recognition(score_frame(store, ["mse", "mae"]), recognition(store))
    assert relate(frame, axis("mae"), axis("mse")).words == "None of these reconstructions has a score of MAE."
    frame["mse"] = 0.5
    assert relate(frame, axis("mse"), axis(RECOGNITION)).words.startswith("MSE has the same value everywhere")


def test_pairs_with_the_nearest_original_take_no_part_beside_people(store: Store, filled: Filled) -> None:
    """The second run's pairs are made the nearest of their class; all answers of it and its scores are left out."""
    first, second = filled.reconstructions[:6], filled.reconstructions[6:]
    for index, reconstruction in enumerate((*first[:4], *second)):
        label(store, reconstruction, ["yes"] * 3 if index % 2 else ["no"] * 3)
    before = with_recognition(score_frame(store, ["mse", "psnr"], filled.runs[0]), recognition(store))
    pairings = schema.pairings
    with store.database.write() as connection:
        mine = pairings.c.reconstruction_id.in_(second)
        connection.execute(update(pairings).where(mine).values(method="nearest", cost_name="mse"))
    frame = with_recognition(score_frame(store, ["mse", "psnr"]), recognition(store))
    for x, y in (("mse", RECOGNITION), ("psnr", RECOGNITION)):
        related, alone = relate(frame, axis(x), axis(y)), relate(before, axis(x), axis(y))
        assert (related.nearest, alone.nearest) == (6, 0)
        assert related.spearman == alone.spearman
        assert (related.n, related.unlabelled) == (alone.n, alone.unlabelled) == (4, 2)
    drawn = [one for kind in points(frame, axis("mse"), axis(RECOGNITION))[0] for one in kind.ids]
    assert sorted(drawn) == sorted(first[:4])
    beside = relate(frame, axis("mse"), axis("psnr"))
    assert (beside.n, beside.nearest) == (12, 0)
    assert sum(len(kind.ids) for kind in points(frame, axis("mse"), axis("psnr"))[0]) == 12
    only = relate(frame.loc[list(second)], axis("mse"), axis(RECOGNITION))
    assert (only.n, only.nearest) == (0, 6)
    assert only.words.startswith("Every reconstruction here is of an attack on the model alone")


def test_points_are_finite_and_stand_still(store: Store, filled: Filled) -> None:
    label(store, filled.reconstructions[0], ["yes", "yes", "yes"])
    frame = with_recognition(score_frame(store, ["psnr"]), recognition(store))
    kinds, infinite = points(frame, axis("psnr"), axis(RECOGNITION))
    assert infinite == 1
    assert [kind.state for kind in kinds if kind.ids] == ["recognisable"]
    json.dumps([vars(kind) for kind in kinds], allow_nan=False)
    assert abs(kinds[0].y[0] - 1) <= 0.02
    assert points(frame, axis("psnr"), axis(RECOGNITION)) == (kinds, infinite)


def test_an_infinite_score_stands_just_beyond_the_finite_ones(store: Store, filled: Filled) -> None:
    frame = with_recognition(score_frame(store, ["psnr", "mse"]), {})
    kinds, _ = points(frame, axis("psnr"), axis("mse"))
    shown = dict(zip(kinds[3].ids, kinds[3].x, strict=True))
    finite = frame["psnr"][np.isfinite(frame["psnr"])]
    assert shown[filled.reconstructions[0]] == pytest.approx(
        finite.max() + 0.08 * (finite.max() - finite.min()), rel=1e-5
    )
    assert len(shown) == 12

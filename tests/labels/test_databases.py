"""The same answers, rates and frames from SQLite and from PostgreSQL."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from core.labels.annotators import annotator_id
from core.labels.answers import answer, set_excluded, undo
from core.labels.recognition import Recognition, recognition
from core.labels.studies import StudyProgress, default_study, next_items, progress
from core.report.frames import RECOGNITION, axis, relate, with_recognition
from core.report.score_frames import labelled_runs, score_frame, stored_metrics
from core.settings import load_settings
from core.storage.store import Store, open_store
from tests.filled_store import fill_store
from tests.storage.conftest import postgresql, url

__all__ = ["postgresql", "url"]


@pytest.fixture
def either_store(url: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """An empty store on SQLite, then on PostgreSQL."""
    monkeypatch.setenv("SEMSIGHT_DATABASE_URL", url)
    store = open_store(load_settings())
    yield store
    store.database.dispose()


def test_a_study_from_first_item_to_correlation(either_store: Store) -> None:
    filled = fill_store(either_store, originals=4, runs=1)
    study = default_study(either_store)
    people = [annotator_id(either_store, name) for name in ("Ana", "Ben", "Cem", "Dia")]
    better_half = filled.reconstructions[:2]

    def judge(person: int) -> None:
        for item in next_items(either_store, study, person, 10):
            given = "yes" if item.reconstruction_id in better_half else "unsure"
            event = f"{person}-{item.id}"
            answer(either_store, event_id=event, study=study, item=item.id, annotator=person, answer=given, seconds=1)

    with ThreadPoolExecutor(len(people)) as pool:  # all at once, as in a real study
        list(pool.map(judge, people))
    set_excluded(either_store, event_id="out", annotator=people[3], excluded=True)
    taken = undo(either_store, event_id="oops", study=study, annotator=people[0])
    assert taken is not None
    assert progress(either_store, study, people[0]) == StudyProgress(3, 4)
    rates = recognition(either_store)
    assert sum(found.answers for found in rates.values()) == 3 * 4 - 1
    assert {found.rate for found in rates.values()} == {0.0, 1.0}
    assert rates.keys() == set(filled.reconstructions)
    assert sorted(found.answers for found in rates.values()) == [2, 3, 3, 3]
    assert isinstance(rates[better_half[0]], Recognition)
    assert list(labelled_runs(either_store)) == list(filled.runs)
    assert [metric.name for metric in stored_metrics(either_store)] == ["mse", "psnr", "ssim"]
    frame = with_recognition(score_frame(either_store, ["psnr"]), rates)
    related = relate(frame, axis("psnr"), axis(RECOGNITION))
    # ranks 1..4 against two ties of two (mid-ranks 1.5 and 3.5): covariance 4, sums of squares 5 and 4
    assert related.spearman.estimate == pytest.approx(4 / 20**0.5)

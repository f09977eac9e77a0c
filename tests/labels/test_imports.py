"""Tables made elsewhere are kept whole, apart, and only when they can be correlated."""

import pytest
from sqlalchemy import func, select

from core.errors import UserError
from core.labels.imports import import_table, imported, read_imported
from core.metrics.registry import METRICS, directions
from core.storage import schema
from core.storage.store import Store

HEADER = "config,image_id,true_class,annotator_1,annotator_2,psnr\n"
GOOD = (HEADER + "a,1,3,3,-1,20.5\na,2,4,4,4,inf\na,3,4,-1,-1,nan\n").encode()


def test_a_table_is_kept_once_and_reads_back(store: Store) -> None:
    first = import_table(store, "study.csv", GOOD, directions=directions())
    assert import_table(store, "again.csv", GOOD, directions=directions()) == first
    table, frame = read_imported(store, first)
    assert (table.name, table.rows, len(frame)) == ("study.csv", 3, 3)
    assert [one.id for one in imported(store)] == [first]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe\x00junk",
        b"a,b\n1,2\n",
        HEADER.encode(),
        HEADER.replace("true_class,", "").encode() + b"a,1,3,3,1\n",
        (HEADER + "a,1,three,3,3,1\n").encode(),
        (HEADER + "a,1,3,3,3,high\n").encode(),
        HEADER.replace("psnr", "my_metric").encode() + b"a,1,3,3,3,1\n",
    ],
)
def test_a_table_that_cannot_be_correlated_is_refused_and_not_kept(store: Store, data: bytes) -> None:
    with pytest.raises(UserError) as caught:
        import_table(store, "x.csv", data, directions=directions())
    assert "\n" not in str(caught.value)
    assert imported(store) == []


def test_scores_of_our_own_metrics_are_taken_by_their_names(store: Store) -> None:
    header = HEADER.replace("psnr", ",".join(METRICS))
    cells = ",".join("1" for _ in METRICS)
    data = (header + f"a,1,3,3,3,{cells}\n").encode()
    assert import_table(store, "ours.csv", data, directions=directions())


def test_nothing_of_it_enters_the_stores_own_results(store: Store) -> None:
    import_table(store, "study.csv", GOOD, directions=directions())
    with store.database.read() as connection:
        for table in (schema.scores, schema.label_events, schema.reconstructions, schema.annotators):
            assert connection.execute(select(func.count()).select_from(table)).scalar_one() == 0


def test_an_unknown_table_is_one_sentence(store: Store) -> None:
    with pytest.raises(UserError, match="no imported table 7"):
        read_imported(store, 7)

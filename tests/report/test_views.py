"""Pages of reconstructions: order, filters, paging and labels, against the same done by hand on the rows."""

import math
from dataclasses import replace
from uuid import uuid4

import pytest

from core.errors import UserError
from core.labels.annotators import annotator_id
from core.labels.answers import answer_reconstruction
from core.metrics.registry import METRICS
from core.report.columns import run_table
from core.report.records import Query
from core.report.references import references
from core.report.views import (
    answers_of,
    card,
    image_pairs,
    metric_names,
    neighbours,
    reconstruction_page,
    role_counts,
    scored_anew,
)
from core.storage import schema
from core.storage.database import bump
from core.storage.scores import StoredScore, write_scores
from tests.filled_store import fill_store, photographs


@pytest.fixture
def filled(store):
    return fill_store(store, originals=10, runs=2)


def targets(page):
    return [card.target for card in page.cards]


def say(store, name, reconstruction, answer, blind=True):
    answer_reconstruction(
        store,
        event_id=uuid4().hex,
        reconstruction=reconstruction,
        annotator=annotator_id(store, name),
        answer=answer,
        blind=blind,
    )


def test_pages_cut_one_order_without_gap_or_overlap(store, filled):
    pages = [reconstruction_page(store, Query(run=1, sort="psnr", page=n, size=4)) for n in (1, 2, 3)]
    assert [page.total for page in pages] == [10, 10, 10]
    assert pages[0].pages == 3  # ceil(10 / 4)
    together = [card for page in pages for card in page.cards]
    assert sorted(c.target for c in together) == list(range(10))
    values = [c.scores["psnr"].value for c in together]
    assert values == sorted(values)
    assert values[-1] == math.inf  # the fixture's first reconstruction of run 1 is perfect


def test_a_page_beyond_the_end_is_the_last_one(store, filled):
    page = reconstruction_page(store, Query(run=1, page=99, size=4))
    assert (page.page, targets(page)) == (3, [8, 9])


def test_descending_puts_infinity_first_and_the_unscored_last(store, filled):
    assert targets(reconstruction_page(store, Query(run=1, sort="psnr", descending=True)))[0] == 0
    for descending in (True, False):
        page = reconstruction_page(store, Query(run=1, sort="ssim", descending=descending))
        assert page.cards[-1].scores["ssim"].value is None  # the last target's ssim is left out on purpose
        assert page.cards[-1].scores["ssim"].reason == "left out on purpose by the fixture"


def test_a_score_filter_keeps_what_lies_within_its_bounds(store, filled):
    everything = reconstruction_page(store, Query(run=1, size=50)).cards
    expected = [c.target for c in everything if 12 <= (c.scores["psnr"].value or 0) <= 20]
    page = reconstruction_page(store, Query(run=1, filter_metric="psnr", least=12, most=20, size=50))
    assert 0 < len(expected) < 10
    assert targets(page) == expected


def test_other_runs_and_roles_stay_out(store, filled):
    assert role_counts(store, 1) == {"attack": 10, "mismatched": 2}
    assert len(reconstruction_page(store, Query(run=1, role="mismatched")).cards) == 2
    ids = {c.reconstruction for c in reconstruction_page(store, Query(run=2, size=50)).cards}
    assert ids == set(filled.reconstructions[10:])


def test_labels_filter_and_rates_sort(store, filled):
    first, second, third = filled.reconstructions[:3]
    for name in ("Ana", "Ben", "Cem"):
        say(store, name, first, "yes")
        say(store, name, second, "no")
    say(store, "Ana", third, "yes")

    def shown(label, **rest):
        return targets(reconstruction_page(store, Query(run=1, label=label, annotator="Ben", **rest)))

    assert shown("recognisable") == [0]  # 3 of 3
    assert shown("not recognisable") == [1]  # 0 of 3
    assert shown("undetermined") == list(range(2, 10))  # one answer, or none
    assert shown("answered") == [0, 1]  # by Ben
    assert shown("unanswered") == list(range(2, 10))
    # Rates: target 0 and 2 have 1, target 1 has 0, the others none and come last in either direction.
    assert shown("any", sort="rate", descending=True)[:3] == [0, 2, 1]
    assert shown("any", sort="rate")[:3] == [1, 0, 2]
    assert answers_of(store, "Ben") == {first: "yes", second: "no"}
    assert answers_of(store, "nobody") == {}


def test_cards_hold_one_version_the_present_one_once_it_is_as_full(store, filled, monkeypatch):
    def write(pairings, value):
        with store.database.write() as connection:
            rows = [StoredScore("pairing", one, "attacked", "psnr", "99", "", value) for one in pairings]
            write_scores(connection, rows)
            bump(connection, "scores")

    monkeypatch.setitem(METRICS, "psnr", replace(METRICS["psnr"], version="99"))
    pairings = run_table(store, 1, "").pairings.tolist()
    write(run_table(store, 1).pairings.tolist()[3:4], 77.0)
    page = reconstruction_page(store, Query(run=1, sort="psnr", descending=True))
    assert page.cards[0].target == 0  # still the version before, of which none is missing
    assert all(card.scores["psnr"].value != 77.0 for card in page.cards)
    assert scored_anew(store, 1) == (
        f"Being scored anew: PSNR 1 of {len(pairings)}; until that is done, the version before is shown."
    )
    assert scored_anew(store, 2).startswith("Being scored anew: PSNR 0 of ")
    write(pairings, 1.0)
    page = reconstruction_page(store, Query(run=1, sort="psnr", descending=True))
    assert [card.scores["psnr"].value for card in page.cards[:2]] == [77.0, 1.0]
    assert scored_anew(store, 1) == ""


@pytest.mark.parametrize(
    "query",
    [
        Query(run=1, sort="drop table"),
        Query(run=1, sort="lpips_vgg"),
        Query(run=1, filter_metric="nope", least=1.0),
        Query(run=1, role="admin"),
        Query(run=1, label="all"),  # type: ignore[arg-type]
        Query(run=1, size=0),
        Query(run=1, size=10_000),
    ],
)
def test_what_does_not_exist_is_refused_in_a_sentence(store, filled, query):
    with pytest.raises(UserError):
        reconstruction_page(store, query)


def test_an_unknown_run_is_empty(store, filled):
    page = reconstruction_page(store, Query(run=99))
    assert (page.cards, page.total, page.pages) == ((), 0, 1)
    assert metric_names(store, 99) == ()
    assert metric_names(store, 1) == ("mse", "psnr", "ssim")


def test_image_pairs_name_both_images(store, filled):
    found = image_pairs(store, filled.reconstructions[:2])
    with store.database.read() as connection:
        row = connection.execute(
            schema.reconstructions.select().where(schema.reconstructions.c.id == filled.reconstructions[1])
        ).one()
    assert found[filled.reconstructions[1]][1] == row.image_sha
    assert store.artifacts.exists(found[filled.reconstructions[1]][0])


def test_contested_answers_agreement_and_class(store, filled):
    first, second, third = filled.reconstructions[:3]
    for name, answer in (("Ana", "yes"), ("Ben", "no"), ("Cem", "unsure")):
        say(store, name, first, answer)
        say(store, name, second, "yes")
    say(store, "Ana", third, "no")

    def shown(**rest):
        return targets(reconstruction_page(store, Query(run=1, **rest)))

    assert shown(label="contested") == [0]  # one recognised it, two did not
    assert shown(sort="answers", descending=True)[:3] == [0, 1, 2]
    assert shown(sort="agreement")[:2] == [0, 1]  # 2 of 3, then 3 of 3; one answer is no agreement
    assert shown(sort="agreement", descending=True)[:2] == [1, 0]
    assert shown(label_index=4) == [4]  # the fixture's label is the target
    assert shown(label_index=77) == []


def test_neighbours_follow_the_order_and_the_filter(store, filled):
    query = Query(run=1, sort="psnr", descending=True)
    ids = [c.reconstruction for c in reconstruction_page(store, replace(query, size=50)).cards]
    assert neighbours(store, query, ids[0]) == (0, None, ids[1], 10)
    assert neighbours(store, query, ids[9]) == (9, ids[8], None, 10)
    assert neighbours(store, replace(query, label_index=4), ids[0])[0] is None


def test_the_source_is_a_choice_where_it_is_paired(store, filled):
    assert references(store, 1) == ("attacked",)
    sha = store.artifacts.put_png(photographs(1, 48)[0])
    with store.database.write() as connection:
        connection.execute(schema.originals.update().values(source_sha=sha))
        made = filled.reconstructions[0]
        row = {"reconstruction_id": made, "original_id": 1, "method": "given", "cost_name": "", "reference": "source"}
        pairing = connection.execute(schema.pairings.insert().values(**row)).inserted_primary_key[0]
        write_scores(connection, [StoredScore("pairing", pairing, "source", "psnr", "1", "", 12.5)])
        bump(connection, "scores")
        bump(connection, "reconstructions")
    assert references(store, 1) == ("attacked", "source")
    page = reconstruction_page(store, Query(run=1, reference="source", sort="psnr"))
    assert (page.cards[0].scores["psnr"].value, page.cards[0].original_sha) == (12.5, sha)
    assert page.cards[0].scores["psnr"].percentile is None  # alone
    assert page.cards[1].scores == {}
    assert reconstruction_page(store, Query(run=1)).cards[0].scores["psnr"].value == math.inf
    with pytest.raises(UserError, match="compared with"):
        reconstruction_page(store, Query(run=1, reference="mirror"))


def test_one_card_and_one_that_is_not_there(store, filled):
    assert card(store, filled.reconstructions[2]).target == 2
    with pytest.raises(UserError, match="no reconstruction 999"):
        card(store, 999)

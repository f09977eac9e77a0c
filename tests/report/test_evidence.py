"""From rows to a verdict: which answers count, and where there are none."""

from uuid import uuid4

import pytest

from core.errors import UserError
from core.labels.annotators import annotator_id
from core.labels.answers import answer_reconstruction
from core.labels.inline import answer_inline
from core.metrics.registry import METRICS
from core.report.evidence import run_verdict, threshold
from tests.filled_store import fill_store


def test_without_answers_the_named_threshold_decides(store):
    fill_store(store, originals=6, runs=1)
    found = run_verdict(store, 1, threshold("psnr", 20.0)).verdict
    from core.report.records import Query
    from core.report.views import reconstruction_page

    scores = [c.scores["psnr"].value for c in reconstruction_page(store, Query(run=1)).cards]
    assert found.leaked == sum(score >= 20.0 for score in scores)
    assert (found.basis, found.judged) == ("threshold", 6)
    assert [c.role for c in found.controls if c.count] == ["mismatched"]


def test_blind_answers_count_alone_and_others_only_where_there_are_no_blind_ones(store):
    filled = fill_store(store, originals=4, runs=1)
    first, second = filled.reconstructions[:2]
    answer_inline(store, first, "Ana", "yes")
    beside = run_verdict(store, 1, threshold())
    assert (beside.blind, beside.verdict.judged, beside.verdict.leaked) == (False, 1, 1)
    answer_reconstruction(
        store,
        event_id=uuid4().hex,
        reconstruction=second,
        annotator=annotator_id(store, "Ben"),
        answer="no",
        blind=True,
    )
    blind = run_verdict(store, 1, threshold())
    assert (blind.blind, blind.verdict.judged, blind.verdict.leaked) == (True, 1, 0)


def test_an_inline_answer_can_be_taken_back(store):
    filled = fill_store(store, originals=2, runs=1)
    answer_inline(store, filled.reconstructions[0], "Ana", "yes")
    answer_inline(store, filled.reconstructions[0], "Ana", None)
    assert run_verdict(store, 1, threshold()).verdict.basis == "threshold"
    with pytest.raises(UserError):
        answer_inline(store, 999, "Ana", "yes")
    with pytest.raises(UserError):
        answer_inline(store, filled.controls[0], "Ana", "yes")


def test_an_unknown_metric_names_its_neighbours():
    with pytest.raises(UserError, match="psnr"):
        threshold("psnrr", 1.0)


def test_an_unknown_run_is_pending(store):
    assert run_verdict(store, 5, threshold()).verdict.outcome == "pending"


def test_what_a_diagnostic_says_is_no_cut_of_a_verdict():
    diagnostic = next(name for name, record in METRICS.items() if record.diagnostic)
    with pytest.raises(UserError, match="diagnostic") as caught:
        threshold(diagnostic, 0.5)
    assert diagnostic not in str(caught.value).partition("choose")[2]  # it is not offered instead

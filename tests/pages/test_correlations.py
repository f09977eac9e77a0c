"""The Correlations page without a browser: figures, words, links. The plot itself: tests/e2e."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from core.labels.annotators import annotator_id
from core.labels.answers import answer_reconstruction
from core.labels.imports import import_table
from core.metrics.registry import METRICS, directions
from core.storage import schema
from core.storage.database import bump
from core.storage.scores import StoredScore, write_scores
from core.storage.store import Store
from tests.filled_store import fill_store

PAGE = "pages/correlations.py"


def figures(test: AppTest) -> dict[str, str]:
    return {one.label: one.value for one in test.metric}


def test_an_empty_store_says_what_to_do(app: Callable[..., AppTest], store: Store) -> None:
    test = app(PAGE)
    assert not test.exception
    assert any("There are no scores yet" in one.value for one in test.markdown)
    assert not test.get("bidi_component")


def test_no_labels_yet_in_words(app: Callable[..., AppTest], store: Store) -> None:
    fill_store(store, originals=6, runs=1)
    test = app(PAGE)
    assert not test.exception
    assert figures(test)["n"] == "0"
    assert figures(test)["Spearman ρ"] == "–"
    assert test.info[0].value == "Nobody has labelled any of these reconstructions yet."


def test_figures_against_people_and_then_against_a_metric(app: Callable[..., AppTest], store: Store) -> None:
    """The fixture's copies grow worse, and the better half is recognised: x falls as y falls."""
    fill_store(store, originals=8, runs=1, labels=8)
    test = app(PAGE, x="psnr")
    assert not test.exception
    shown = figures(test)
    # 4 recognised and 4 not, every PSNR of the first above every one of the second: mid-ranks 6.5 and 2.5 against
    # 1..8: covariance 32, sums of squares 42 and 32, so rho = 32 / sqrt(42 * 32)
    assert shown["Spearman ρ"] == f"{32 / (42 * 32) ** 0.5:.3f}"
    # tau-b: 16 of 28 pairs are untied in y, all concordant -> 16 / sqrt(28 * 16)
    assert shown["Kendall τ-b"] == f"{16 / (28 * 16) ** 0.5:.3f}"
    assert (shown["n"], shown["Undetermined"], shown["Not labelled"]) == ("8", "8", "0")
    assert len(test.get("bidi_component")) == 1
    (caution,) = [one.value for one in test.caption if "too few" in one.value]
    assert caution.startswith("n = 8: ")
    assert "95 % interval of ρ" in caution
    test.selectbox(key="correlations_y").select("ssim").run()
    assert not test.exception
    assert (figures(test)["n"], figures(test)["Unscored"]) == ("7", "1")
    assert test.query_params["y"] == "ssim"


def test_answers_in_view_of_scores_count_only_when_asked_for(app: Callable[..., AppTest], store: Store) -> None:
    filled = fill_store(store, originals=4, runs=1)
    ana = annotator_id(store, "Ana")
    answer_reconstruction(
        store, event_id="e", reconstruction=filled.reconstructions[0], annotator=ana, answer="yes", blind=False
    )
    test = app(PAGE)
    assert figures(test)["n"] == "0"
    assert test.info[0].value == "No blind answer yet; 1 given beside the original."
    assert test.toggle(key="correlations_seen").label == "with answers given beside the original"
    test.toggle(key="correlations_seen").set_value(True).run()
    assert figures(test)["n"] == "1"
    assert test.query_params["blind"] == "0"


def test_no_caution_from_ten_reconstructions_on(app: Callable[..., AppTest], store: Store) -> None:
    fill_store(store, originals=10, runs=1, labels=10)
    test = app(PAGE)
    assert figures(test)["n"] == "10"
    assert not [one.value for one in test.caption if "too few" in one.value]


def test_a_metric_without_a_value_is_not_offered(app: Callable[..., AppTest], store: Store) -> None:
    fill_store(store, originals=3, runs=1)
    version = METRICS["mae"].version
    with store.database.write() as connection:
        write_scores(connection, [StoredScore("pairing", 1, "attacked", "mae", version, "", None, "it failed")])
        bump(connection, "scores")
    test = app(PAGE)
    assert len(test.selectbox(key="correlations_x").options) == 3  # mse, psnr, ssim
    assert "score of mae" in not_so(app(PAGE, x="mae"))[0]


def test_one_run_by_link(app: Callable[..., AppTest], store: Store) -> None:
    filled = fill_store(store, originals=4, runs=2, labels=8)
    assert figures(app(PAGE))["n"] == "8"
    assert figures(app(PAGE, run=str(filled.runs[1])))["n"] == "4"


def test_a_table_made_elsewhere_by_link(app: Callable[..., AppTest], store: Store, shared: Path) -> None:
    """Figures: shared/REFERENCE.md, "Human data to test with"; tests/commands checks the command line's against it."""
    data = (shared / "data" / "human_study_convnet.csv").read_bytes()
    table = import_table(store, "study.csv", data, directions=directions())
    test = app(PAGE, table=str(table))
    assert not test.exception
    metrics, people = (one.value for one in test.dataframe)
    assert metrics.loc["lpips"].tolist()[:6] == ["0.4242", "0.3121", "0.7208", "0.7187", "0.8214", "0.7143"]
    assert any("never of new settings" in one.value for one in test.caption)
    assert people.loc["Fleiss' κ", "figure"] == "0.4088"
    assert any("There are no scores yet" in one.value for one in test.markdown)  # the store's own stay empty


def test_a_table_made_elsewhere_with_a_metric_of_ours(
    app: Callable[..., AppTest], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METRICS, "brightness", replace(METRICS["mse"], name="brightness"))  # as one file, one line
    rows = [f"{'abc'[i % 3]},{i},1,{1 if i % 4 else -1},{1 if i % 3 else -1},{-i}" for i in range(12)]
    data = "\n".join(["config,image_id,true_class,annotator_1,annotator_2,brightness", *rows]).encode()
    table = import_table(store, "ours.csv", data, directions=directions())
    test = app(PAGE, table=str(table))
    assert not test.exception
    assert not test.error
    assert list(test.dataframe[0].value.index) == ["brightness"]


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ({"x": "pnsr"}, "did you mean psnr"),
        ({"x": "lpips_alex"}, "Nothing in the store has a score of lpips"),
        ({"y": "../x"}, "no metric called"),
        ({"run": "999"}, "no run 999"),
        ({"run": "../1"}, "whole number"),
        ({"blind": "2"}, "0 or 1"),
        ({"table": "3"}, "no imported table 3"),
    ],
)
def test_an_unknown_link_gets_one_sentence(
    app: Callable[..., AppTest], store: Store, query: dict[str, str], says: str
) -> None:
    fill_store(store, originals=3, runs=1)
    test = app(PAGE, **query)
    assert not test.exception
    assert not test.error
    (told,) = not_so(test)
    assert says in told
    usual = app(PAGE)
    assert figures(test) == figures(usual)
    assert {one.key: one.value for one in test.selectbox} == {one.key: one.value for one in usual.selectbox}


def not_so(test: AppTest) -> list[str]:
    """What the page says of choices of the address that it does not follow."""
    said = [one.value.replace("\\", "") for one in test.info]
    return [one for one in said if one.endswith("The usual is shown.")]


def with_source(store: Store, reconstruction: int, value: float) -> None:
    """A second pairing of that reconstruction, scored by mse."""
    with store.database.write() as connection:
        made = connection.execute(
            schema.pairings.insert().values(
                reconstruction_id=reconstruction, original_id=1, method="given", cost_name="", reference="source"
            )
        ).inserted_primary_key[0]
        write_scores(connection, [StoredScore("pairing", made, "source", "mse", METRICS["mse"].version, "", value)])
        bump(connection, "scores")


def test_the_other_reference_is_offered_only_where_it_is_stored(app: Callable[..., AppTest], store: Store) -> None:
    filled = fill_store(store, originals=4, runs=2, labels=8)
    assert "correlations_ref" not in [one.key for one in app(PAGE).selectbox]
    with_source(store, filled.reconstructions[0], 0.5)
    test = app(PAGE)
    assert not test.exception
    assert test.selectbox(key="correlations_ref").options == ["attacked pixels", "un-augmented original"]
    assert (figures(test)["n"], "ref" in test.query_params) == ("8", False)
    test.selectbox(key="correlations_ref").select("source").run()
    assert not test.exception
    assert (figures(test)["n"], test.query_params["ref"]) == ("1", "source")
    assert figures(app(PAGE, ref="source"))["n"] == "1"
    # the second run has no such pairing: its link shows the attacked pixels, and offers nothing else
    second = app(PAGE, ref="source", run=str(filled.runs[1]))
    assert "correlations_ref" not in [one.key for one in second.selectbox]
    assert figures(second)["n"] == "4"
    assert "ref must be attacked or source, not 'both'" in not_so(app(PAGE, ref="both"))[0]


def test_scores_of_another_version_are_left_out_in_words(app: Callable[..., AppTest], store: Store) -> None:
    fill_store(store, originals=4, runs=1, labels=4)
    assert not [one.value for one in app(PAGE, x="mse").caption if "another version" in one.value]
    with store.database.write() as connection:
        gone = schema.scores.c.metric == "mse", schema.scores.c.subject_id > 1
        connection.execute(schema.scores.delete().where(*gone))
        connection.execute(schema.scores.update().where(schema.scores.c.metric == "mse").values(metric_version="0"))
        rows = [StoredScore("pairing", one, "attacked", "mse", METRICS["mse"].version, "", 0.5) for one in (2, 3)]
        write_scores(connection, rows)
        bump(connection, "scores")
    test = app(PAGE, x="mse")
    assert figures(test)["n"] == "2"
    (caption,) = [one.value for one in test.caption if "another version" in one.value]
    assert caption.startswith("Left out: 1 of MSE")
    with store.database.write() as connection:
        rows = [StoredScore("pairing", one, "attacked", "mse", "0", "", 0.5) for one in (2, 3, 4)]
        write_scores(connection, rows)
        bump(connection, "scores")
    test = app(PAGE, x="mse")
    assert figures(test)["n"] == "4"
    assert any("Being scored anew: MSE 2 of 4; until that is done" in one.value for one in test.caption)

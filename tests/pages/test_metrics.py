"""The Metrics page without a browser: every metric explained, live numbers, links, weights."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from core.jobs import aside, fetch
from core.jobs.aside import Answer
from core.metrics.base import Score
from core.metrics.registry import METRICS, missing_here
from core.metrics.sets import SET_METRICS
from core.models.weights import WEIGHTS
from core.report.examples import BASES, examples
from core.report.ranks import compared
from core.settings import load_settings
from core.storage.store import Store
from tests.filled_store import fill_store

PAGE = "pages/metrics.py"
LONG = 120  # seconds, a limit on a busy machine


@pytest.fixture(autouse=True)
def _ended() -> Iterator[None]:
    """No child outlives its test."""
    yield
    aside.service.close()


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Scores without a child: of metric m, picture i has the score i / 100, and LPIPS is unavailable."""
    asked: list[tuple[str, ...]] = []

    def answer(settings: object, pairs: list[object], names: list[str], *known: list[str]) -> Answer:
        asked.append(tuple(names))
        return Answer(
            True,
            {
                name: [Score(None, "no weights") if "lpips" in name else Score(i / 100) for i in range(len(pairs))]
                for name in names
            },
        )

    monkeypatch.setattr("core.jobs.aside.example_scores", answer)
    return asked


def html(test: AppTest) -> str:
    return "\n".join(one.proto.body for one in test.get("html"))


def finished(test: AppTest) -> AppTest:
    deadline = time.monotonic() + LONG
    while 'class="pending"' in html(test) and time.monotonic() < deadline:
        time.sleep(0.2)
        test.run()
    return test


def test_every_metric_has_its_card_with_both_sentences(
    app: Callable[..., AppTest], store: Store, known: list[tuple[str, ...]]
) -> None:
    test = app(PAGE)
    assert not test.exception
    cards = html(test).split('<article data-metric="')[1:]
    assert [card.split('"')[0] for card in cards] == [*METRICS, *SET_METRICS]
    assert all("<b>Sees</b>" in card and "<b>Misses</b>" in card for card in cards)
    assert all("available" in card for card in cards)
    bare = replace(load_settings(), torch_cache=None)
    able = {name for name in compared(list(METRICS)) if not missing_here(METRICS[name], bare)}
    assert {name for group in known for name in group} == able  # nothing is asked that has no weights


def test_numbers_come_from_this_machine_and_the_pictures_are_there_at_once(
    app: Callable[..., AppTest], store: Store
) -> None:
    test = app(PAGE)
    assert not test.exception
    first = html(test)
    assert first.count("<figure") >= 1 + len(examples("cat-1"))  # before any number
    assert 'class="pending"' in first
    assert any("Computing" in one.value for one in test.caption)
    done = html(finished(test))
    assert 'class="pending"' not in done
    rows = done.split('<tr class=chosen data-metric="psnr">')
    assert len(rows) == 2
    assert rows[1].split("</tr>")[0].count("<b>") == len(examples("cat-1"))
    assert any("They differ most over" in one.value.replace("\\", "") for one in test.markdown)
    assert any("metrics without a score here" in one.label for one in test.expander)  # no weights in this home
    assert not test.exception


def test_choices_are_in_the_link_and_come_from_it(
    app: Callable[..., AppTest], store: Store, known: list[tuple[str, ...]]
) -> None:
    test = app(PAGE, metric="ssim", picture="rocket-1", list="table", kind="diagnostic")
    assert not test.exception
    assert test.selectbox(key="guide_metric").value == "ssim"
    assert "Original: rocket-1" in html(test)
    (frame,) = [one.value for one in test.dataframe]
    assert set(frame["kind"]) == {"diagnostic"}
    test.selectbox(key="guide_metric").select("mse").run()
    assert test.query_params["metric"] == "mse"
    assert '<tr class=chosen data-metric="mse">' in html(test)
    test.selectbox(key="guide_metric").select("psnr").run()  # the default
    assert "metric" not in test.query_params
    assert '<tr class=chosen data-metric="psnr">' in html(test)
    test.selectbox(key="guide_kind").select("all").run()
    assert len(test.dataframe[0].value) == len(METRICS) + len(SET_METRICS)
    assert not test.exception


@pytest.mark.parametrize("name", [*METRICS, *SET_METRICS])
def test_every_metric_can_be_studied(
    app: Callable[..., AppTest], store: Store, known: list[tuple[str, ...]], name: str
) -> None:
    test = app(PAGE, metric=name)
    assert not test.exception
    assert not test.error
    record = METRICS.get(name) or SET_METRICS[name]
    study = [one.proto.body for one in test.get("html") if 'class="metric-title"' in one.proto.body]
    assert len(study) == 1
    assert record.title.replace("'", "&#x27;") in study[0]
    assert any('<dl class="facts">' in one.proto.body for one in test.get("html"))


@pytest.mark.parametrize("picture", [one.picture for one in BASES])
def test_every_picture_can_be_chosen(
    app: Callable[..., AppTest], store: Store, known: list[tuple[str, ...]], picture: str
) -> None:
    test = app(PAGE, picture=picture)
    assert not test.exception
    assert f"Original: {picture}" in html(test)


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ({"metric": "pnsr"}, "did you mean psnr"),
        ({"metric": "../../etc"}, "no metric called"),
        ({"picture": "cat-2"}, "did you mean cat-1"),
        ({"list": "<b>"}, "no list called"),
        ({"kind": "7"}, "no kind of metric"),
        ({"here": "nowhere"}, "no choice called"),
    ],
)
def test_an_unknown_link_gets_one_sentence(
    app: Callable[..., AppTest], store: Store, known: list[tuple[str, ...]], query: dict[str, str], says: str
) -> None:
    test = app(PAGE, **query)
    assert not test.exception
    assert not test.error
    for _ in range(2):  # until something is chosen, however often the page draws itself anew
        (told,) = (one.value.replace("\\", "") for one in test.info)
        assert says in told
        assert told.endswith("The usual is shown.")
        test.run()
    assert html(test).count("<article") == len(METRICS) + len(SET_METRICS)


def test_a_problem_of_the_child_is_one_sentence_and_the_page_stands(
    app: Callable[..., AppTest], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = "The process that computes ended (signal 9), twice."
    monkeypatch.setattr("core.jobs.aside.example_scores", lambda *asked: Answer(True, problem=problem))
    test = app(PAGE)
    assert not test.exception
    assert [one.value.replace("\\", "") for one in test.error] == [problem]
    assert html(test).count("<article") == len(METRICS) + len(SET_METRICS)


def test_weights_are_listed_with_size_licence_and_a_button(
    app: Callable[..., AppTest], store: Store, known: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []
    monkeypatch.setattr(fetch, "start", lambda settings, name: started.append(name))
    test = app(PAGE)
    body = html(test)
    for name, record in WEIGHTS.items():
        assert f"<b>{name}</b>" in body
        assert f"{record.mebibytes} MiB" in body
        assert record.licence in body
    test.button(key="fetch_vgg16-imagenet-features").click().run()
    assert started == ["vgg16-imagenet-features"]
    assert not test.exception


def test_a_download_under_way_and_one_that_failed_are_shown(
    app: Callable[..., AppTest], store: Store, known: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    states = {
        "vgg16-imagenet-features": fetch.Fetch(True, 0.25, "132 of 528 MiB"),
        "squeezenet1_1-imagenet-features": fetch.Fetch(problem="SqueezeNet: the download failed."),
    }
    monkeypatch.setattr(fetch, "fetched", lambda settings, name: states.get(name, fetch.Fetch()))
    test = app(PAGE)
    assert not test.exception
    (bar,) = test.get("progress")
    assert "132 of 528 MiB" in bar.proto.text
    assert bar.proto.value == 25
    assert [one.value.replace("\\", "") for one in test.error] == ["SqueezeNet: the download failed."]
    assert not [one for one in test.button if one.key == "fetch_vgg16-imagenet-features"]


def test_no_path_of_this_machine_is_on_the_page(
    app: Callable[..., AppTest], store: Store, known: list[tuple[str, ...]], home: Path
) -> None:
    assert str(home) not in html(app(PAGE))


def test_the_reconstructions_page_s_metric_is_no_obstacle(
    app: Callable[..., AppTest], store: Store, known: list[tuple[str, ...]]
) -> None:
    """Its threshold's metric stands in the link as ?metric= too, in short; Streamlit keeps it there, and lets nobody
    else set it."""
    fill_store(store, originals=2, runs=1)
    test = app("pages/reconstructions.py", run="1", metric="MSE", view="table")
    assert not test.exception
    test.switch_page(PAGE).run()
    assert not test.exception
    assert not test.error
    for name in ("ssim", "mae"):  # one after the other: the link must not take the choice back
        test.selectbox(key="guide_metric").select(name).run()
        assert not test.exception
        assert f'<tr class=chosen data-metric="{name}">' in html(test)
        test.run()
        assert f'<tr class=chosen data-metric="{name}">' in html(test)
    test.switch_page("pages/reconstructions.py").run()
    assert not test.exception


def test_a_link_of_a_later_visit_counts(
    app: Callable[..., AppTest], store: Store, known: list[tuple[str, ...]]
) -> None:
    test = app(PAGE, metric="ssim")
    test.query_params["metric"] = "GMSD"  # the short name, as people may write it
    test.run()
    assert not test.exception
    assert '<tr class=chosen data-metric="gmsd">' in html(test)
    assert test.query_params["metric"] == "gmsd"

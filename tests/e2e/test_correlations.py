"""The Correlations page in a browser: it moves by itself when somebody labels, and keeps zoom and selection."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.e2e.conftest import App
from tests.filled_store import fill_store

pytestmark = pytest.mark.e2e

AREA = ".semsight-plot-area"
POINTS = f"{AREA} path.point"


@pytest.fixture(scope="module")
def app(serve: Callable[..., App]) -> App:
    """40 originals, 2 runs, 30 of 80 reconstructions labelled once."""
    return serve(lambda store: fill_store(store, originals=40, runs=2, labels=30))


def open_plot(page: Page, app: App, query: str = "") -> None:
    page.goto(f"{app.url}/correlations?annotator=Viewer{query}")
    expect(page.locator(AREA)).to_have_attribute("data-points", re.compile(r"\d+"))


def ranges(page: Page) -> list[list[float]]:
    """The parts of both axes in view, to 6 digits."""
    script = "plot => ['xaxis', 'yaxis'].map(name => plot._fullLayout[name].range.map(end => +end.toFixed(6)))"
    return page.locator(AREA).evaluate(script)


def zoom(page: Page) -> list[list[float]]:
    """Drag a box in the middle of the plot; return the ranges before it."""
    before = ranges(page)
    drag(page)
    page.wait_for_function(
        f"before => {{ const x = document.querySelector('{AREA}')._fullLayout.xaxis.range;"
        " return Math.abs(x[0] - before[0][0]) > 1e-3; }",
        arg=before,
    )
    return before


def drag(page: Page) -> None:
    box = page.locator(f"{AREA} .nsewdrag").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.02 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.99 * box["width"], box["y"] + 0.6 * box["height"], steps=8)
    page.mouse.up()


def test_a_label_in_another_tab_moves_the_plot_and_zoom_stays(context: BrowserContext, app: App) -> None:
    watcher, labeller = context.new_page(), context.new_page()
    labeller.goto(f"{app.url}/label?annotator=Other")
    expect(labeller.locator("img.picture")).to_be_visible()
    open_plot(watcher, app)
    watcher.bring_to_front()
    before = zoom(watcher)
    zoomed = ranges(watcher)
    assert zoomed != before
    node = watcher.locator(AREA).element_handle()
    points = int(watcher.locator(AREA).get_attribute("data-points") or 0)
    for _ in range(4):  # some may fall on what Ana labelled; four answers move n by at least none and at most four
        labeller.keyboard.press("y")
    expect(labeller.locator(".saving")).to_have_text("Saved")
    answered = f"plot => Number(plot.dataset.answers) >= {30 + 4}"
    watcher.wait_for_function(f"() => ({answered})(document.querySelector('{AREA}'))")
    assert int(watcher.locator(AREA).get_attribute("data-points") or 0) >= points
    assert ranges(watcher) == zoomed
    assert node is not None
    assert node.evaluate("node => node.isConnected")  # the very same node: nothing was thrown away and redrawn


def test_the_plot_stays_the_same_node_when_words_above_it_come_and_go(
    context: BrowserContext, serve: Callable[..., App]
) -> None:
    """From no answer (a note) over a few (a caution) to enough (neither): the plot below keeps its place."""
    unlabelled = serve(lambda store: fill_store(store, originals=12, runs=1, labels=0))
    watcher, labeller = context.new_page(), context.new_page()
    labeller.goto(f"{unlabelled.url}/label?annotator=Ana")
    expect(labeller.locator("img.picture")).to_be_visible()
    open_plot(watcher, unlabelled)
    node = watcher.locator(AREA).element_handle()
    assert node is not None
    for answers in (3, 11):
        while int((labeller.locator(".count").inner_text()).split()[0]) < answers:
            before = labeller.locator(".count").inner_text()
            labeller.keyboard.press("y")
            expect(labeller.locator(".count")).not_to_have_text(before)
        expect(labeller.locator(".saving")).to_have_text("Saved")
        watcher.bring_to_front()
        expect(watcher.locator(AREA)).to_have_attribute("data-answers", str(answers))
        assert node.evaluate("node => node.isConnected")
        labeller.bring_to_front()


def test_hovering_shows_the_picture_of_the_point(page: Page, app: App) -> None:
    open_plot(page, app)
    point = page.locator(POINTS).nth(7)
    box = point.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=4)
    image = page.locator(".semsight-plot-tip img")
    expect(image).to_be_visible()
    expect(image).to_have_attribute("data-id", re.compile(r"\d+"))  # asked for and answered: 80 points are not few
    assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") == 32
    assert image.evaluate("image => getComputedStyle(image).imageRendering") == "pixelated"
    expect(page.locator(".semsight-plot-tip")).to_contain_text("photo-")


def test_a_selection_outlives_new_data(context: BrowserContext, page: Page, app: App) -> None:
    open_plot(page, app)
    page.locator(f"{AREA} [data-val='select']").click()
    drag(page)
    chosen = page.get_by_text(re.compile(r"^\d+ selected"))
    expect(chosen).to_be_visible()
    count = chosen.inner_text()
    labeller = context.new_page()
    labeller.goto(f"{app.url}/label?annotator=Third")
    expect(labeller.locator("img.picture")).to_be_visible()
    answers = int(page.locator(AREA).get_attribute("data-answers") or 0)
    labeller.keyboard.press("n")
    expect(labeller.locator(".saving")).to_have_text("Saved")
    page.bring_to_front()
    expect(page.locator(AREA)).to_have_attribute("data-answers", str(answers + 1))
    expect(chosen).to_have_text(count)
    faint = "points => points.filter(point => Number(getComputedStyle(point).opacity) < 0.5).length"
    assert page.locator(POINTS).evaluate_all(faint) > 0  # what is not selected stays faint
    page.locator(f"{AREA} .nsewdrag").first.dblclick(position={"x": 5, "y": 200})
    expect(chosen).to_have_count(0)
    assert page.locator(POINTS).evaluate_all(faint) == 0


def test_another_metric_and_the_link_that_reopens_it(page: Page, app: App) -> None:
    open_plot(page, app, "&x=psnr&y=ssim&blind=0")
    expect(page.locator(AREA)).to_have_attribute("aria-label", re.compile("PSNR against SSIM"))
    assert "x=psnr" in page.url
    assert "y=ssim" in page.url
    expect(page.get_by_text("1 infinite score stands")).to_be_visible()


@pytest.mark.parametrize("query", ["&x=../../etc", "&x=nonsense", "&run=999", "&run=..", "&blind=maybe", "&table=7"])
def test_an_unknown_link_gets_one_sentence(page: Page, app: App, query: str) -> None:
    page.goto(f"{app.url}/correlations?annotator=Viewer{query}")
    expect(page.get_by_test_id("stAlert").first).to_be_visible()
    assert "Traceback" not in page.content()
    expect(page.get_by_test_id("stAlertContentError")).to_have_count(0)
    expect(page.get_by_text("Spearman ρ").first).to_be_visible()


def test_a_table_made_elsewhere_shows_the_published_figures(page: Page, app: App, shared: Path) -> None:
    open_plot(page, app)
    page.locator("input[type=file]").set_input_files(shared / "data" / "human_study_convnet.csv")
    expect(page.get_by_text("n = 4200, unscored 0")).to_be_visible()
    assert "table=" in page.url


def test_plotly_comes_from_this_server_and_only_once(page: Page, app: App) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    open_plot(page, app)
    page.get_by_text("with answers given beside the original").click()
    expect(page).to_have_url(re.compile("blind=0"))
    assert len([url for url in asked if url.endswith("plotly.min.js")]) == 1
    assert all(url.startswith((app.url, "data:", "blob:", app.url.replace("http", "ws"))) for url in asked)

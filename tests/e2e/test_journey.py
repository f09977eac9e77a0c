"""The whole way of issue 2, in a real browser: from an empty home to a correlation plot that moves."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from core.labels.annotators import annotator_id
from core.labels.answers import current_answers
from core.labels.studies import default_study
from core.report.runs import counts
from tests.e2e.conftest import App

pytestmark = pytest.mark.e2e

RUN_LIMIT = 400_000  # ms for the demo on a busy machine; a limit, not an expectation
PLOT = ".semsight-plot-area"
IMAGES = 10  # 8 attacked faces, and 2 images that the prior made alone


def run_the_demo(page: Page, app: App) -> None:
    page.goto(f"{app.url}/?annotator=Ana")
    expect(page.get_by_text("Nothing here yet")).to_be_visible()
    page.get_by_role("button", name="Run the demo").click()
    link = page.get_by_role("link", name=re.compile(r"^Run 1"))
    expect(link).to_be_visible(timeout=RUN_LIMIT)
    expect(page.locator(".verdict h2")).to_contain_text("of 8 originals", timeout=RUN_LIMIT)
    link.click()


def look_at_a_reconstruction(page: Page) -> None:
    expect(page.locator(".trio")).to_have_count(8)
    assert "run=1" in page.url
    expect(page.locator(".hidden-scores")).to_have_count(8)  # nobody has answered yet
    loaded = ".trio img"
    assert page.locator(loaded).evaluate_all("all => all.length && all.every(image => image.naturalWidth > 0)")


def label(page: Page, keys: str, answered: int) -> None:
    for key in keys:
        page.keyboard.press(key)
    expect(page.locator(".count")).to_have_text(f"{answered} of {IMAGES}")
    expect(page.locator(".saving")).to_have_text("Saved")


def test_from_an_empty_home_to_a_moved_plot(serve: Callable[..., App], context: BrowserContext, page: Page) -> None:
    app = serve(runner=True)
    run_the_demo(page, app)
    look_at_a_reconstruction(page)

    plot = context.new_page()
    plot.goto(f"{app.url}/correlations?annotator=Viewer")
    expect(plot.get_by_text(re.compile("no.*answer|nobody", re.IGNORECASE)).first).to_be_visible()

    page.bring_to_front()
    page.get_by_role("link", name="Label").click()
    expect(page.locator("img.picture")).to_be_visible()
    label(page, "ynynu", 5)
    plot.bring_to_front()
    expect(plot.locator(PLOT)).to_have_attribute("data-answers", re.compile("[1-5]"))
    before = int(plot.locator(PLOT).get_attribute("data-answers") or 0)
    shown = plot.locator(f"{PLOT} path.point").evaluate_all("points => points.map(p => p.getAttribute('transform'))")

    page.bring_to_front()
    label(page, "nyyny", 10)
    plot.bring_to_front()
    expect(plot.locator(PLOT)).to_have_attribute("data-answers", "8")  # the prior's two are judged, not plotted
    assert before < 8
    moved = plot.locator(f"{PLOT} path.point").evaluate_all("points => points.map(p => p.getAttribute('transform'))")
    assert moved != shown

    study, ana = default_study(app.store), annotator_id(app.store, "Ana")
    answers = current_answers(app.store, study, ana)
    assert len(answers) == counts(app.store).answers == IMAGES
    assert all(answer.blind for answer in answers.values())

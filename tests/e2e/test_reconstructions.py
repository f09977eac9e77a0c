"""The Reconstructions page in a browser: the slider, the detail view's link, maps, two runs, narrow screens."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from core.storage import schema
from core.storage.database import bump
from tests.e2e.conftest import App
from tests.filled_store import fill_store

pytestmark = pytest.mark.e2e

RANGE = ".compare input[type=range]"


@pytest.fixture(scope="module")
def app(serve: Callable[..., App]) -> App:
    """15 originals, 2 runs of them."""
    return serve(lambda store: fill_store(store, originals=15, runs=2))


def open_page(page: Page, app: App, query: str) -> None:
    page.goto(f"{app.url}/reconstructions?annotator=Viewer&{query}")


def at(page: Page) -> int:
    return int(page.locator(".compare").get_attribute("data-at") or -1)


def no_sideways_scroll(page: Page) -> bool:
    script = (
        "() => { const m = document.querySelector('[data-testid=stMain]'); return m.scrollWidth <= m.clientWidth; }"
    )
    return bool(page.evaluate(script))


def test_the_slider_follows_mouse_and_keys(page: Page, app: App) -> None:
    open_page(page, app, "run=1&reconstruction=3")
    expect(page.locator(".compare img.over")).to_have_js_property("complete", True)
    box = page.locator(".stage").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2, steps=5)
    page.mouse.up()
    assert abs(at(page) - 25) <= 1  # the line stays under the pointer
    line = page.locator(".compare .line").bounding_box()
    assert line is not None
    assert abs(line["x"] + line["width"] / 2 - (box["x"] + box["width"] / 4)) < 0.02 * box["width"]
    before = at(page)
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert at(page) == before + 3
    words = page.locator(RANGE).get_attribute("aria-valuetext")
    assert words == f"{before + 3} % original, {97 - before} % reconstruction"
    assert page.locator(RANGE).get_attribute("aria-label") == "Slide between original and reconstruction"
    assert page.locator(".compare img.over").get_attribute("alt") == "Original photo-002"
    rendering = page.locator(".compare img.over").evaluate("image => getComputedStyle(image).imageRendering")
    assert rendering == "pixelated"


def test_keys_step_through_the_list_in_its_order_and_the_slider_stays(page: Page, app: App) -> None:
    open_page(page, app, "run=1&reconstruction=3&sort=PSNR&order=descending")
    expect(page.get_by_text("3 of 15 by PSNR, descending")).to_be_visible()
    page.locator(RANGE).fill("20")
    page.locator(RANGE).focus()
    page.keyboard.press("n")
    expect(page).to_have_url(re.compile("reconstruction=4"))
    expect(page.locator(".detail-head b")).to_have_text("photo-003")
    assert at(page) == 20
    page.keyboard.press("p")
    expect(page).to_have_url(re.compile("reconstruction=3"))
    assert "sort=PSNR" in page.url
    page.get_by_role("button", name="All of the run").click()
    expect(page.locator(".card-head")).to_have_count(12)
    expect(page).not_to_have_url(re.compile("reconstruction="))
    expect(page).to_have_url(re.compile("sort=PSNR"))


def test_a_card_opens_closely_and_its_link_reopens_it(page: Page, app: App) -> None:
    open_page(page, app, "run=2&sort=MSE&map=SSIM+map")
    expect(page.locator(".card-head")).to_have_count(12)
    page.get_by_role("button", name="Look closer").first.click()
    expect(page.locator(".compare")).to_be_visible()
    expect(page).to_have_url(re.compile("reconstruction="))
    name = page.locator(".detail-head b").inner_text()
    for word in ("sort=MSE", "map=SSIM", "run=2"):
        assert word in page.url, word
    again = page.context.new_page()
    again.goto(page.url)
    expect(again.locator(".detail-head b")).to_have_text(name)
    expect(again.get_by_text("Scores are hidden until you answer.")).to_be_visible()
    again.get_by_role("radio", name="unsure").click()
    expect(again.locator(".scores th", has_text="PSNR").first).to_be_visible()


def test_the_third_picture_is_a_choice_and_in_the_link(page: Page, app: App) -> None:
    open_page(page, app, "run=1")
    expect(page.locator(".trio img[alt^='difference of photo-000']")).to_be_visible()
    page.get_by_role("radio", name="SSIM map").click()
    expect(page.locator(".trio img[alt^='SSIM map of photo-000']")).to_be_visible()
    expect(page).to_have_url(re.compile("map=SSIM"))
    assert "mean" not in (page.locator(".trio img[alt^='SSIM map of photo-001']").get_attribute("alt") or "")


def test_a_missing_lpips_map_says_why_and_nothing_polls(page: Page, app: App) -> None:
    open_page(page, app, "run=1&map=LPIPS+map")
    expect(page.locator(".no-pix").first).to_contain_text(re.compile("alexnet", re.IGNORECASE))


def test_two_runs_beside_each_other(page: Page, app: App) -> None:
    open_page(page, app, "run=1&beside=2&scores=true&sort=gap+in+PSNR&order=descending")
    expect(page.locator(".scores.beside").first).to_be_visible()
    expect(page.get_by_text("Run 1 against run 2")).to_be_visible()
    first = page.locator(".scores.beside").first
    assert first.locator("td.mark", has_text="◀︎").first.get_attribute("title") == "run 1 leaks more"
    expect(page.locator(".card-head b").first).to_have_text("photo-000")  # perfect in run 1: the gap is infinite
    page.get_by_role("radio", name="table").click()
    expect(page.get_by_test_id("stDataFrame")).to_be_visible()
    expect(page).to_have_url(re.compile("beside=2"))


@pytest.mark.parametrize(
    "query", ["run=1&scores=true", "run=1&scores=true&beside=2", "run=1&scores=true&reconstruction=3"]
)
def test_a_narrow_screen_scrolls_only_downwards(page: Page, app: App, query: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    open_page(page, app, query)
    expect(page.locator(".scores").first).to_be_visible()
    expect(page.locator("h1")).to_be_visible()
    assert no_sideways_scroll(page)


def test_a_run_that_goes_on_is_followed_without_a_reload(page: Page, app: App) -> None:
    def become(state: str) -> None:
        with app.store.database.write() as connection:
            connection.execute(schema.jobs.update().where(schema.jobs.c.id == 2).values(state=state))
            bump(connection, "jobs")

    badge = page.locator(".stMarkdownBadge").first
    become("running")
    try:
        open_page(page, app, "run=2")
        expect(badge).to_contain_text("running")
    finally:
        become("done")
    expect(badge).to_contain_text("done")


def test_quick_answers_leave_no_card_behind(page: Page, app: App) -> None:
    page.goto(f"{app.url}/reconstructions?annotator=Quick&run=2")
    cards = page.locator(".hidden-scores")
    expect(cards).to_have_count(12)
    buttons = page.get_by_role("radio", name="not", exact=True)
    expect(buttons).to_have_count(12)
    for place in range(6):
        buttons.nth(place).click()  # as fast as the browser takes them, while earlier ones are still being stored
    expect(cards).to_have_count(6)


def test_the_closer_view_opens_at_its_top(page: Page, app: App) -> None:
    open_page(page, app, "run=1")
    page.get_by_role("button", name="Look closer").last.click()
    expect(page.locator(".compare img.over")).to_have_js_property("complete", True)
    expect(page.get_by_role("button", name="All of the run")).to_be_in_viewport()

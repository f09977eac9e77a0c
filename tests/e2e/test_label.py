"""The Label page in a browser: no key is lost, none counts twice, and nothing but the image is sent."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import select

from core.labels.annotators import annotator_id
from core.labels.answers import current_answers
from core.labels.studies import default_study
from core.storage import schema
from core.storage.store import Store
from tests.e2e.conftest import App
from tests.filled_store import fill_store

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def app(serve: Callable[..., App]) -> App:
    return serve(lambda store: fill_store(store, originals=40, runs=2))


def open_judge(page: Page, app: App, annotator: str) -> None:
    page.goto(f"{app.url}/label?annotator={annotator}")
    expect(page.locator("img.picture")).to_be_visible()


def answers(store: Store, annotator: str) -> list[str]:
    who = annotator_id(store, annotator)
    return [current.answer for current in current_answers(store, default_study(store), who).values()]


def events(store: Store, annotator: str) -> list[tuple[str, str | None, int]]:
    query = (
        select(schema.label_events.c.kind, schema.label_events.c.answer, schema.label_events.c.item_id)
        .where(schema.label_events.c.annotator_id == annotator_id(store, annotator))
        .order_by(schema.label_events.c.id)
    )
    with store.database.read() as connection:
        return [tuple(row) for row in connection.execute(query)]


def expect_saved(page: Page, count: int) -> None:
    expect(page.locator(".count")).to_have_text(f"{count} of 80")
    expect(page.locator(".saving")).to_have_text("Saved" if count else "")


def test_thirty_keys_at_50_ms_lose_none_and_double_none(page: Page, app: App) -> None:
    open_judge(page, app, "Fast")
    given = ["y", "n", "u"] * 10
    for key in given:
        page.keyboard.press(key)
        page.wait_for_timeout(50)
    expect_saved(page, 30)
    stored = events(app.store, "Fast")
    assert [answer for _, answer, _ in stored] == ["yes", "no", "unsure"] * 10
    assert len({item for _, _, item in stored}) == 30


def test_a_held_key_answers_once(page: Page, app: App) -> None:
    open_judge(page, app, "Held")
    for _ in range(10):  # Playwright marks every keydown after the first as a repeat, as a held key does
        page.keyboard.down("y")
        page.wait_for_timeout(30)
    page.keyboard.up("y")
    expect_saved(page, 1)
    page.keyboard.press("1")  # so that a late double of the first would be seen before this one is
    expect_saved(page, 2)
    assert answers(app.store, "Held") == ["yes", "yes"]


def test_undo_brings_the_image_back_and_takes_the_answer_back(page: Page, app: App) -> None:
    open_judge(page, app, "Undoer")
    picture = page.locator("img.picture")
    first = picture.get_attribute("src")
    page.keyboard.press("y")
    expect(picture).not_to_have_attribute("src", first)
    page.keyboard.press("Backspace")
    expect(picture).to_have_attribute("src", first)
    page.keyboard.press("2")
    expect_saved(page, 1)
    assert answers(app.store, "Undoer") == ["no"]
    assert [kind for kind, _, _ in events(app.store, "Undoer")] == ["answer", "undo", "answer"]


def test_undo_reaches_back_past_a_reload(page: Page, app: App) -> None:
    open_judge(page, app, "Reloader")
    first = page.locator("img.picture").get_attribute("src")
    page.get_by_role("button", name="Unsure").click()
    expect_saved(page, 1)
    page.reload()
    expect(page.locator("img.picture")).to_be_visible()
    page.get_by_role("button", name="Undo").click()
    expect_saved(page, 0)
    expect(page.locator("img.picture")).to_have_attribute("src", first)


def test_the_image_is_crisp_large_and_alone(page: Page, app: App) -> None:
    open_judge(page, app, "Looker")
    picture = page.locator("img.picture")
    assert picture.evaluate("image => getComputedStyle(image).imageRendering") == "pixelated"
    assert picture.evaluate("image => image.naturalWidth") == 32  # the stored pixels, not a resized copy
    box = picture.bounding_box()
    assert box is not None
    assert box["width"] > 300
    shown = page.locator("section.judge").inner_html()
    with app.store.database.read() as connection:
        shas = connection.execute(select(schema.reconstructions.c.image_sha)).scalars().all()
    assert not any(sha in shown for sha in shas)
    for word in ("psnr", "mse", "photo-0", "dlg"):
        assert word not in shown.lower().replace(picture.get_attribute("src").lower(), "")


def test_keys_work_after_a_click_elsewhere_but_not_while_typing(page: Page, app: App) -> None:
    open_judge(page, app, "Typist")
    page.get_by_role("heading", name="Label").click()
    page.keyboard.press("n")
    expect_saved(page, 1)
    page.locator("input[type=text]").first.focus()
    page.keyboard.press("End")
    page.keyboard.type("yn")  # part of a name, no answers
    page.get_by_role("heading", name="Label").focus()
    assert answers(app.store, "Typist") == ["no"]


def test_answers_given_while_the_server_is_away_arrive_later(page: Page, app: App) -> None:
    open_judge(page, app, "Patient")
    with app.store.database.write():  # another writer holds the database
        page.keyboard.press("y")
        page.keyboard.press("n")
        expect(page.locator(".saving")).to_have_text("Saving …")
    expect_saved(page, 2)
    assert sorted(answers(app.store, "Patient")) == ["no", "yes"]


@pytest.mark.parametrize("query", ["study=../../etc", "study=nothing", "annotator=%3Cscript%3E"])
def test_an_unknown_link_gets_one_sentence(page: Page, app: App, query: str) -> None:
    page.goto(f"{app.url}/label?{query}")
    expect(page.get_by_test_id("stAlert").first).to_be_visible()
    assert page.locator("section.judge").count() == 0
    assert "Traceback" not in page.content()


def test_a_finished_study_says_so(page: Page, serve: Callable[..., App]) -> None:
    small = serve(lambda store: fill_store(store, originals=2, runs=1))
    open_judge(page, small, "Ana")
    page.keyboard.press("y")
    page.keyboard.press("n")
    expect(page.locator(".message")).to_contain_text("All images are answered")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("img.picture")).to_be_visible()

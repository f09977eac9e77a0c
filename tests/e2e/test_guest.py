"""Who gives no name stays one person: the guest's name is in the link, over reloads and from page to page."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.filled_store import fill_store

pytestmark = pytest.mark.e2e
FIELD = "Annotator"


def guest_of(page: Page) -> str:
    field = page.get_by_label(FIELD)
    expect(field).to_have_value(re.compile("^guest-[0-9a-f]{4}$"))
    return field.input_value()


def test_a_guest_stays_the_same_over_reload_and_pages_and_a_typed_name_takes_over(serve, page: Page):
    app = serve(lambda store: fill_store(store, originals=3, runs=1))
    page.goto(f"{app.url}/label")
    guest = guest_of(page)
    expect(page).to_have_url(re.compile(f"annotator={guest}"))
    expect(page.locator("img.picture")).to_be_visible()
    for _ in range(2):
        page.keyboard.press("y")
    expect(page.locator(".count")).to_have_text("2 of 3")
    expect(page.locator(".saving")).to_have_text("Saved")
    page.reload()
    expect(page.locator(".count")).to_have_text("2 of 3")
    assert guest_of(page) == guest
    page.get_by_role("link", name="Overview").first.click()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    assert guest_of(page) == guest
    page.get_by_role("link", name="Label", exact=True).first.click()
    expect(page.locator(".count")).to_have_text("2 of 3")
    field = page.get_by_label(FIELD)
    field.fill("Ana")
    field.press("Enter")
    expect(page).to_have_url(re.compile("annotator=Ana"))
    expect(page.locator(".count")).to_have_text("0 of 3")
    page.keyboard.press("n")  # the field has let the keyboard go: an answer, no letter of the name
    expect(page.locator(".count")).to_have_text("1 of 3")
    page.reload()
    expect(page.get_by_label(FIELD)).to_have_value("Ana")
    page.get_by_role("link", name="Audit").first.click()
    expect(page.get_by_role("heading", name="Audit")).to_be_visible()
    expect(page.get_by_label(FIELD)).to_have_value("Ana")
    expect(page).to_have_url(re.compile("annotator=Ana"))

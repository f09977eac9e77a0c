"""The Settings page in a browser: the table with its pictures, sorting, the plot, the CSV."""

import csv
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import App
from tests.filled_settings import fill_settings

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def app(serve: Callable[..., App]) -> App:
    """A campaign of 8 settings, 5 of which are done and judged by three people."""
    return serve(lambda store: fill_settings(store, amounts=(0.5, 0.05, 0.25, 0.7, 0.9)))


def test_table_plot_sorting_and_csv(page: Page, app: App) -> None:
    page.goto(f"{app.url}/settings?annotator=Viewer")
    titles = page.locator("table.settings .title")
    expect(titles).to_have_count(6)  # 5 that are done and one that failed: what was never asked for is of the campaign
    expect(page.locator("table.settings img").first).to_be_visible()
    assert page.locator("table.settings img").evaluate_all("all => all.every(one => one.complete && one.naturalWidth)")
    expect(page.locator(".semsight-plot-area")).to_have_attribute("data-points", "5")
    page.get_by_role("combobox", name="Sort by").click()
    page.get_by_role("option", name="MSE ↓, most leakage first").click()
    expect(page.locator("table.settings tbody tr").first).to_contain_text("run 2")
    page.wait_for_url("**sort=mse**")
    with page.expect_download() as waiting:
        page.get_by_role("button", name="CSV").click()
    with open(waiting.value.path(), newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["mse_rank"] for row in rows] == ["3", "1", "2", "4", "5", ""]
    page.locator("table.settings a", has_text="run 2").click()
    page.wait_for_url("**/reconstructions?run=2**")
    expect(page.get_by_label("Annotator")).to_have_value("Viewer")

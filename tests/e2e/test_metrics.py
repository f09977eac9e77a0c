"""The Metrics page in a browser: numbers arrive by themselves, the link holds the choices, nothing scrolls sideways."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from core.metrics.registry import METRICS
from core.metrics.sets import SET_METRICS
from core.report.examples import BASES, examples
from tests.e2e.conftest import SLOW, App

pytestmark = pytest.mark.e2e

VERSIONS = len(examples(BASES[0].picture))
SIDEWAYS = "document.querySelector('[data-testid=stMain]').scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def app(serve: Callable[..., App], tmp_path_factory: pytest.TempPathFactory) -> App:
    """An empty store, no weights, and no way out of this machine: a proxy at which nobody listens."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_HOME", str(tmp_path_factory.mktemp("torch")))
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            patch.setenv(name, "http://127.0.0.1:9")
        for name in ("no_proxy", "NO_PROXY"):
            patch.setenv(name, "127.0.0.1,localhost")
        return serve()


@pytest.fixture
def narrow(chromium: Browser) -> Iterator[Page]:
    """A phone, dark."""
    context = chromium.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark")
    context.set_default_timeout(SLOW)
    yield context.new_page()
    context.close()


def opened(page: Page, app: App, query: str = "") -> None:
    page.goto(f"{app.url}/metrics?annotator=Viewer{query}")
    expect(page.locator("table.ranks img").first).to_be_visible()


def ranks(page: Page, metric: str) -> list[str]:
    return page.locator(f'tr[data-metric="{metric}"] td b').all_inner_texts()


def test_pictures_at_once_numbers_when_they_are_ready(page: Page, app: App) -> None:
    opened(page, app)
    expect(page.locator("table.ranks img")).to_have_count(1 + VERSIONS)
    expect(page.locator('tr[data-metric="ssim"] td b')).to_have_count(VERSIONS)  # nobody pressed anything
    expect(page.locator("tr.pending")).to_have_count(0)
    found = ranks(page, "psnr")
    assert sorted(map(int, found)) == list(range(1, VERSIONS + 1))
    assert ranks(page, "mse") == found  # PSNR ranks as the mean squared error does
    expect(page.get_by_text("They differ most over")).to_be_visible()
    expect(page.locator(".metric-cards article")).to_have_count(len(METRICS) + len(SET_METRICS))
    assert page.locator("table.ranks img").first.evaluate("one => getComputedStyle(one).imageRendering") == "pixelated"
    assert "Traceback" not in page.content()


def test_the_link_holds_metric_and_picture_and_so_does_a_reload(page: Page, app: App) -> None:
    opened(page, app, "&metric=ssim&picture=coffee-1")
    expect(page.locator("table.ranks tr.chosen")).to_have_attribute("data-metric", "ssim")
    expect(page.locator(".metric-title")).to_contain_text("SSIM (Gaussian window)")
    expect(page.get_by_alt_text("Original: coffee-1, 32 by 32 pixels")).to_be_visible()
    page.get_by_role("radio", name="Rocket").click()
    expect(page).to_have_url(re.compile("picture=rocket-1"))
    expect(page.get_by_alt_text("Original: rocket-1, 32 by 32 pixels")).to_be_visible()
    expect(page.locator("tr.pending")).to_have_count(0)
    page.reload()
    expect(page.get_by_alt_text("Original: rocket-1, 32 by 32 pixels")).to_be_visible()
    expect(page.locator("table.ranks tr.chosen")).to_have_attribute("data-metric", "ssim")


def test_on_a_phone_only_the_tables_scroll_sideways(narrow: Page, app: App) -> None:
    opened(narrow, app, "&metric=lpips_alex")
    expect(narrow.locator('tr[data-metric="psnr"] td b')).to_have_count(VERSIONS)
    assert narrow.evaluate(SIDEWAYS) <= 0
    box = narrow.locator(".ranks-box")
    assert box.evaluate("one => one.scrollWidth > one.clientWidth")
    before = narrow.locator("table.ranks tbody th").first.bounding_box()
    box.evaluate("one => { one.scrollLeft = 400; }")
    after = narrow.locator("table.ranks tbody th").first.bounding_box()
    assert before is not None
    assert after is not None
    assert abs(before["x"] - after["x"]) <= 4  # the metric's name stays in view
    narrow.get_by_role("radio", name="table").click()
    expect(narrow.get_by_test_id("stDataFrame")).to_be_visible()
    assert narrow.evaluate(SIDEWAYS) <= 0


def test_an_unknown_metric_gets_one_sentence_and_the_page_goes_on(page: Page, app: App) -> None:
    page.goto(f"{app.url}/metrics?annotator=Viewer&metric=pnsr")
    expect(page.get_by_test_id("stAlertContentInfo")).to_contain_text("did you mean psnr")
    expect(page.get_by_test_id("stAlertContentError")).to_have_count(0)
    expect(page.locator("table.ranks img").first).to_be_visible()


def test_the_csv_has_every_metric(page: Page, app: App, tmp_path: Path) -> None:
    opened(page, app)
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download as CSV").click()
    waiting.value.save_as(tmp_path / "metrics.csv")
    text = (tmp_path / "metrics.csv").read_text(encoding="utf-8")
    assert all(f"\n{name}," in text.replace("\r\n", "\n") for name in METRICS)


def test_a_download_without_a_line_out_ends_in_one_sentence(page: Page, app: App) -> None:
    """Nothing listens where the app is told to go for addresses outside."""
    opened(page, app)
    row = page.locator(".st-key-weights_alexnet-imagenet-features")
    row.get_by_role("button", name="Download").click()
    expect(row.get_by_test_id("stAlertContentError")).to_contain_text("the download failed", timeout=2 * SLOW)
    expect(row.get_by_role("button", name="Download")).to_be_visible()  # to try again

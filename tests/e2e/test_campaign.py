"""A campaign in a browser: one click, a kill -9 of the runner halfway, and every page has what came of it."""

import os
import signal
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from core.campaigns.presets import PRESETS
from core.jobs.launch import living_runner
from core.report.campaigns import campaigns
from core.storage.campaigns import setting_states
from tests.e2e.conftest import App
from tests.jobs.conftest import job_row

pytestmark = pytest.mark.e2e

LIMIT = 480_000  # ms; it takes about one minute on two idle cores
PICTURES = 10  # 4 originals twice, and the prior's control of each setting


@pytest.mark.timeout(900)
def test_one_click_survives_a_kill_and_fills_every_page(serve: Callable[..., App], page: Page) -> None:
    app = serve(runner=True)
    page.goto(f"{app.url}/campaigns?annotator=Ana")
    page.get_by_role("radio", name="Mini study, cut short").click()
    expect(page.get_by_text("2 settings: 2 trainings")).to_be_visible()
    page.get_by_role("button", name="Launch").click()
    expect(page.get_by_text("Campaign 1: Mini study, cut short").first).to_be_visible()

    panel = page.locator(".st-key-campaign_panel")  # the estimate, which has the word too, may be there for a moment
    expect(panel.get_by_text("attacking").first).to_be_visible(timeout=LIMIT)
    mark = living_runner(app.store.settings)
    assert mark is not None
    os.kill(mark.pid, signal.SIGKILL)
    expect(page.get_by_text("2 of 2 settings ended").first).to_be_visible(timeout=LIMIT)  # the page had it replaced
    states = setting_states(app.store, campaigns(app.store)[0].id)
    assert [one.state for one in states] == ["done", "done"]
    assert max(job_row(app.store, one.attack_job or 0).attempt for one in states) > 1  # it went on with the same job

    table = page.locator("table.settings")
    expect(table.locator("tbody th[scope=row]")).to_have_count(2)
    for victim in PRESETS["mini-cut"].campaign.victims:
        expect(table).to_contain_text(victim.name)

    page.goto(f"{app.url}/label?annotator=Ana")
    expect(page.locator(".count")).to_have_text(f"0 of {PICTURES}")
    expect(page.locator("img.picture")).to_be_visible()
    for key in "yn" * (PICTURES // 2):
        page.keyboard.press(key)
    expect(page.locator(".count")).to_have_text(f"{PICTURES} of {PICTURES}")
    expect(page.locator(".saving")).to_have_text("Saved")

    page.goto(f"{app.url}/correlations?annotator=Ana&x=psnr&y=recognition")  # blind answers alone, as they were given
    plot = page.locator(".semsight-plot-area")
    expect(plot).to_have_attribute("data-points", "8")
    expect(plot).to_have_attribute("data-answers", "8")  # the prior's are judged, not plotted
    page.goto(f"{app.url}/campaigns?campaign=1")
    expect(page.locator("table.settings")).to_contain_text("4 answers")

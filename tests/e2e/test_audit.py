"""The Audit path in a real browser: a small attack from its settings to the exported file; links on a fresh server."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from core.jobs.payloads import from_json
from core.leakage.threat import ChosenDefence, ThreatModel
from core.report.export import read_export
from core.storage import schema
from tests.e2e.conftest import ROOT
from tests.filled_store import fill_store

pytestmark = pytest.mark.e2e
DONE = 180_000  # ms; a limit for a busy machine, not an expectation


def test_a_small_attack_from_launch_to_the_exported_file(serve, chromium: Browser, page: Page, tmp_path: Path):
    app = serve(runner=True)
    page.goto(f"{app.url}/audit?images=photos&count=2&controls=1&annotator=Ana")
    page.get_by_text("Every setting, with its default").click()
    for knob, value in (("iterations", "3"), ("restarts", "1")):
        field = page.get_by_label(f"{knob} (default", exact=False)
        field.fill(value)
        field.press("Enter")
        expect(page.get_by_text(f"{knob} = {value}")).to_be_visible()
    page.get_by_role("button", name="Launch").click()
    link = page.get_by_role("link", name="Verdict and reconstructions")
    expect(link).to_be_visible(timeout=DONE)
    expect(page.get_by_text("scored", exact=False).first).to_be_visible(timeout=DONE)
    assert "run=1" in page.url
    link.click()
    expect(page.locator(".trio")).to_have_count(2)
    expect(page.locator(".hidden-scores")).to_have_count(2)
    expect(page.locator(".verdict h2")).not_to_be_empty()
    with page.expect_download() as download:
        page.get_by_role("button", name="Export as one HTML file").click()
    exported = tmp_path / "run.html"
    download.value.save_as(exported)
    assert len(read_export(exported.read_bytes())["reconstructions"]) == 2 + 2  # two attacked, one of each control
    opens_without_any_request(chromium, exported)


def choose(page: Page, widget: str, option: str) -> None:
    """Press one option of the segmented control with this key."""
    page.locator(f".st-key-{widget}").get_by_text(option, exact=True).click()


def test_a_defended_fedavg_audit_is_composed_launched_and_done_and_its_link_reopens_it(serve, page: Page):
    app = serve(runner=True)
    page.goto(f"{app.url}/audit?model=mlp&images=photos&count=4&controls=1&annotator=Ana")
    choose(page, "update", "weights")
    for label, value in (("Images in one update", "2"), ("Local epochs", "2"), ("Local learning rate", "0.05")):
        field = page.get_by_role("spinbutton", name=label)
        field.fill(value)
        field.press("Enter")
        expect(page).to_have_url(re.compile(f"={value}(&|$)"))
    page.get_by_role("button", name="Add a defence").click()
    page.get_by_role("button", name="Norm clipping").click()
    page.keyboard.press("Escape")
    page.get_by_text("Its settings").click()
    norm = page.get_by_role("spinbutton", name="norm (default 1)")
    norm.fill("0.5")
    norm.press("Enter")
    expect(page.get_by_text("Changed: norm = 0.5")).to_be_visible()
    page.get_by_text("Every setting, with its default").click()
    for knob, value in (("iterations", "3"), ("restarts", "1")):
        field = page.get_by_role("spinbutton", name=f"{knob} (default")
        field.fill(value)
        field.press("Enter")
        expect(page.get_by_text(f"{knob} = {value}")).to_be_visible()
    expect(page).to_have_url(re.compile("defence=clip%3Anorm%3D0.5"))
    link = page.url
    page.get_by_role("button", name="Launch").click()
    expect(page.get_by_role("link", name="Verdict and reconstructions")).to_be_visible(timeout=DONE)
    expect(page.get_by_text("batch 2 · FedAvg · clip", exact=False).first).to_be_visible()
    with app.store.database.read() as connection:
        row = connection.execute(schema.jobs.select().where(schema.jobs.c.kind == "attack")).one()
    threat = from_json(row.payload_type, row.payload_version, row.payload).threat
    assert threat == ThreatModel(
        batch_size=2, update="weights", local_epochs=2, local_lr=0.05, defences=(ChosenDefence("clip", {"norm": 0.5}),)
    )
    page.goto(link)
    expect(page.get_by_role("spinbutton", name="Local learning rate")).to_have_value("0.05")
    expect(page.get_by_text("Changed: norm = 0.5")).to_be_visible()
    expect(page.get_by_text("Changed: restarts = 1, iterations = 3")).to_be_visible()
    page.get_by_role("button", name="Launch").click()  # the same question: the link held all of it
    expect(page.get_by_text("The same run was in the store already")).to_be_visible()


def opens_without_any_request(chromium: Browser, exported: Path) -> None:
    tab = chromium.new_page()
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(exported.as_uri())
    expect(tab.locator("article")).to_have_count(4)
    images = tab.locator("img")
    loaded = images.evaluate_all("all => all.every(image => image.complete && image.naturalWidth > 0)")
    assert images.count() == 4 * 3  # original, reconstruction, difference
    assert loaded
    outside = [url for url in asked if not url.startswith(("file:", "data:"))]
    assert outside == []
    tab.close()


def test_a_deep_link_on_a_fresh_server_has_navigation_and_answers_survive_a_reload(serve, page: Page):
    app = serve(lambda store: fill_store(store, originals=3, runs=1))
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(f"{app.url}/reconstructions?run=1&annotator=Ana")
    expect(page.get_by_role("link", name="Correlations")).to_be_visible()
    expect(page.locator(".trio")).to_have_count(3)
    first = page.get_by_role("radiogroup", name="Is photo-000 recognisable?").or_(
        page.locator("[data-testid=stButtonGroup]").filter(has_text="unsure").first
    )
    first.get_by_text("recognisable", exact=True).first.click()
    expect(page.locator(".hidden-scores")).to_have_count(2)
    expect(page.locator(".verdict h2")).to_have_text("1 of 1 originals recognised by people")
    page.reload()
    expect(page.locator(".trio")).to_have_count(3)
    expect(page.locator(".hidden-scores")).to_have_count(2)
    assert [
        url for url in requests if not url.startswith((app.url, app.url.replace("http", "ws"), "data:", "blob:"))
    ] == []


def test_the_demo_button_queues_the_demo(serve, page: Page):
    app = serve()
    page.goto(app.url)
    expect(page.get_by_text("Nothing here yet")).to_be_visible()
    page.get_by_role("button", name="Run the demo").click()
    expect(page.get_by_text("dlg on lenet")).to_be_visible()
    expect(page.get_by_text("waiting for the runner")).to_be_visible()
    page.get_by_role("link", name="Watch").click()
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("cancel", exact=False).first).to_be_visible()


def test_bad_input_40_a_link_to_no_run_is_one_sentence(serve, page: Page):
    app = serve(lambda store: fill_store(store, originals=2, runs=1))
    page.goto(f"{app.url}/reconstructions?run=../../etc/passwd")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("must be a whole number")
    expect(alert).to_have_count(1)


def test_the_history_follows_a_run_without_a_reload(serve, page: Page):
    app = serve()
    page.goto(f"{app.url}/audit?count=2")
    page.get_by_role("button", name="Launch").click()
    expect(page.get_by_text("Run 1: dlg on lenet", exact=False)).to_have_count(2)  # the panel, and the history
    badges = page.locator(".stMarkdownBadge")
    expect(badges.filter(has_text="queued")).to_have_count(2)
    for state in ("running", "cancelled"):
        with app.store.database.write() as connection:
            connection.execute(schema.jobs.update().values(state=state))
        expect(badges.filter(has_text=state)).to_have_count(2)


def test_only_current_refusals_of_uploads_are_on_screen(serve, page: Page):
    app = serve()
    page.goto(f"{app.url}/audit?images=upload")
    picker = page.locator("input[type=file]")
    broken = {"mimeType": "image/png", "buffer": b"no picture"}
    picker.set_input_files([{"name": "first.png", **broken}])
    expect(page.get_by_role("alert")).to_contain_text("first.png")
    expect(picker).to_have_count(1)
    picker.set_input_files([{"name": "second.png", **broken}])
    expect(page.get_by_role("alert")).to_contain_text("second.png")
    expect(page.get_by_text("first.png")).to_have_count(0)
    expect(picker).to_have_count(1)
    picker.set_input_files([{"name": "notes.txt", "mimeType": "text/plain", "buffer": b"words"}])
    expect(page.get_by_text("notes.txt").first).to_be_visible()
    expect(page.get_by_text("second.png")).to_have_count(0)
    expect(picker).to_have_count(1)
    picker.set_input_files(ROOT / "assets" / "icon.png")
    expect(page.get_by_text("1 image taken in")).to_be_visible()
    expect(page.get_by_text("notes.txt")).to_have_count(0)
    lonely = "there is no mismatched control"  # what the page says of a single image; nothing else is wrong
    expect(page.get_by_role("alert").filter(has_not_text=lonely)).to_have_count(0)

"""Models and Data sets in a browser: exports, the way to the audit, and links that follow each other."""

import json

from playwright.sync_api import Page, expect

from tests.trained_rows import trained_model, training_rows


def test_from_a_trained_model_and_a_data_set_to_the_audit_and_the_form(serve, page: Page) -> None:
    ids: list[int] = []

    def fill(store):
        ids.append(trained_model(store, training_rows(store))[0])

    app = serve(fill)
    page.goto(f"{app.url}/models?model={ids[0]}&annotator=Ana")
    expect(page.get_by_text("88 %", exact=True)).to_be_visible()
    expect(page.get_by_test_id("stVegaLiteChart")).to_have_count(4)
    with page.expect_download() as card:
        page.get_by_role("button", name="Model card (JSON)").click()
    asked = json.loads(card.value.path().read_text())
    with page.expect_download() as weights:
        page.get_by_role("button", name="Weights (safetensors)").click()
    assert weights.value.path().read_bytes() == app.store.artifacts.read_bytes(asked["spec"]["weights_sha256"])

    page.get_by_role("link", name="Attack it").click()
    expect(page.get_by_text("88 % of 40 images")).to_be_visible()
    expect(page.get_by_text("Held out: the victim has seen none", exact=False)).to_be_visible()
    assert f"victim={ids[0]}" in page.url

    # A link to what happens to be a widget's default must win over the session's earlier choice.
    for name, said in (("photos", "24 images to train on"), ("lfw", "160 images to train on")):
        page.get_by_role("link", name="Data sets", exact=True).click()
        page.locator(f".st-key-set_{name}").get_by_role("link", name="Train on it").click()
        expect(page.get_by_text(said)).to_be_visible()

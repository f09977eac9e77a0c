"""Pages and what was made from the model alone: said on the cards, in the verdict, and left out beside people."""

from sqlalchemy import update

from core.storage import schema
from core.storage.database import bump
from tests.filled_store import fill_store

WORDS = "paired with the nearest original of its class (by MSE)"


def make_nearest(store, reconstructions):
    pairings = schema.pairings
    with store.database.write() as connection:
        mine = pairings.c.reconstruction_id.in_(reconstructions)
        connection.execute(update(pairings).where(mine).values(method="nearest", cost_name="mse"))
        bump(connection, "reconstructions")


def test_cards_table_and_verdict_say_how_they_are_paired(app, store):
    filled = fill_store(store, originals=3, runs=2)
    run = filled.runs[0]
    make_nearest(store, (*filled.reconstructions[:3], *filled.controls[: len(filled.controls) // 2]))
    test = app("pages/reconstructions.py", run=str(run))
    assert not test.exception
    cards = [h.value for h in test.html if h.value.startswith('<div class="card-head"')]
    assert [WORDS in card for card in cards] == [True] * 3
    (verdict,) = [h.value for h in test.html if '<div class="verdict' in h.value]
    assert f"each reconstruction is {WORDS}" in verdict
    assert any("another class asked for" in h.value for h in test.html)
    test.button_group(key="view").set_value("table").run()
    assert not test.exception
    assert test.dataframe[0].value["pairing"].tolist() == [WORDS] * 3
    other = app("pages/reconstructions.py", run=str(filled.runs[1]))
    assert not any("nearest original" in h.value for h in other.html)


def test_the_number_left_out_beside_people_is_said(app, store):
    filled = fill_store(store, originals=4, runs=2, labels=8)
    test = app("pages/correlations.py", x="psnr")
    n = int({m.label: m.value for m in test.metric}["n"])
    assert not any("left out" in c.value for c in test.caption)
    make_nearest(store, filled.reconstructions[:4])
    test = app("pages/correlations.py", x="psnr")
    assert not test.exception
    assert int({m.label: m.value for m in test.metric}["n"]) == n - 4
    (said,) = [c.value for c in test.caption if "left out" in c.value]
    assert said.startswith("4 reconstructions of attacks on the model alone are left out: each was paired with")
    test.selectbox(key="correlations_y").select("mse").run()
    assert not any("left out" in c.value for c in test.caption)

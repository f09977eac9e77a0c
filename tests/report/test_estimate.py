"""Time estimates, with the arithmetic beside them."""

import pytest

from core.report.estimate import Work, estimate, iterations_of, measured
from core.report.estimate_table import COLD_SECONDS, RATES
from core.storage import schema
from tests.filled_store import fill_store


def work(**rest):
    values = {"architecture": "lenet", "attack": "dlg", "images": 8, "batch_size": 1, "restarts": 2, "iterations": 100}
    return Work(**{**values, "controls": 2, **rest})


def test_image_steps_count_controls_twice_and_whole_updates():
    assert work().image_steps == (8 + 2 * 2) * 1 * 2 * 100
    # 8 images in 2 updates of 4; both updates are attacked twice more as controls.
    assert work(batch_size=4).image_steps == (2 + 2 * 2) * 4 * 2 * 100


def test_a_paper_preset_counts_the_iterations_within_its_steps():
    assert iterations_of({"steps": 300, "evaluations": 20}) == 6000  # as dlg-paper: 300 outer steps of up to 20
    assert iterations_of({"steps": 300}) == 300
    assert iterations_of({"iterations": 1000}) == 1000
    assert iterations_of({}) == 0


def test_a_pause_does_not_slow_the_pace(store):
    fill_store(store, originals=4, runs=1)
    with store.database.write() as connection:
        connection.execute(
            schema.jobs.update().values(finished=schema.jobs.c.started + 30_000, record='{"seconds": 15.0}')
        )
    with store.database.write() as connection:
        row = connection.execute(schema.jobs.select()).one()
        payload = row.payload.replace('"restarts":1', '"iterations":600,"restarts":1')
        connection.execute(schema.jobs.update().values(payload=payload))
    (pace,) = measured(store, work())
    assert pace.rate == pytest.approx(6 * 300 / 15)


def test_this_stores_own_runs_come_first(store):
    fill_store(store, originals=4, runs=1)
    # The fixture: 4 targets and 2 controls of 300 iterations in 30 s: 6 · 300 / 30 = 60 a second.
    with store.database.write() as connection:
        row = connection.execute(schema.jobs.select()).one()
        connection.execute(
            schema.jobs.update().values(payload=row.payload.replace('"restarts":1', '"iterations":600,"restarts":1'))
        )
    (pace,) = measured(store, work())
    assert pace.rate == pytest.approx(60.0)
    assert pace.used == pytest.approx(0.5)  # 300 of the 600 iterations allowed
    found = estimate(store, work())
    assert found.at_most == pytest.approx(COLD_SECONDS + 2400 / 60)
    assert found.seconds == pytest.approx(COLD_SECONDS + 1200 / 60)
    assert "in this store" in found.basis


def test_without_runs_the_table_is_named_and_a_guess_is_called_one(store):
    (architecture, _, attack), (rate, used) = next(iter(RATES.items()))
    found = estimate(store, work(architecture=architecture, attack=attack))
    assert found.seconds == pytest.approx(COLD_SECONDS + used * 2400 / rate)
    assert "CPU cores" in found.basis
    assert "guess" in estimate(store, work(architecture="unheard-of")).basis
    assert estimate(store, work(architecture="unheard-of")).guess
    assert not found.guess


def test_the_table_knows_widths_and_sizes(store):
    def seconds(base: int, **changes: object) -> tuple[float, bool]:
        net = {"architecture": "convnet", "attack": "inverting-gradients", "arguments": {"base": base}}
        found = estimate(store, work(**net, **changes))
        return found.seconds - COLD_SECONDS, found.guess

    narrow, full = RATES["convnet", 8, "inverting-gradients"][0], RATES["convnet", 64, "inverting-gradients"][0]
    steps = 2400
    assert seconds(8) == (pytest.approx(steps / narrow), False)
    assert seconds(64) == (pytest.approx(steps / full), False)
    assert seconds(8, height=64) == (pytest.approx(4 * steps / narrow), False)
    assert seconds(16) == (pytest.approx(steps / full), True)  # no slower than the full one
    assert seconds(128) == (pytest.approx(4 * steps / full), True)
    usual = estimate(store, work(architecture="convnet", attack="inverting-gradients"))
    assert usual.seconds == pytest.approx(COLD_SECONDS + steps / full)  # base 64 where none is named


def test_a_run_of_a_second_or_of_another_net_is_no_measure(store):
    fill_store(store, originals=4, runs=1)
    with store.database.write() as connection:
        row = connection.execute(schema.jobs.select()).one()
        payload = row.payload.replace('"restarts":1', '"iterations":600,"restarts":1')
        connection.execute(schema.jobs.update().values(payload=payload))
    assert len(measured(store, work())) == 1
    assert measured(store, work(arguments={"base": 8})) == []
    assert measured(store, work(height=64)) == []
    with store.database.write() as connection:
        connection.execute(schema.jobs.update().values(finished=schema.jobs.c.started + 2))
    assert measured(store, work()) == []

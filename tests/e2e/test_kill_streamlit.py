"""kill -9 of Streamlit: the runner that it started goes on, to the same result as an undisturbed run."""

import time
from collections.abc import Callable
from dataclasses import replace

import psutil
import pytest
from playwright.sync_api import Browser, expect
from sqlalchemy import func, select

from core.jobs.launch import living_runner
from core.jobs.queue import submit
from core.jobs.runner import Runner
from core.storage import schema
from core.storage.store import Store
from tests.e2e.conftest import App
from tests.jobs.conftest import attack_job, job_row, outcome

pytestmark = pytest.mark.e2e
FEW = {"attack": "inverting-gradients", "steps": 400, "controls": 1}


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 180
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail("it did not happen within 180 s")
        time.sleep(0.05)


def points(store: Store) -> int:
    with store.database.read() as connection:
        return connection.execute(select(func.count()).select_from(schema.job_progress)).scalar_one()


def test_the_run_outlives_the_app(serve: Callable[..., App], chromium: Browser) -> None:
    asked: list[int] = []
    app = serve(lambda store: asked.append(submit(store, attack_job(store, **FEW), "outlives").job_id), runner=True)
    page = chromium.new_page()
    page.goto(app.url)  # the first visit starts the runner
    expect(page.get_by_role("heading").first).to_be_visible(timeout=60_000)
    wait_for(lambda: points(app.store) > 0)
    app.process.kill()
    app.process.wait()
    page.close()
    mark = living_runner(app.store.settings)
    assert mark is not None
    assert psutil.Process(mark.pid).is_running()
    wait_for(lambda: job_row(app.store, asked[0]).state in ("done", "failed"))

    psutil.Process(mark.pid).terminate()
    wait_for(lambda: living_runner(app.store.settings) is None)
    still = replace(app.store, settings=replace(app.store.settings, executor="inline"))
    again = submit(still, attack_job(still, **FEW), "undisturbed", anew=True).job_id
    Runner(still).run(until_idle=True)
    assert job_row(still, again).state == "done"
    assert outcome(still, asked[0]) == outcome(still, again)

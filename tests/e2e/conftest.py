"""A running app with a home of its own, and Debian's Chromium to look at it."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from core.jobs.launch import living_runner
from core.settings import load_settings
from core.storage.store import Store, open_store

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium") or ""
START_LIMIT = 90  # seconds for a server to answer on a busy machine; a limit, not an expectation
SLOW = 30_000  # ms that a page may take on a busy machine before a test gives up


HOLD_RUNNER_LOCK = """
import time
from core.jobs.launch import runner_lock
from core.settings import load_settings
with runner_lock(load_settings()):
    print("held", flush=True)
    time.sleep(3600)
"""


@dataclass(frozen=True)
class App:
    """A served app and its store."""

    url: str
    store: Store
    process: subprocess.Popen[bytes]
    log: Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_healthy(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_LIMIT
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{url}/_stcore/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    pytest.fail(f"The app did not start; its log ends with:\n{log.read_text()[-3000:]}")


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., App]]:
    """serve(fill=None, runner=False) -> App: starts `streamlit run app.py` on a new home.

    fill(store) may fill it first. Without runner, a process that only holds the runner's lock stands in for it: the
    app finds "a runner" and starts none, so nothing but the pages uses the machine.
    """
    started: list[App] = []
    stand_ins: list[subprocess.Popen[bytes]] = []

    def start(fill: Callable[[Store], object] | None = None, *, runner: bool = False) -> App:
        folder = tmp_path_factory.mktemp("app")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SEMSIGHT_")}
        environment |= {"SEMSIGHT_HOME": str(folder / "home"), "SEMSIGHT_THREADS": "1", "SEMSIGHT_PROBE": "off"}
        store = open_store(load_settings(environment))
        if fill is not None:
            fill(store)
        if not runner:
            stand_ins.append(hold_runner_lock(environment))
        port, log = free_port(), folder / "app.log"
        command = [sys.executable, "-m", "streamlit", "run", "app.py"]
        options = [f"--server.port={port}", "--server.address=127.0.0.1", "--server.headless=true"]
        with log.open("wb") as out:
            process = subprocess.Popen([*command, *options], cwd=ROOT, env=environment, stdout=out, stderr=out)
        app = App(f"http://127.0.0.1:{port}", store, process, log)
        started.append(app)
        wait_until_healthy(app.url, process, log)
        return app

    yield start
    for process in [app.process for app in started] + stand_ins:
        process.terminate()
        process.wait(timeout=30)
        if process.stdout is not None:
            process.stdout.close()
    for app in started:
        mark = living_runner(app.store.settings)
        if mark is not None and mark.pid:
            os.kill(mark.pid, signal.SIGTERM)  # the app starts it detached, so that it outlives the app
        app.store.database.dispose()


def hold_runner_lock(environment: dict[str, str]) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD_RUNNER_LOCK], cwd=ROOT, env=environment, stdout=subprocess.PIPE
    )
    if process.stdout is None or process.stdout.readline() != b"held\n":
        pytest.fail("The stand-in for the runner did not get the runner's lock.")
    return process


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium. The sandbox is off because tests may run as root in a container."""
    if not CHROMIUM:
        pytest.skip("chromium is not installed (apt-get install chromium)")
    expect.set_options(timeout=SLOW)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    """A fresh profile, wide screen."""
    made = chromium.new_context(viewport={"width": 1280, "height": 900})
    made.set_default_timeout(SLOW)
    yield made
    made.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    """A new tab; an uncaught error in the page's own scripts fails the test."""
    tab = context.new_page()
    tab.on("pageerror", lambda error: pytest.fail(f"The page raised {error}"))
    return tab
